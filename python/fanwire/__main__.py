"""`python -m fanwire`: see `--help`."""

import argparse
import sys
from collections.abc import Sequence

from . import __version__


def _address(text: str) -> tuple[str, int]:
    import ipaddress

    host, _, port = text.rpartition(":")
    try:
        return str(ipaddress.ip_address(host.strip("[]"))), int(port)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text}: an IP address and a port are needed, like 127.0.0.1:9001") from None


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; gives its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m fanwire",
        description="The engine inside a Python process: see help(fanwire). The command shows it at work.",
    )
    parser.add_argument("--version", action="version", version=f"fanwire {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    demo = commands.add_parser(
        "demo",
        help="three simulated probes at 200 Hz, a chat, and a live page that shows them",
        description="Publishes three simulated probes at 200 Hz each from this Python process, and serves a page that shows "
        "what a browser receives of them. Ends on Ctrl-C.",
    )
    demo.add_argument(
        "--listen", type=_address, metavar="IP:PORT", default=("127.0.0.1", 9001),
        help="where subscribers connect (default: 127.0.0.1:9001, or the next free port; port 0: any)",
    )  # fmt: skip
    demo.add_argument(
        "--http", type=_address, metavar="IP:PORT", default=("127.0.0.1", 8080),
        help="where the page is (default: 127.0.0.1:8080, or the next free port; port 0: any)",
    )  # fmt: skip
    demo.add_argument("--rate", type=float, metavar="HZ", default=200.0, help="readings a second of each probe (default: 200)")
    chosen = parser.parse_args(arguments)
    if not 0 < chosen.rate <= 10_000:
        parser.error("--rate: a number from above 0 to 10000 is needed")

    from . import _demo

    return _demo.run(chosen.listen, chosen.http, chosen.rate)


if __name__ == "__main__":
    sys.exit(main())
