"""Runs a command in a terminal of 80 x 24 and says how that went: `terminal.py SCRIPT COMMAND…`.

SCRIPT is JSON: steps `{"until": TEXT}` (the screen's output has it), `{"keys": TEXT}`, `{"signal": NUMBER}`, and, as the last one,
`{"gone": true}`: the terminal is closed, of which no signal tells. Prints JSON, after that step without what needs a terminal:
`code` (negative: a signal), `restored` (the terminal is set as it was), `left` (the alternate screen was left), `output`."""

import fcntl
import json
import os
import pty
import select
import signal
import struct
import sys
import termios
import time

PATIENCE_S = 100

steps, command = json.loads(sys.argv[1]), sys.argv[2:]
ours, theirs = pty.openpty()
fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
before = termios.tcgetattr(theirs)
child = os.fork()
if child == 0:
    os.close(ours)
    if any("gone" in step for step in steps):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    os.login_tty(theirs)
    os.execv(command[0], command)

output = b""
deadline = time.monotonic() + PATIENCE_S


def read(wait_s: float) -> None:
    global output
    if select.select([ours], [], [], wait_s)[0]:
        output += os.read(ours, 65536)


for step in steps:
    if "until" in step:
        # Only what was drawn since the step before: cells that did not change are not drawn again.
        start = len(output)
        while step["until"].encode() not in output[max(0, start - 4096) :]:
            assert time.monotonic() < deadline, output[-4000:].decode(errors="replace")
            read(0.2)
    elif "keys" in step:
        os.write(ours, step["keys"].encode())
    elif "gone" in step:
        os.close(ours)
        os.close(theirs)
        ours = None
    else:
        os.kill(child, step["signal"])

while True:
    pid, status = os.waitpid(child, os.WNOHANG)
    if ours is None:
        time.sleep(0.02)
    else:
        read(0.05)
    if pid:
        break
    if time.monotonic() > deadline:
        os.kill(child, signal.SIGKILL)
        raise AssertionError("it does not end")
if ours is None:
    print(json.dumps({"code": os.waitstatus_to_exitcode(status)}))
    sys.exit()
for _ in range(20):
    read(0.02)
print(
    json.dumps(
        {
            "code": os.waitstatus_to_exitcode(status),
            "restored": termios.tcgetattr(theirs) == before,
            "left": output.rstrip().find(b"\x1b[?1049l") > output.rfind(b"\x1b[?1049h"),
            "output": output.decode(errors="replace"),
        }
    )
)
