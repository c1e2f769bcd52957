"""Forks a chain of processes with two ids in turn, each of which ends at once; the last becomes the program given.

An id is used again within the same tick of /proc, before the kernel has given back who had it. Whoever starts the chain
reaps it, and is gone soon, so that nobody is left whose child the last one could be.
"""

import ctypes
import errno
import os
import signal
import sys
import time

CLONE3 = 435
PR_SET_CHILD_SUBREAPER = 36

libc = ctypes.CDLL(None, use_errno=True)


def fork(pid):
    """Forks a process with that id, as soon as it is free."""
    ids = (ctypes.c_int * 1)(pid)
    # struct clone_args of include/uapi/linux/sched.h
    words = [0, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, ctypes.addressof(ids), 1]
    arguments = (ctypes.c_uint64 * len(words))(*words)
    while True:
        child = libc.syscall(CLONE3, arguments, ctypes.sizeof(arguments))
        if child >= 0:
            return child
        if ctypes.get_errno() != errno.EEXIST:
            sys.exit(f"clone3: {os.strerror(ctypes.get_errno())}")


def free_id():
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return child


both = [free_id(), free_id()]
libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
if fork(both[0]):
    time.sleep(0.1)
    os._exit(0)
for step in range(1, 100):
    if fork(both[step % 2]):
        os._exit(0)
signal.signal(signal.SIGCHLD, signal.SIG_DFL)
# Until the kernel has given all of them back.
time.sleep(0.5)
os.execvp(sys.argv[1], sys.argv[1:])
