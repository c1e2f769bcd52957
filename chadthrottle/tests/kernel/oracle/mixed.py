"""All kinds at once."""

import os
import sys
import threading
import time

from .common import ADDRESSES, PAYLOAD, children, say, scenario, stay, wait
from .datagram import connected, udp_bytes
from .stream import connect, download, tcp_bytes, upload

PER_PROCESS = 25


class Sums:
    """What the threads of a process have carried."""

    def __init__(self):
        self.down = self.up = 0
        self.lock = threading.Lock()

    def add(self, down, up):
        with self.lock:
            self.down += down
            self.up += up


def by_tcp(kind, order, end, sums):
    s = connect(kind)
    while time.monotonic() < end:
        order(s, 100_000)
        time.sleep(0.05)
    sums.add(*tcp_bytes(s))


def by_udp(kind, end, sums):
    s = connected(kind, timeout=1)
    sent = received = 0
    while time.monotonic() < end:
        s.send(PAYLOAD)
        sent += 1
        try:
            s.recv(2000)
            received += 1
        except TimeoutError:
            # A full ring of the wire's, on a busy machine. Only what arrives is received.
            pass
        time.sleep(0.01)
    sums.add(udp_bytes(kind, received), udp_bytes(kind, sent))


def give_up(failed):
    # What this thread has carried is missing from what the process would say.
    sys.__excepthook__(failed.exc_type, failed.exc_value, failed.exc_traceback)
    os._exit(1)


@scenario
def mixed(connections, seconds):
    """Each process many connections of each kind, down and up, for a while."""
    end = time.monotonic() + float(seconds)
    threading.excepthook = give_up

    def work(kind):
        sums = Sums()
        actions = [
            lambda: by_tcp(kind, download, end, sums),
            lambda: by_tcp(kind, upload, end, sums),
            lambda: by_udp(kind, end, sums),
        ]
        workers = [threading.Thread(target=actions[i % 3]) for i in range(PER_PROCESS)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        say("client", sums.down, sums.up)
        stay()

    kinds = list(ADDRESSES)
    processes = range(int(connections) // PER_PROCESS)
    with children(*[lambda kind=kinds[i % len(kinds)]: work(kind) for i in processes]):
        wait()
