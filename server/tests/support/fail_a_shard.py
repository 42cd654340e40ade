"""Runs a server on epoll and takes its driver's epoll descriptor away, as no client can: fail_a_shard.py FANWIRE ARGUMENTS…

Its output is the server's; once the ready line is there and a line has come on stdin, the thread of shard 0 is stopped at its system call
(ptrace), made to put another file in its epoll descriptor's place, and let go. Ends with the server's exit code; with 77 where a process may not trace its own child.
"""

import ctypes
import os
import platform
import socket
import subprocess
import sys
import time

PTRACE_CONT, PTRACE_GETREGS, PTRACE_SETREGS, PTRACE_SINGLESTEP, PTRACE_ATTACH, PTRACE_DETACH = 7, 12, 13, 9, 16, 17
WALL = 0x40000000
DUP2 = 33
# epoll_wait, epoll_pwait, epoll_pwait2.
EPOLL_WAITS = ("232", "281", "441")
NAMES = "r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss fs_base gs_base ds es fs gs"
MAY_NOT = 77

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes, libc.ptrace.restype = [ctypes.c_long] * 4, ctypes.c_long


class Registers(ctypes.Structure):
    _fields_ = [(name, ctypes.c_ulonglong) for name in NAMES.split()]


def ptrace(*arguments):
    if libc.ptrace(*arguments) < 0:
        print(f"ptrace: {os.strerror(ctypes.get_errno())}", file=sys.stderr)
        server.kill()
        sys.exit(MAY_NOT)


def replace_in(thread, descriptor, by):
    """Makes a thread that waits in a system call make another one, and go on as if nothing had been."""
    ptrace(PTRACE_ATTACH, thread, 0, 0)
    os.waitpid(thread, WALL)
    before = Registers()
    ptrace(PTRACE_GETREGS, thread, 0, ctypes.addressof(before))
    call = Registers.from_buffer_copy(before)
    # Back to the instruction that made the call it waits in; no call is to be restarted.
    call.rax, call.rdi, call.rsi, call.orig_rax, call.rip = DUP2, by, descriptor, 2**64 - 1, before.rip - 2
    ptrace(PTRACE_SETREGS, thread, 0, ctypes.addressof(call))
    ptrace(PTRACE_SINGLESTEP, thread, 0, 0)
    os.waitpid(thread, WALL)
    ptrace(PTRACE_SETREGS, thread, 0, ctypes.addressof(before))
    ptrace(PTRACE_DETACH, thread, 0, 0)


if platform.machine() != "x86_64":
    sys.exit(MAY_NOT)
server = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE, text=True)
ready = server.stdout.readline()
print(ready, end="", flush=True)
port = int(ready.rpartition(":")[2])
proc = f"/proc/{server.pid}"
shard = next(int(t) for t in os.listdir(f"{proc}/task") if open(f"{proc}/task/{t}/comm").read().strip() == "fw-shard-0")
# Once a client says so: whoever started this connects first.
sys.stdin.readline()
# What the shard waits for: other threads have epoll descriptors, too.
try:
    while (waits := open(f"{proc}/task/{shard}/syscall").read().split())[0] not in EPOLL_WAITS:
        time.sleep(0.001)
except PermissionError as error:
    print(error, file=sys.stderr)
    server.kill()
    sys.exit(MAY_NOT)
epoll = int(waits[1], 16)
replace_in(shard, epoll, 0)
# The shard looks at its descriptor again when it wakes.
try:
    socket.create_connection(("127.0.0.1", port), 1).close()
except OSError:
    pass
sys.exit(server.wait())
