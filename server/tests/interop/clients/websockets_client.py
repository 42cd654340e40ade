"""PyPI `websockets`, its asyncio client."""

import asyncio

from conversation import converse, offered, say, say_message, trust_for
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory


class Connection:
    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        try:
            while True:
                say_message(await self._socket.recv())
        except ConnectionClosed:
            say({"event": "closed", "code": self._socket.close_code})

    async def send(self, kind: str, body: bytes) -> None:
        await self._socket.send(body, text=kind == "text")

    async def close(self) -> None:
        await self._socket.close()


async def open_connection(command: dict) -> Connection:
    extensions = None
    if command["deflate"]:
        window = command.get("window")
        extensions = [ClientPerMessageDeflateFactory(server_max_window_bits=window, client_max_window_bits=True)]
    socket = await connect(
        command["url"],
        ssl=trust_for(command["url"]),
        additional_headers=command.get("headers"),
        subprotocols=offered(command) or None,
        compression=None,
        extensions=extensions,
        max_size=None,
        proxy=None,
    )
    agreed = ", ".join(extension.name for extension in socket.protocol.extensions)
    say({"event": "open", "protocol": socket.subprotocol or "", "extensions": agreed})
    return Connection(socket)


asyncio.run(converse(open_connection))
