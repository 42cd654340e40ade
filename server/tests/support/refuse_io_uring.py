"""Runs a command in which the three system calls of io_uring give an error: refuse_io_uring.py ERRNO COMMAND…

What a container's seccomp profile (EPERM) or an old kernel (ENOSYS) does.
"""

import ctypes
import os
import struct
import sys

LOAD, AT_LEAST, RETURN = 0x20, 0x35, 0x06
SECCOMP_RET_ERRNO, SECCOMP_RET_ALLOW = 0x00050000, 0x7FFF0000
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, SECCOMP_MODE_FILTER = 22, 38, 2


def instruction(code, if_true, if_false, value):
    return struct.pack("HBBI", code, if_true, if_false, value)


program = b"".join([
    instruction(LOAD, 0, 0, 0),
    instruction(AT_LEAST, 0, 2, 425),  # io_uring_setup
    instruction(AT_LEAST, 1, 0, 428),  # one past io_uring_register
    instruction(RETURN, 0, 0, SECCOMP_RET_ERRNO | int(sys.argv[1])),
    instruction(RETURN, 0, 0, SECCOMP_RET_ALLOW),
])


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
