// Node's own WebSocket, which is undici's.
import { converse } from './conversation.mjs'

converse((command, report) => {
  const protocols = [command.protocol, ...(command.offers ?? [])].filter(Boolean)
  const socket = new WebSocket(command.url, { protocols, headers: command.headers ?? {} })
  socket.binaryType = 'arraybuffer'
  socket.onopen = () => report.open({ protocol: socket.protocol, extensions: socket.extensions })
  socket.onmessage = ({ data }) => {
    if (typeof data === 'string') report.message('text', Buffer.from(data))
    else report.message('binary', Buffer.from(data))
  }
  socket.onclose = ({ code }) => report.closed(code)
  socket.onerror = (event) => console.error(event.message, event.error)
  return {
    send: (kind, bytes) => socket.send(kind === 'text' ? bytes.toString() : new Uint8Array(bytes)),
    close: () => socket.close(1000),
  }
})
