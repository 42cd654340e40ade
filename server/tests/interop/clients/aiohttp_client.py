"""PyPI `aiohttp`."""

import asyncio

import aiohttp
from conversation import converse, offered, say, say_message, trust_for


class Connection:
    def __init__(self, session: aiohttp.ClientSession, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._session = session
        self._socket = socket
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for message in self._socket:
            if message.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
                break
            say_message(message.data)

    async def send(self, kind: str, body: bytes) -> None:
        if kind == "text":
            await self._socket.send_str(body.decode())
        else:
            await self._socket.send_bytes(body)

    async def close(self) -> None:
        await self._socket.close()
        await self._reading
        await self._session.close()
        say({"event": "closed", "code": self._socket.close_code})


async def open_connection(command: dict) -> Connection:
    session = aiohttp.ClientSession()
    socket = await session.ws_connect(
        command["url"],
        ssl=trust_for(command["url"]) or True,
        headers=command.get("headers"),
        protocols=offered(command),
        compress=15 if command["deflate"] else 0,
        max_msg_size=0,
    )
    agreed = "permessage-deflate" if socket.compress else ""
    say({"event": "open", "protocol": socket.protocol or "", "extensions": agreed})
    return Connection(session, socket)


asyncio.run(converse(open_connection))
