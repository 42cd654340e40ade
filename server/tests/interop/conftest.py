"""The programs that the tests need, each started once. Where they are is told by the environment: FANWIRE_BUILT, the folder of
cargo's profile, and CHROMIUM, the browser (found on the PATH otherwise). FANWIRE_TEST_DRIVER is what the engine runs on."""

import os
import shutil
import ssl
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import certificates
from peers import Driver, Server

HERE = Path(__file__).parent
CLIENTS = HERE / "clients"
LANE_BYTES = "32MiB"
"""What a test publishes before it reads: a few messages of 1 MiB, several times as long once they are escaped as JSON."""
PAYLOAD_BYTES = "1GiB"
"""What all tests publish: else older messages make room for newer ones, and a slow client is told of a gap."""
DRIVER = os.environ.get("FANWIRE_TEST_DRIVER", "auto")


def built(*name: str) -> Path:
    path = Path(os.environ["FANWIRE_BUILT"]).joinpath(*name)
    assert path.exists(), f"{path} is not built"
    return path


def beside_python(name: str) -> Path:
    return Path(sys.executable).parent / name


def start(client: str) -> Driver:
    if client == "tungstenite":
        return Driver(built("examples", "interop_tungstenite"))
    if client in ("ws", "undici"):
        return Driver(beside_python("node"), CLIENTS / f"{client}.mjs")
    if client == "chromium":
        browser = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
        if browser is None:
            if os.environ.get("CI") == "true":
                pytest.fail("there is no Chromium, and CI skips nothing")
            pytest.skip("there is no Chromium")
        return Driver(sys.executable, CLIENTS / "chromium.py", browser)
    return Driver(sys.executable, CLIENTS / f"{client}_client.py")


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    """Whom the drivers trust, each in its own way; `None`: there is nobody."""
    made = certificates.make(tmp_path_factory.mktemp("authority"))
    if made is not None:
        os.environ |= {"NODE_EXTRA_CA_CERTS": str(made.ca), "INTEROP_CA": str(made.ca), "INTEROP_SPKI": made.spki}
    return made


@pytest.fixture(scope="session")
def running_drivers(authority):
    running: dict[str, Driver] = {}
    yield running
    for driver in running.values():
        driver.stop()


@pytest.fixture
def drivers(running_drivers):
    """Gives the driver of a client. One that a failed test leaves in the middle of a connection is used no more."""
    yield lambda client: running_drivers.get(client) or running_drivers.setdefault(client, start(client))
    for client, driver in list(running_drivers.items()):
        if driver.is_busy:
            running_drivers.pop(client).kill()


@pytest.fixture(scope="session")
def fanwire():
    """The address of a running `fanwire serve`."""
    server = Server(
        built("fanwire"), "serve", "--listen", "127.0.0.1:0", "--cpus", "none", "--ping-every", "0", "--driver", DRIVER,
        "--publish", "loopback", "--lane-bytes", LANE_BYTES, "--payload-bytes", PAYLOAD_BYTES,
        "--pool-bytes", PAYLOAD_BYTES,
    )
    yield server.address
    server.stop()


@pytest.fixture(scope="session")
def echo():
    """The address of a running echo server."""
    server = Server(built("examples", "echo"), "--listen", "127.0.0.1:0", "--driver", DRIVER)
    yield server.address
    server.stop()


@dataclass(frozen=True)
class Guarded:
    """A running `fanwire serve` that wants TLS and a token."""

    url: str
    token: str
    authority: certificates.Authority
    trust: ssl.SSLContext


@pytest.fixture(scope="session")
def guarded(authority, tmp_path_factory):
    if authority is None:
        if os.environ.get("CI") == "true":
            pytest.fail("there is no openssl, and CI skips nothing")
        pytest.skip("there is no openssl")
    secret = tmp_path_factory.mktemp("keys") / "secret"
    secret.write_text("a-secret-of-the-tests,-long-enough\n")
    mint = [built("fanwire"), "token", "mint", "--key", secret, "--sub", "u1", "--subscribe", "mine/**", "--publish", "mine/**"]
    token = subprocess.run([str(part) for part in mint], check=True, capture_output=True, text=True).stdout.strip()
    server = Server(
        built("fanwire"), "serve", "--listen", "wss://127.0.0.1:0", "--cpus", "none", "--driver", DRIVER,
        "--tls-certificate-files", authority.certificate, "--tls-key-files", authority.key, "--token-keys-file", secret,
    )
    host, port = server.address
    yield Guarded(f"wss://{host}:{port}/", token, authority, ssl.create_default_context(cafile=authority.ca))
    server.stop()
