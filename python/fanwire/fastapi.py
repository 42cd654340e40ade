"""Metrics and health of an embedded engine, as routes of a FastAPI application.

    app = FastAPI(lifespan=fanwire.asgi.lifespan(listen="0.0.0.0:9001"))
    app.include_router(fanwire.fastapi.router(), prefix="/fanwire")

`GET /fanwire/metrics` is what a Prometheus server scrapes, `GET /fanwire/health` what a load balancer asks. Whoever reaches the
application reaches these too: give `router` dependencies of your own where that is not everybody's business.
"""

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from ._fanwire import Engine

OPEN_METRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
"""The media type of `Engine.metrics()`."""


def router(engine: Engine | None = None, **options: Any) -> APIRouter:
    """Routes for `engine`, or else for that of `fanwire.asgi.lifespan`. `options` are those of `fastapi.APIRouter`."""

    routes = APIRouter(**{"tags": ["fanwire"], **options})

    def of(request: Request) -> Engine | None:
        return engine if engine is not None else getattr(request.app.state, "fanwire", None)

    @routes.get("/metrics", summary="All numbers of the engine", response_class=Response)
    def metrics(request: Request) -> Response:
        running = of(request)
        if running is None:
            return JSONResponse({"error": "there is no engine"}, 503)
        return Response(running.metrics(), media_type=OPEN_METRICS)

    @routes.get("/health", summary="How the engine is")
    def health(request: Request) -> JSONResponse:
        running = of(request)
        if running is None or not running.is_running:
            return JSONResponse({"status": "ended", "failure": running.failure if running is not None else None}, 503)
        stats = running.stats()
        figures = {name: getattr(stats, name) for name in ("connections", "topics", "cursors", "messages", "deliveries")}
        return JSONResponse({"status": "ok", "shards": stats.shards, **figures})

    return routes
