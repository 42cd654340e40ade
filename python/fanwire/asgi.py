"""An engine for the life of an ASGI application (Starlette, FastAPI, and whatever else has lifespans).

    app = FastAPI(lifespan=fanwire.asgi.lifespan(listen="0.0.0.0:9001"))

    @app.post("/imu")
    async def imu(request: Request):
        request.state.fanwire.topic("rover/1/imu").publish(await request.body())
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

from ._fanwire import Engine

DEADLINE = 5.0
"""Seconds that clients get to receive everything when the application ends."""

Lifespan = Callable[[Any], AbstractAsyncContextManager[Mapping[str, Any]]]


def lifespan(inner: Callable[[Any], Any] | None = None, *, deadline: float = DEADLINE, **settings: Any) -> Lifespan:
    """A lifespan that starts an engine with `settings` (those of `fanwire.Engine`) and shuts it down in good order.

    Requests find the engine as `request.state.fanwire`, everything else as `app.state.fanwire`. `inner` is a lifespan of your
    own: it begins when the engine runs, and ends before the engine does.
    """

    @asynccontextmanager
    async def run(app: Any) -> AsyncIterator[Mapping[str, Any]]:
        engine = await asyncio.to_thread(lambda: Engine(**settings))
        try:
            if hasattr(app, "state"):
                app.state.fanwire = engine
            async with AsyncExitStack() as stack:
                state = await stack.enter_async_context(inner(app)) if inner is not None else None
                yield {**(state or {}), "fanwire": engine}
        finally:
            # It may wait for slow clients: the loop goes on meanwhile.
            await asyncio.to_thread(engine.shutdown, deadline)

    return run
