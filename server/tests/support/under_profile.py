"""Runs a command under a seccomp profile as Docker would: under_profile.py PROFILE.json COMMAND…

Exit code 77 where the names of system calls cannot be resolved here (x86-64 with Linux's headers alone).
"""

import ctypes
import glob
import json
import os
import platform
import re
import struct
import sys

LOAD, EQUAL, AND, RETURN = 0x20, 0x15, 0x54, 0x06
SECCOMP_RET_ERRNO, SECCOMP_RET_ALLOW = 0x00050000, 0x7FFF0000
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, SECCOMP_MODE_FILTER = 22, 38, 2
NUMBER_AT, ARGUMENTS_AT = 0, 16


def instruction(code, if_true, if_false, value):
    return struct.pack("HBBI", code, if_true, if_false, value)


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
            parts.append(instruction(RETURN, 0, 0, SECCOMP_RET_ALLOW))
            continue
        (argument,) = arguments
        assert argument["op"] == "SCMP_CMP_MASKED_EQ"
        parts.append(instruction(EQUAL, 0, 5, numbers[name]))
        parts.append(instruction(LOAD, 0, 0, ARGUMENTS_AT + 8 * argument["index"]))
        parts.append(instruction(AND, 0, 0, argument["value"]))
        parts.append(instruction(EQUAL, 0, 1, argument["valueTwo"]))
        parts.append(instruction(RETURN, 0, 0, SECCOMP_RET_ALLOW))
        parts.append(instruction(RETURN, 0, 0, SECCOMP_RET_ERRNO | profile["defaultErrnoRet"]))
parts.append(instruction(RETURN, 0, 0, SECCOMP_RET_ERRNO | profile["defaultErrnoRet"]))
program = b"".join(parts)


class Program(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


code = ctypes.create_string_buffer(program)
filter_program = Program(len(program) // 8, ctypes.cast(code, ctypes.c_void_p))
libc = ctypes.CDLL(None, use_errno=True)
for arguments in [(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(filter_program))]:
    if libc.prctl(*arguments) != 0:
        print(f"prctl: {os.strerror(ctypes.get_errno())}", file=sys.stderr)
        sys.exit(77)
os.execvp(sys.argv[2], sys.argv[2:])
