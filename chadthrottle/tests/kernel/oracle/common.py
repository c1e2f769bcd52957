"""What all scenarios share: the laboratory's addresses, what is said, and children."""

import contextlib
import json
import os
import signal
import socket
import sys
import time

CLIENT_V4, SERVER_V4, SERVER_V6 = "198.18.0.1", "198.18.0.2", "fd00:c7::2"
ADDRESSES = {
    "v4": (socket.AF_INET, SERVER_V4),
    "v6": (socket.AF_INET6, SERVER_V6),
    "mapped": (socket.AF_INET6, "::ffff:" + SERVER_V4),
}
IP_HEADER = {"v4": 20, "v6": 40, "mapped": 20}
PAYLOAD = b"x" * 1000


def scenario(function):
    """One that the command line may name. Its arguments are words."""
    function.is_scenario = True
    return function


def say(who, down=0, up=0):
    line = json.dumps({"who": who, "pid": os.getpid(), "down": down, "up": up})
    # One write, since processes share the pipe.
    os.write(1, line.encode() + b"\n")


def wait():
    """Waits until the test says go on."""
    sys.stdin.readline()


def stay():
    """Lives on, to be looked at, until the parent ends it. Not for ever: the parent may be killed."""
    time.sleep(60)


def become(name, *arguments):
    """Goes on as another scenario, by exec(2), with descriptors that were made inheritable."""
    program = [sys.executable, "-B", "-m", __package__, name, *arguments]
    os.execv(sys.executable, program)


def in_child(action):
    """Has a child do something and end. Gives its id."""
    pid = os.fork()
    if pid == 0:
        try:
            action()
        except BaseException:
            # Nobody would see it beyond here.
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(0)
    return pid


@contextlib.contextmanager
def children(*actions):
    """Children that each do one of these, and are ended with the block."""
    pids = [in_child(action) for action in actions]
    try:
        yield pids
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
