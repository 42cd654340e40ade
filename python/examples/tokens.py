"""Lets in who has a token (JWT), as the token says; whose token is taken back is closed.

    pip install fanwire
    openssl rand -hex 32 > secret
    fanwire token mint --key secret --sub ann --subscribe 'news/**' > token
    python tokens.py --keys secret
    websocat -H "Authorization: Bearer $(cat token)" ws://127.0.0.1:9001/t/news/today

A line "revoke SUB" on stdin refuses that subject's tokens from now on, "reload" reads the keys again, and the end of stdin
ends the program. Who has no token gets what is public. Speak TLS where others can listen.
"""

import argparse
import sys

import fanwire


def obey(engine: fanwire.Engine, line: str) -> str:
    """What an operator wants, and what has come of it."""
    match line.split():
        case ["revoke", sub]:
            return f"revoked {sub}: {engine.revoke(sub=sub)} closed"
        case ["reload"]:
            try:
                return f"reloaded: {engine.reconfigure({}).tokens}"
            except fanwire.ConfigError as error:
                return f"everything stays as it was: {error}"
        case _:
            return "revoke SUB, or reload"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--listen", default="127.0.0.1:9001", metavar="ADDRESS:PORT")
    parser.add_argument("--keys", default="secret", metavar="FILE", help="a secret, a public key in PEM, or a JWK set")
    arguments = parser.parse_args()
    # As in the server's file of settings: docs/reference/token-settings.md.
    with fanwire.Engine(
        listen=arguments.listen,
        options={"token.keys_file": arguments.keys, "token.anonymous_subscribe": ["public/**"]},
    ) as engine:
        print(f"listening on port {engine.port}", flush=True)
        for line in sys.stdin:
            print(obey(engine, line), flush=True)


if __name__ == "__main__":
    main()
