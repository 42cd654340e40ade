"""`python -m fanwire demo`: probes, a chat and a page."""

import http.server
import importlib.resources
import math
import os
import random
import signal
import sys
import threading
import time
from typing import Any

from . import __version__
from ._errors import Error, ListenError, Stopped, WouldBlock
from ._fanwire import Engine, Topic

PORTS_TRIED = 50
PROBES = 3

Address = tuple[str, int]


def run(listen: Address, page: Address, rate: float) -> int:
    """Serves until it is interrupted."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        server = _near(page, lambda address: _Server(address, _Page), OSError)
        web_host, web_port = server.server_address[:2]
        # Web pages from elsewhere have no business here. From which name visitors come is known on this machine only.
        is_local = str(web_host).startswith("127.") or web_host == "::1"
        origins = [f"http://{name}:{web_port}" for name in (_shown(str(web_host)), "localhost")] if is_local else []
        engine = _near(
            listen,
            lambda address: Engine(listen=address, allowed_origins=origins, publish_access="everyone", server_name=f"fanwire-py/{__version__}"),
            ListenError,
        )
    except (Error, OSError) as error:
        print(f"fanwire: {error}", file=sys.stderr)
        return 1
    with engine, server:
        server.content = _page(engine, listen[0])
        threading.Thread(target=server.serve_forever, name="page", daemon=True).start()
        print(f"listening on {engine.url} ({engine.driver})", flush=True)
        print(f"page at http://{_shown(str(web_host))}:{web_port}/", flush=True)
        try:
            _publish(engine, rate)
        except (KeyboardInterrupt, Stopped):
            pass
        finally:
            server.shutdown()
    return 0


def _publish(engine: Engine, rate: float) -> None:
    # The chat is made here, so that it is there to be subscribed to.
    engine.topic("demo/chat").publish({"text": "Whatever you type is published over the WebSocket, and comes back to everybody."})
    probes = [_Probe(engine, number + 1) for number in range(PROBES)]
    host = _Host(engine)
    due = time.monotonic()
    while True:
        began = time.perf_counter_ns()
        for probe in probes:
            probe.step(time.time())
        host.step(time.perf_counter_ns() - began, PROBES)
        due += 1 / rate
        late = time.monotonic() - due
        if late > 0.5:
            due += late
        time.sleep(max(0.0, -late))


class _Probe:
    """A float that the waves rock."""

    def __init__(self, engine: Engine, number: int) -> None:
        self.phase = number * 2.1
        self.speed = 0.7 + 0.23 * number
        self.is_tilted = False
        self.wave: Topic = engine.topic(f"demo/probe/{number}", priority="low")
        self.alarm: Topic = engine.topic(f"demo/probe/{number}/alarm", priority="critical")

    def step(self, now: float) -> None:
        t = now * self.speed + self.phase
        heave = math.sin(t * 2) * (0.6 + 0.4 * math.sin(t / 7)) + 0.12 * math.sin(t * 11)
        tilt = 14 * math.sin(t * 0.9) * math.sin(t / 11) + random.gauss(0, 0.15)
        _try(self.wave, {"t_us": int(now * 1e6), "heave": round(heave, 4), "tilt": round(tilt, 2)})
        if self.is_tilted != (abs(tilt) > (9 if self.is_tilted else 12)):
            self.is_tilted = not self.is_tilted
            _try(self.alarm, {"t_us": int(now * 1e6), "text": "tilted" if self.is_tilted else "level again", "tilt": round(tilt, 1)})


class _Host:
    """What this process spends, once a second."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.topic: Topic = engine.topic("demo/host", priority="high")
        self.spent_ns = 0
        self.steps = 0
        self.next = time.monotonic() + 1
        self.cpu = time.process_time()

    def step(self, spent_ns: int, messages: int) -> None:
        self.spent_ns += spent_ns
        self.steps += messages
        if time.monotonic() < self.next:
            return
        cpu = time.process_time()
        stats = self.engine.stats()
        with open("/proc/self/statm") as statm:
            resident = int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        figures: dict[str, Any] = {
            "us_per_message": round(self.spent_ns / self.steps / 1000, 1),
            "cpu_percent": round((cpu - self.cpu) * 100, 1),
            "resident_mib": round(resident / 2**20, 1),
            "connections": stats.connections,
            "messages": stats.messages,
            "deliveries": stats.deliveries,
            "driver": self.engine.driver,
            "python": sys.version.split()[0],
        }
        _try(self.topic, figures)
        self.spent_ns = self.steps = 0
        self.next += 1
        self.cpu = cpu


def _try(topic: Topic, data: dict[str, Any]) -> None:
    try:
        topic.publish(data)
    except WouldBlock:
        # A sensor does not wait: the next reading is on its way.
        pass


def _near(address: Address, make: Any, taken: type[Exception]) -> Any:
    """What `make` makes of the address, or of the next free port after it."""
    host, port = address
    for tried in range(PORTS_TRIED):
        try:
            return make((host, port + tried if port else 0))
        except taken:
            if not port or tried + 1 == PORTS_TRIED or port + tried >= 65_535:
                raise
    raise AssertionError("PORTS_TRIED is above zero")


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _page(engine: Engine, host: str) -> bytes:
    # An address that stands for all of them is no place to connect to: the page then takes the host it came from.
    is_any = host in ("0.0.0.0", "::")
    text = importlib.resources.files(__package__).joinpath("_demo.html").read_text("utf-8")
    text = text.replace("{{HOST}}", "" if is_any else _shown(host)).replace("{{PORT}}", str(engine.port))
    return text.encode()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    content = b""

    def __init__(self, address: Address, handler: type[http.server.BaseHTTPRequestHandler]) -> None:
        import socket

        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, handler)


class _Page(http.server.BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        if self.path != "/":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(self.server.content)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(self.server.content)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Says nothing: the terminal is for what matters."""
