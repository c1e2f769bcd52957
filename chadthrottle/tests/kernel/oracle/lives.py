"""Who is who: threads, exec, users, ids that are used again, and lives of milliseconds."""

import os
import socket
import signal
import sys
import threading
import time

from .common import become, children, in_child, say, scenario, wait
from .stream import CHUNK, connect, download, tcp_bytes, upload


@scenario
def threads(count, n):
    sums = []

    def work():
        s = connect()
        download(s, int(n))
        upload(s, int(n))
        sums.append(tcp_bytes(s))

    workers = [threading.Thread(target=work) for _ in range(int(count))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    say("client", sum(down for down, _ in sums), sum(up for _, up in sums))
    wait()


@scenario
def exec_and_setuid(n):
    """Half by one program, half by another and another user."""
    s = connect()
    download(s, int(n))
    s.set_inheritable(True)
    become("go_on_with", str(s.fileno()), n)


@scenario
def go_on_with(fd, n):
    s = socket.socket(fileno=int(fd))
    s.setblocking(True)
    os.setuid(65534)
    download(s, int(n))
    say("client", *tcp_bytes(s))
    wait()


def fetch(n):
    s = connect()
    download(s, n)
    say("client", *tcp_bytes(s))


@scenario
def same_pid_twice(n):
    """Two processes, one after the other, with one id. The second begins when it is told to."""
    first = in_child(lambda: fetch(int(n)))
    os.waitpid(first, 0)
    wait()

    def second():
        if os.getpid() == first:
            fetch(int(n) // 10)
            wait()

    for _ in range(200):
        with open("/proc/sys/kernel/ns_last_pid", "w") as last:
            last.write(str(first - 1))
        pid = in_child(second)
        os.waitpid(pid, 0)
        if pid == first:
            return
    sys.exit("somebody else takes that process id every time")


@scenario
def short_lives(count, n):
    """Processes that fetch n bytes and end, twenty at a time."""
    alive = 0
    for _ in range(int(count)):
        in_child(lambda: fetch(int(n)))
        alive += 1
        if alive >= 20:
            os.wait()
            alive -= 1
    while alive:
        os.wait()
        alive -= 1
    say("parent")
    wait()


@scenario
def storm(forkers):
    """A child that uploads all it can, beside others that fork as fast as they can."""

    def carry():
        s = connect()
        s.sendall(b"U %d\n" % (1 << 50))
        while True:
            s.send(CHUNK)

    def fork():
        # Nobody waits for them.
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        while True:
            if os.fork() == 0:
                time.sleep(0.1)
                os._exit(0)
            time.sleep(0.0005)

    with children(carry, *[fork] * int(forkers)):
        say("ready")
        wait()
