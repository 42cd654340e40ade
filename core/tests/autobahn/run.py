#!/usr/bin/env python3
"""Job: the Autobahn suite against one echo server: starts it, runs the cases section by section, judges every one of them, and
ends with `N passed, N failed`.

    run.py --wstest PATH --out DIR [--cases core|small|all] [--sections N…] [--path /PATH] --name NAME -- COMMAND…

NAME stands in the report. COMMAND gets `--listen 127.0.0.1:0`; its first line ends in its port. Exit status 1 if a case failed.
A case passes with OK, or INFORMATIONAL where the suite has nothing else to give, and with a close that is OK; NON-STRICT and
UNIMPLEMENTED fail. One that fails is run once more, alone: some judge by time-outs of one second.

Knows the suite's verdicts. Must never know whose server it is."""

import argparse
import fnmatch
import json
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

SECTIONS = {
    1: ("framing", 16),
    2: ("pings and pongs", 11),
    3: ("reserved bits", 7),
    4: ("opcodes", 10),
    5: ("fragmentation", 20),
    6: ("UTF-8", 145),
    7: ("closing", 37),
    9: ("limits and performance", 54),
    10: ("fragments of any size", 1),
    12: ("permessage-deflate", 90),
    13: ("permessage-deflate, seven offers", 126),
}
INFORMATIONAL = {"7.1.6", "7.13.1", "7.13.2"}
"""The suite gives no verdict on these."""

SMALL = (1, 2, 3, 4, 5, 6, 7, 8, 11)
"""Of the 18 sizes in sections 12 and 13 those up to 32 KiB: the others take Python 2 an hour."""

SECTION_S = {"core": 300, "small": 900, "all": 3600}


def globs(section: int, which: str) -> list[str]:
    """The cases of a section that are run."""
    if section < 12 or which == "all":
        return [f"{section}.*"]
    groups = 5 if section == 12 else 7
    return [f"{section}.{group}.{size}" for group in range(1, groups + 1) for size in SMALL]


class Suite:
    """The suite, run against one port."""

    def __init__(self, arguments: argparse.Namespace, port: int) -> None:
        self.name: str = arguments.name
        self._arguments = arguments
        self._port = port

    def run(self, cases: list[str], within_s: float) -> dict[str, dict]:
        """Verdicts by case; what did not run has none."""
        out = Path(self._arguments.out)
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        url = f"ws://127.0.0.1:{self._port}{self._arguments.path}"
        spec = {
            "outdir": str(out),
            "servers": [{"agent": "server", "url": url, "options": {"failByDrop": False}}],
            "cases": cases,
            "exclude-cases": [],
            "exclude-agent-cases": {},
        }
        (out / "spec.json").write_text(json.dumps(spec))
        command = [self._arguments.wstest, "-m", "fuzzingclient", "-s", str(out / "spec.json")]
        with open(out / "log", "wb") as log:
            try:
                subprocess.run(command, stdout=log, stderr=log, timeout=within_s, check=False)
            except subprocess.TimeoutExpired:
                print(f"  not done within {within_s:.0f} s")
        index = out / "index.json"
        if not index.exists():
            print((out / "log").read_text(errors="replace")[-2000:])
            return {}
        (agent,) = json.loads(index.read_text()).values()
        # A later version of the suite may have cases that an earlier one had not; those asked for count.
        return {case: verdict for case, verdict in agent.items() if any(fnmatch.fnmatch(case, g) for g in cases)}


def has_passed(case: str, verdict: dict) -> bool:
    behavior, close = verdict["behavior"], verdict["behaviorClose"]
    is_judged = behavior == "OK" or (behavior == "INFORMATIONAL" and case in INFORMATIONAL)
    return is_judged and close in ("OK", "INFORMATIONAL")


def run_section(suite: Suite, section: int, which: str) -> tuple[int, int]:
    """Runs a section, says what came of it, and gives (passed, failed)."""
    began = time.monotonic()
    verdicts = suite.run(globs(section, which), SECTION_S[which])
    for case in [case for case, verdict in verdicts.items() if not has_passed(case, verdict)]:
        again = suite.run([case], 300).get(case)
        first = f"{verdicts[case]['behavior']}, close {verdicts[case]['behaviorClose']}"
        if again is None:
            print(f"  {case}: {first}; again, alone: nothing")
            continue
        print(f"  {case}: {first}; again, alone: {again['behavior']}, close {again['behaviorClose']}")
        verdicts[case] = again
    title, count = SECTIONS[section]
    expected = count if section < 12 or which == "all" else len(globs(section, which))
    passed = sum(has_passed(case, verdict) for case, verdict in verdicts.items())
    informational = sum(verdict["behavior"] == "INFORMATIONAL" for verdict in verdicts.values())
    failed = len(verdicts) - passed + max(0, expected - len(verdicts))
    said = f"{passed - informational} OK"
    if informational:
        said += f", {informational} informational"
    if failed:
        said += f", {failed} FAILED"
    if len(verdicts) != expected:
        said += f" ({len(verdicts)} ran of {expected})"
    print(f"{suite.name}: section {section}, {title}: {said} in {time.monotonic() - began:.0f} s", flush=True)
    return passed, failed


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--wstest", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--cases", choices=["core", "small", "all"], default="core")
    parser.add_argument("--sections", type=int, nargs="+", default=list(SECTIONS))
    parser.add_argument("--path", default="/")
    parser.add_argument("--name", required=True)
    parser.add_argument("command", nargs="+")
    arguments = parser.parse_args()
    server = subprocess.Popen([*arguments.command, "--listen", "127.0.0.1:0"], stdout=subprocess.PIPE)
    passed = failed = 0
    try:
        first = server.stdout.readline().decode().strip()
        port = int(first.rsplit(" ", 1)[-1].rsplit(":", 1)[-1])
        # Nobody else reads what it says.
        threading.Thread(target=server.stdout.read, daemon=True).start()
        suite = Suite(arguments, port)
        for section in arguments.sections:
            if section >= 12 and arguments.cases == "core":
                continue
            p, f = run_section(suite, section, arguments.cases)
            passed += p
            failed += f
        if server.poll() is not None:
            print(f"the server has ended with {server.returncode}")
            failed += 1
    finally:
        server.kill()
        server.wait()
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
