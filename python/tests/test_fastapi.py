"""The routes for FastAPI, and the admin port's OpenAPI document."""

import json
import pathlib

import pytest

import fanwire
import fanwire.asgi
from support import SMALL, raw

pytest.importorskip("fastapi")

import fanwire.fastapi  # noqa: E402

DOCUMENT = pathlib.Path(__file__).parents[2] / "server/src/admin/openapi.json"


def client_of(app):
    from fastapi.testclient import TestClient

    return TestClient(app)


def test_an_application_serves_metrics_and_health_of_its_engine():
    from fastapi import FastAPI
    from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse

    app = FastAPI(lifespan=fanwire.asgi.lifespan(**SMALL))
    app.include_router(fanwire.fastapi.router(), prefix="/fanwire")
    with client_of(app) as client:
        engine = app.state.fanwire
        with raw(engine, "t"):
            scrape = client.get("/fanwire/metrics")
            assert scrape.headers["content-type"] == fanwire.fastapi.OPEN_METRICS
            families = {family.name: family for family in parse(scrape.text)}
            assert sum(sample.value for sample in families["fanwire_connections"].samples) == 1
            health = client.get("/fanwire/health")
            assert health.status_code == 200
            assert {"status": "ok", "connections": 1, "topics": 1}.items() <= health.json().items()
            assert "/fanwire/metrics" in client.get("/openapi.json").json()["paths"]
        engine.shutdown()
        ended = client.get("/fanwire/health")
        assert (ended.status_code, ended.json()["status"]) == (503, "ended")


def test_an_engine_of_ones_own_and_none_at_all():
    from fastapi import Depends, FastAPI, HTTPException

    def nobody():
        raise HTTPException(401)

    with fanwire.Engine(**SMALL) as engine:
        app = FastAPI()
        app.include_router(fanwire.fastapi.router(engine), prefix="/open")
        app.include_router(fanwire.fastapi.router(engine, dependencies=[Depends(nobody)]), prefix="/closed")
        app.include_router(fanwire.fastapi.router(), prefix="/none")
        with client_of(app) as client:
            assert client.get("/open/health").json()["status"] == "ok"
            for path in ("metrics", "health"):
                assert client.get(f"/closed/{path}").status_code == 401
                assert client.get(f"/none/{path}").status_code == 503


@pytest.mark.skipif(not DOCUMENT.exists(), reason="this is no checkout of the project")
def test_the_admin_ports_document_is_openapi():
    from openapi_spec_validator import OpenAPIV31SpecValidator

    document = json.loads(DOCUMENT.read_text())
    OpenAPIV31SpecValidator(document).validate()
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    names = [operation["operationId"] for operation in operations]
    assert len(names) == len(set(names))
    for operation in operations:
        # What changes something, or leads to topics, names how it is refused.
        assert "200" in operation["responses"] or {"202", "101"} & operation["responses"].keys()
