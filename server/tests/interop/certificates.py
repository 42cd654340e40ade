"""Job: an authority of the tests' own, and a certificate of it for this machine.
Knows the program `openssl`. Must never know who connects."""

import base64
import hashlib
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

SUBJECT = "subjectAltName=IP:127.0.0.1,DNS:localhost\nbasicConstraints=CA:FALSE\n"
NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


@dataclass(frozen=True)
class Authority:
    """Files in PEM."""

    ca: Path
    certificate: Path
    key: Path
    spki: str
    """The certificate's public key as Chromium wants it: SHA-256, in base64."""


def make(folder: Path) -> Authority | None:
    """`None`: there is no `openssl`."""
    if shutil.which("openssl") is None:
        return None

    def openssl(*arguments: str | Path) -> bytes:
        return subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, cwd=folder).stdout

    ca, certificate, key = folder / "ca.pem", folder / "server.pem", folder / "server.key"
    (folder / "extensions").write_text(SUBJECT)
    openssl("req", "-x509", *NEW_KEY, "-keyout", "ca.key", "-out", ca, "-days", "2", "-subj", "/CN=fanwire tests",
            "-addext", "keyUsage=critical,keyCertSign")
    openssl("req", *NEW_KEY, "-keyout", key, "-out", "server.csr", "-subj", "/CN=localhost")
    openssl("x509", "-req", "-in", "server.csr", "-CA", ca, "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
            "-extfile", "extensions", "-out", certificate)
    public = openssl("x509", "-in", certificate, "-pubkey", "-noout")
    (folder / "public.pem").write_bytes(public)
    der = openssl("pkey", "-pubin", "-in", "public.pem", "-outform", "der")
    return Authority(ca, certificate, key, base64.b64encode(hashlib.sha256(der).digest()).decode())
