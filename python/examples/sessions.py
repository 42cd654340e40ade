"""Lets in who has logged in to a FastAPI application: the session cookie says who a WebSocket is, and what it may do.

    pip install fanwire fastapi uvicorn
    uvicorn sessions:app
    curl -c jar -X POST 'http://127.0.0.1:8000/login?user=ann'
    websocat -H "Cookie: session=$(awk '/session/ {print $7}' jar)" ws://127.0.0.1:9001/t/news/today

A page of the same host sends its cookie by itself. So pages of other origins must not connect: `ORIGINS`.
"""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from http.cookies import CookieError, SimpleCookie
from typing import Any

import fanwire
import fanwire.asgi
from fastapi import FastAPI, Request, Response

LISTEN = "127.0.0.1:9001"
ORIGINS = ["http://127.0.0.1:8000"]
COOKIE = "session"
SESSION_S = 3600.0

sessions: dict[str, str] = {}
"""Who has logged in, by the session's name: your own store."""
connections: dict[int, str] = {}
"""By which session each connection is here."""


def session_of(headers: list[tuple[str, bytes]]) -> str | None:
    """The session that a request names, if it names one that there is."""
    for _, value in headers:
        with contextlib.suppress(CookieError):
            morsel = SimpleCookie(value.decode("latin-1")).get(COOKIE)
            if morsel is not None and morsel.value in sessions:
                return morsel.value
    return None


async def decide(engine: fanwire.Engine, connection: int, session: str | None) -> None:
    while True:
        try:
            if session is None:
                engine.refuse(connection, 401)
            else:
                user = sessions[session]
                mine = ["news/**", f"inbox/{user}"]
                engine.allow(connection, subscribe=mine, publish=["chat"], lifetime=SESSION_S, subject=user)
                connections[connection] = session
            return
        except fanwire.WouldBlock:
            await asyncio.sleep(0.001)
        except (fanwire.Gone, fanwire.Stopped):
            return


async def attend(engine: fanwire.Engine) -> None:
    async for event in engine.events:
        if isinstance(event, fanwire.Authorize):
            await decide(engine, event.connection, session_of(event.headers))
        elif isinstance(event, fanwire.Reauthorize):
            # A page that stays open sends {"type": "auth", "token": SESSION} before its time is over.
            await decide(engine, event.connection, event.token if event.token in sessions else None)
        elif isinstance(event, fanwire.Closed):
            connections.pop(event.connection, None)


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    attending = asyncio.create_task(attend(app.state.fanwire))
    yield {}
    attending.cancel()


app = FastAPI(
    lifespan=fanwire.asgi.lifespan(
        lifespan, listen=LISTEN, allowed_origins=ORIGINS, ask_host_within=5, ask_host_headers=["cookie"]
    )
)


@app.post("/login")
async def login(user: str, response: Response) -> str:
    """Your own check of who this is comes first."""
    session = secrets.token_urlsafe(32)
    sessions[session] = user
    response.set_cookie(COOKIE, session, max_age=int(SESSION_S), httponly=True, samesite="strict")
    return "welcome"


@app.post("/logout")
async def logout(request: Request) -> str:
    """Who logs out is not connected any more either."""
    session = request.cookies.get(COOKIE, "")
    sessions.pop(session, None)
    for connection in [connection for connection, own in connections.items() if own == session]:
        with contextlib.suppress(fanwire.Gone):
            request.state.fanwire.close(connection, 4401, "logged out")
    return "bye"
