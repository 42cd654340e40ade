"""Tokens (JWT) that the engine verifies: settings by their names, revocation, keys that change, and who brings none."""

import base64
import hashlib
import hmac
import json
import re
import subprocess
import sys
import threading
from pathlib import Path

import fanwire
import pytest
from support import PATIENCE, SMALL
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

SECRET = "0123456789abcdef0123456789abcdef"
OTHER = "another-secret-that-is-long-enough"
LATER = 4_102_444_800
EXAMPLES = Path(__file__).parent.parent / "examples"
REFERENCE = Path(__file__).parent.parent.parent / "docs/reference/token-settings.md"


def mint(sub, secret=SECRET, **more):
    def part(data):
        return base64.urlsafe_b64encode(data).rstrip(b"=")

    claims = {"sub": sub, "exp": LATER, "fanwire": {"subscribe": ["news/**"]}, **more}
    said = b".".join(part(json.dumps(of).encode()) for of in ({"alg": "HS256"}, claims))
    return (said + b"." + part(hmac.digest(secret.encode(), said, hashlib.sha256))).decode()


def enter(url, token=None, topic="news/a"):
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    return connect(f"{url}/t/{topic}", additional_headers=headers, compression=None)


def status(url, token=None, topic="news/a"):
    try:
        with enter(url, token, topic):
            return 101
    except InvalidStatus as refused:
        return refused.response.status_code


def code(client):
    with pytest.raises(ConnectionClosed) as closed:
        client.recv(timeout=PATIENCE)
    return closed.value.rcvd.code


@pytest.fixture
def keys(tmp_path):
    file = tmp_path / "secret"
    file.write_text(SECRET + "\n")
    return file


def engine(keys, **more):
    options = {"token.keys_file": str(keys), **more.pop("options", {})}
    return fanwire.Engine(**{**SMALL, "options": options, **more})


def test_a_token_opens_and_says_what_and_revoking_it_closes(keys):
    with engine(keys) as server:
        assert "revoked tokens" in server.memory_plan
        for wrong in (None, "no.to.ken", mint("ann", OTHER), mint("ann", aud="another"), mint("ann", exp=1)):
            assert status(server.url, wrong) == 401, wrong
        assert status(server.url, mint("cid"), "other") == 403
        with enter(server.url, mint("ann")) as ann, enter(server.url, mint("bob", jti="t1")) as bob:
            server.topic("news/a").publish("hello", kind="text")
            assert ann.recv(timeout=PATIENCE) == bob.recv(timeout=PATIENCE) == "hello"
            assert server.revoke(sub="ann") == 1
            assert code(ann) == 4401
            assert (server.revoke(jti="t1"), code(bob)) == (1, 4401)
        assert (status(server.url, mint("ann")), status(server.url, mint("cid"))) == (401, 101)
        for nobody in ({}, {"sub": "x" * 1_025}):
            with pytest.raises(ValueError, match="token|name"):
                server.revoke(**nobody)
    with pytest.raises(fanwire.Stopped):
        server.revoke(sub="ann")


def test_keys_and_settings_are_taken_anew_or_stay_as_they_were(keys):
    with engine(keys) as server, enter(server.url, mint("ann")) as ann:
        keys.write_text("too short")
        with pytest.raises(fanwire.ConfigError, match="secret"):
            server.reconfigure({"token.issuer": "me"})
        assert status(server.url, mint("ann")) == 101
        keys.write_text(OTHER)
        told = server.reconfigure({"token.issuer": "me", "token.revocations_max": 7, "limits.ping_every": 5})
        assert told.changed == ["limits.ping_every", "token.issuer"]
        assert told.needs_restart == ["token.revocations_max"]
        assert "key" in told.tokens
        assert code(ann) == 4401
        assert (status(server.url, mint("ann", OTHER)), status(server.url, mint("ann", OTHER, iss="me"))) == (401, 101)
    with fanwire.Engine(**SMALL) as server:
        told = server.reconfigure({"token.keys_file": str(keys)})
        assert (told.changed, told.needs_restart, told.tokens) == ([], ["token.keys_file"], None)
        with pytest.raises(fanwire.ConfigError, match=r"token\.keys_file"):
            server.revoke(sub="ann")


def test_who_brings_no_token_is_this_program_s_where_it_wants_to_be_asked(keys):
    with engine(keys, ask_host_within=5, ask_host_headers=["cookie"], events=16) as server:
        heard = []

        def decide():
            for event in server.events:
                heard.append(event)
                if isinstance(event, fanwire.Authorize):
                    server.allow(event.connection, subscribe=["news/a"])

        decides = threading.Thread(target=decide)
        decides.start()
        assert [status(server.url, token) for token in (mint("ann"), "no.to.ken", None)] == [101, 401, 101]
        server.shutdown()
        decides.join(PATIENCE)
        assert not decides.is_alive()
    kinds = [type(event).__name__ for event in heard]
    # The last ones too, of an engine that has ended.
    assert (kinds.count("Authorize"), kinds.count("Opened"), kinds.count("Closed")) == (1, 2, 2)
    asked = next(event for event in heard if isinstance(event, fanwire.Authorize))
    assert asked.headers == []


def test_every_setting_of_tokens_is_taken_by_its_name(keys, tmp_path):
    names = re.findall(r"^### (token\.\w+)$", REFERENCE.read_text(), re.MULTILINE)
    values = {
        "token.keys_file": str(keys),
        "token.jwks_url": None,  # instead of the file
        "token.jwks_every": None,
        "token.issuer": "me",
        "token.audience": "you",
        "token.grants_claim": "realm.app",
        "token.subscribe": ["users/{sub}/**", "news"],
        "token.publish": "chat/{sub}",
        "token.anonymous_subscribe": ["public/**"],
        "token.anonymous_publish": ["wishes"],
        "token.revocations_file": str(tmp_path / "revoked"),
        "token.revocations_max": 3,
        "token.lifetime_max": 3600.5,
    }
    assert set(values) == set(names)
    with fanwire.Engine(**SMALL, options=values) as server:
        assert server.revoke(sub="ann") == 0
    assert "ann" in (tmp_path / "revoked").read_text()
    for wrong, match in [
        ({"token.isuer": "me"}, "token.issuer"),
        ({"token.issuer": ""}, "must not be empty"),
        ({"token.issuer": "me"}, "means nothing without"),
        ({"token.jwks_url": "http://id.example/"}, "https"),
        ({"token.jwks_every": 0.5, "token.jwks_url": "https://id.example/"}, "from 1s to 24h"),
        ({"token.keys_file": str(tmp_path / "none")}, "cannot read"),
    ]:
        with pytest.raises(fanwire.ConfigError, match=match):
            fanwire.Engine(**SMALL, options=wrong)
    with pytest.raises(TypeError):
        fanwire.Engine(**SMALL, options={"token.subscribe": object()})


def test_the_example_takes_tokens_revokes_and_reloads(keys):
    command = [sys.executable, EXAMPLES / "tokens.py", "--listen", "127.0.0.1:0", "--keys", keys]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as program:
        try:
            url = "ws://127.0.0.1:" + program.stdout.readline().split()[-1]

            def tell(line):
                program.stdin.write(line + "\n")
                program.stdin.flush()
                return program.stdout.readline()

            assert [status(url), status(url, topic="public/a"), status(url, mint("cid"))] == [403, 101, 101]
            with enter(url, mint("ann")) as ann, enter(url, mint("bob")) as bob:
                assert tell("revoke ann") == "revoked ann: 1 closed\n"
                assert code(ann) == 4401
                keys.write_text(OTHER)
                assert tell("reload").startswith("reloaded: tokens: ")
                assert code(bob) == 4401
            assert tell("what") == "revoke SUB, or reload\n"
            program.stdin.close()
            assert program.wait(PATIENCE) == 0
        finally:
            program.kill()
