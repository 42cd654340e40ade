"""Runs a command in which the three system calls of io_uring give an error: refuse_io_uring.py ERRNO COMMAND…

What a container's seccomp profile (EPERM) or an old kernel (ENOSYS) does.
"""

import sys

sys.dont_write_bytecode = True
from seccomp import AT_LEAST, LOAD, RET_ALLOW, RET_ERRNO, RETURN, become, instruction  # noqa: E402

become(sys.argv[2:], [
    instruction(LOAD, 0, 0, 0),
    instruction(AT_LEAST, 0, 2, 425),  # io_uring_setup
    instruction(AT_LEAST, 1, 0, 428),  # one past io_uring_register
    instruction(RETURN, 0, 0, RET_ERRNO | int(sys.argv[1])),
    instruction(RETURN, 0, 0, RET_ALLOW),
])
