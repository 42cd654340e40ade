// npm `ws`.
import WebSocket from 'ws'
import { converse } from './conversation.mjs'

converse((command, report) => {
  // Everything that can be compressed is, whatever its size.
  const deflate = command.deflate && { threshold: 0, ...(command.window && { serverMaxWindowBits: command.window }) }
  const offered = [command.protocol, ...(command.offers ?? [])].filter(Boolean)
  const { headers } = command
  const socket = new WebSocket(command.url, offered, { perMessageDeflate: deflate, maxPayload: 0, headers })
  socket.on('open', () => report.open({ protocol: socket.protocol, extensions: socket.extensions }))
  socket.on('message', (data, isBinary) => report.message(isBinary ? 'binary' : 'text', data))
  socket.on('close', (code) => report.closed(code))
  socket.on('error', (error) => console.error(error))
  return {
    send: (kind, bytes) => socket.send(bytes, { binary: kind === 'binary' }),
    close: () => socket.close(1000),
  }
})
