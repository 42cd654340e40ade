#!/usr/bin/env python3
"""Lets testssl.sh look at a server that speaks TLS, and judges what it found.

    server/tests/testssl/run.py --server target/debug/fanwire --testssl testssl [--everything]

Protocols, ciphers and forward secrecy; with --everything also vulnerabilities, the server's defaults and which clients can
connect. Every finding that testssl.sh does not call good has to be in EXPECTED_OF_EVERYTHING, with the reason why it is as it
should be; what is there and is not found is a fault, too. Ends with the line `N passed, M failed`.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import time

# What testssl.sh finds fault with when it looks at everything, and why it stays.
EXPECTED_OF_EVERYTHING = {
    "cipher_order": "all ciphers are AEAD with forward secrecy: the client chooses what its hardware is good at",
    "cert_chain_of_trust": "the certificates of this test are signed by themselves",
    "cert_revocation": "the certificates of this test are signed by themselves",
}
# What it says of itself.
OF_THE_TOOL = {"engine_problem"}

# What has to be found, and how it has to be called.
WANTED = {
    "SSLv2": "OK",
    "SSLv3": "OK",
    "TLS1": "INFO",
    "TLS1_1": "INFO",
    "TLS1_2": "OK",
    "TLS1_3": "OK",
    "PFS": "OK",
    "cipherlist_NULL": "OK",
    "cipherlist_aNULL": "OK",
    "cipherlist_EXPORT": "OK",
    "cipherlist_LOW": "OK",
    "cipherlist_3DES_IDEA": "INFO",
    "cipherlist_STRONG": "OK",
}
WANTED_OF_EVERYTHING = dict.fromkeys(
    (
        "heartbleed", "CCS", "ticketbleed", "ROBOT", "secure_renego", "secure_client_renego", "CRIME_TLS", "BREACH", "POODLE_SSL",
        "SWEET32", "FREAK", "DROWN", "LOGJAM", "BEAST", "LUCKY13", "RC4",
    ),
    "OK",
)
GOOD = {"OK", "INFO", "DEBUG"}


def certificate(folder: pathlib.Path, kind: list[str], name: str) -> tuple[pathlib.Path, pathlib.Path]:
    """A certificate for localhost, signed by itself, and its key."""
    chain, key = folder / f"{name}.pem", folder / f"{name}.key"
    command = ["openssl", "req", "-x509", "-newkey", *kind, "-nodes", "-keyout", key, "-out", chain, "-days", "90", "-sha256"]
    more = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run([*command, *more], check=True, capture_output=True)
    return chain, key


def serve(binary: str, folder: pathlib.Path) -> tuple[subprocess.Popen, str]:
    """A server with a certificate for ECDSA and one for RSA: its process, and where it listens."""
    ecdsa = certificate(folder, ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"], "ecdsa")
    rsa = certificate(folder, ["rsa:2048"], "rsa")
    command = [binary, "serve", "--listen", "wss://127.0.0.1:0", "--log", "warn"]
    command += ["--tls-certificate-files", f"{ecdsa[0]},{rsa[0]}", "--tls-key-files", f"{ecdsa[1]},{rsa[1]}"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    for line in server.stdout:
        if "listening on wss://" in line:
            return server, line.split("wss://")[1].strip().rstrip("/")
    raise SystemExit("the server did not get ready")


def look(testssl: str, address: str, folder: pathlib.Path, everything: bool) -> list[dict]:
    report = folder / "report.json"
    what = ["--protocols", "--std", "--fs"]
    if everything:
        what += ["--server-preference", "--server-defaults", "--vulnerable", "--client-simulation"]
    command = [testssl, "--quiet", "--color", "0", "--warnings", "off", "--nodns", "none"]
    done = subprocess.run(
        [*command, "--jsonfile", report, *what, address], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=1_200
    )
    print(done.stdout)
    if not report.is_file():
        raise SystemExit(f"testssl.sh said nothing ({done.returncode}):\n{done.stdout}{done.stderr}")
    return json.loads(report.read_text())


def judge(findings: list[dict], everything: bool) -> tuple[int, int]:
    """Prints what is not as it should be; how many were, and how many not."""
    expected = EXPECTED_OF_EVERYTHING if everything else {}
    wanted = {**WANTED, **(WANTED_OF_EVERYTHING if everything else {})}
    found: dict[str, list[tuple[str, str]]] = {}
    for finding in findings:
        # Version 3.2 has the usual name for it; a certificate's number is no part of the name.
        name = {"FS": "PFS"}.get(finding["id"], finding["id"]).split(" <")[0]
        if name not in OF_THE_TOOL:
            found.setdefault(name, []).append((finding["severity"], finding["finding"]))
    good, wrong = 0, []
    for name, severity in wanted.items():
        severities = {one for one, _ in found.get(name, [])}
        if severities == {severity}:
            good += 1
        else:
            wrong.append(f"{name}: {severities or 'nothing'} instead of {severity}: {found.get(name)}")
    for name, all_of_it in found.items():
        bad = [f"{severity}: {text}" for severity, text in all_of_it if severity not in GOOD]
        if bad and name not in expected:
            wrong.append(f"{name}: {'; '.join(bad)}")
        elif bad:
            print(f"as it should be: {name}: {'; '.join(bad)} ({expected[name]})")
        good += not bad
    wrong += [f"{name} was not found fault with: take it off the list" for name in expected if name not in found]
    for words in wrong:
        print("WRONG", words)
    return good, len(wrong)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", required=True)
    parser.add_argument("--testssl", required=True)
    parser.add_argument("--everything", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        server, address = serve(arguments.server, pathlib.Path(folder))
        try:
            began = time.monotonic()
            findings = look(arguments.testssl, address, pathlib.Path(folder), arguments.everything)
            good, wrong = judge(findings, arguments.everything)
            if server.poll() is not None:
                wrong += 1
                print("WRONG the server is gone")
            print(f"{len(findings)} findings in {time.monotonic() - began:.0f} s")
        finally:
            server.terminate()
            server.wait(10)
    print(f"{good} passed, {wrong} failed")
    sys.exit(wrong > 0)


main()
