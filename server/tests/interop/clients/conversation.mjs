// Job: the driver's side of the conversation that peers.py describes, for JavaScript clients.
// Knows stdin and stdout. Must never know a WebSocket.

/// Serves one connection after the other. `connect(command, report)` gives `{send(kind, bytes), close()}`; `report` takes
/// `open({protocol, extensions})`, `message(kind, bytes)` and `closed(code)`.
export async function converse(connect) {
  const say = (event, body) => {
    const head = Buffer.from(JSON.stringify(body ? { ...event, len: body.length } : event) + '\n')
    process.stdout.write(body ? Buffer.concat([head, body]) : head)
  }
  const report = {
    open: (agreed) => say({ event: 'open', ...agreed }),
    message: (kind, bytes) => say({ event: 'message', kind }, bytes),
    closed: (code) => say({ event: 'closed', code }),
  }
  let connection
  for await (const { command, body } of commands(process.stdin)) {
    if (command.do === 'open') connection = connect(command, report)
    else if (command.do === 'send') connection.send(command.kind, body)
    else if (command.do === 'close') connection.close()
    else throw new Error(`what is ${command.do}?`)
  }
  process.exit(0)
}

async function* commands(input) {
  const pieces = input[Symbol.asyncIterator]()
  let have = Buffer.alloc(0)
  const more = async () => {
    const { value, done } = await pieces.next()
    if (!done) have = Buffer.concat([have, value])
    return !done
  }
  for (;;) {
    let end
    while ((end = have.indexOf(10)) < 0) if (!(await more())) return
    const command = JSON.parse(have.subarray(0, end))
    const size = command.len ?? 0
    have = have.subarray(end + 1)
    while (have.length < size) if (!(await more())) return
    yield { command, body: have.subarray(0, size) }
    have = have.subarray(size)
  }
}
