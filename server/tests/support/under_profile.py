"""Runs a command under a seccomp profile as Docker would: under_profile.py PROFILE.json COMMAND…

Exit code 77 where the names of system calls cannot be resolved here (x86-64 with Linux's headers alone).
"""

import glob
import json
import platform
import re
import sys

sys.dont_write_bytecode = True
from seccomp import AND, EQUAL, LOAD, RET_ALLOW, RET_ERRNO, RETURN, become, instruction  # noqa: E402

NUMBER_AT, ARGUMENTS_AT = 0, 16


def call_numbers():
    if platform.machine() != "x86_64":
        return {}
    numbers = {}
    for header in glob.glob("/usr/include/*/asm/unistd_64.h"):
        with open(header) as lines:
            for name, number in re.findall(r"#define __NR_(\w+)\s+(\d+)", lines.read()):
                numbers[name] = int(number)
    return numbers


with open(sys.argv[1]) as file:
    profile = json.load(file)
numbers = call_numbers()
if not numbers:
    print("no table of system calls here", file=sys.stderr)
    sys.exit(77)
assert profile["defaultAction"] == "SCMP_ACT_ERRNO"

parts = [instruction(LOAD, 0, 0, NUMBER_AT)]
for rule in profile["syscalls"]:
    assert rule["action"] == "SCMP_ACT_ALLOW"
    for name in rule["names"]:
        # A call that these headers do not know yet, or that this architecture does not have.
        if name not in numbers:
            continue
        arguments = rule.get("args", [])
        if not arguments:
            parts.append(instruction(EQUAL, 0, 1, numbers[name]))
            parts.append(instruction(RETURN, 0, 0, RET_ALLOW))
            continue
        (argument,) = arguments
        assert argument["op"] == "SCMP_CMP_MASKED_EQ"
        parts.append(instruction(EQUAL, 0, 5, numbers[name]))
        parts.append(instruction(LOAD, 0, 0, ARGUMENTS_AT + 8 * argument["index"]))
        parts.append(instruction(AND, 0, 0, argument["value"]))
        parts.append(instruction(EQUAL, 0, 1, argument["valueTwo"]))
        parts.append(instruction(RETURN, 0, 0, RET_ALLOW))
        parts.append(instruction(RETURN, 0, 0, RET_ERRNO | profile["defaultErrnoRet"]))
parts.append(instruction(RETURN, 0, 0, RET_ERRNO | profile["defaultErrnoRet"]))
become(sys.argv[2:], parts)
