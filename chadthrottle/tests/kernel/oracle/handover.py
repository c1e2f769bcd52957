"""Sockets that change hands. The far side connects to these."""

import os
import socket
import time

from .common import CLIENT_V4, become, children, say, scenario, stay, wait
from .datagram import udp_bytes
from .stream import connect, listener, receive, serve_connection, tcp_sent


def report_connection(who, s):
    down = serve_connection(s)
    say(who, down, tcp_sent(s))


@scenario
def acceptor(port):
    with listener(int(port)) as listening:
        say("ready")
        s, _ = listening.accept()
        report_connection("worker", s)
        wait()


@scenario
def fork_after_accept(port):
    """As sshd: the parent accepts, a child serves."""
    with listener(int(port)) as listening:
        say("ready")
        s, _ = listening.accept()

        def work():
            listening.close()
            report_connection("worker", s)
            stay()

        with children(work):
            s.close()
            wait()


@scenario
def prefork(port, workers, reuse_port):
    """As nginx: workers accept, of one listener or each of its own."""
    own = reuse_port == "own"
    listening = None if own else listener(int(port))
    arrived = os.pipe()

    def work():
        mine = listener(int(port), True) if own else listening
        os.write(arrived[1], b"r")
        down = up = 0
        while True:
            s, _ = mine.accept()
            down += serve_connection(s)
            up += tcp_sent(s)
            s.close()
            say("worker", down, up)

    with children(*[work] * int(workers)) as pids:
        for _ in pids:
            os.read(arrived[0], 1)
        say("ready")
        wait()


@scenario
def pass_over(port):
    """The parent accepts and hands the connection over with SCM_RIGHTS."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)

    def work():
        ours.close()
        _, fds, _, _ = socket.recv_fds(theirs, 1, 1)
        report_connection("worker", socket.socket(fileno=fds[0]))
        stay()

    with children(work), listener(int(port)) as listening:
        theirs.close()
        say("ready")
        s, _ = listening.accept()
        socket.send_fds(ours, [b"x"], [s.fileno()])
        s.close()
        wait()


@scenario
def activate(port):
    """As systemd: holds a listener and a UDP socket open, and starts a service that gets both."""
    tcp = listener(int(port))
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind((CLIENT_V4, int(port)))

    def work():
        tcp.set_inheritable(True)
        udp.set_inheritable(True)
        become("service", str(tcp.fileno()), str(udp.fileno()))

    with children(work):
        wait()


@scenario
def service(tcp, udp):
    listening, udp = socket.socket(fileno=int(tcp)), socket.socket(fileno=int(udp))
    say("ready")
    s, _ = listening.accept()
    down = serve_connection(s)
    for _ in range(1000):
        data, peer = udp.recvfrom(2000)
        udp.sendto(data, peer)
    datagrams = udp_bytes("v4", 1000)
    say("worker", down + datagrams, tcp_sent(s) + datagrams)
    stay()


@scenario
def late_worker(port):
    """A listener's child accepts connections when all that they brought is there, and reads it."""

    def work():
        while True:
            # In which it comes, since nobody can see that before it is accepted.
            time.sleep(0.3)
            s, _ = listening.accept()
            receive(s, 50_000)
            say("worker", 50_000, 0)
            s.close()

    with listener(int(port)) as listening, children(work):
        say("ready")
        wait()


@scenario
def long_send(n):
    """A child sends in one call through a connection that its parent has made."""
    s = connect()
    s.sendall(b"U %d\n" % int(n))

    def work():
        s.setblocking(True)
        s.sendall(b"z" * int(n))
        receive(s, 1)
        say("child", 0, int(n))
        stay()

    with children(work):
        wait()


@scenario
def splice(n):
    """A child that does nothing but splice from a connection that its parent has made."""
    s = connect()
    s.sendall(b"D %d\n" % int(n))

    def work():
        ends = os.pipe()
        nowhere = os.open("/dev/null", os.O_WRONLY)
        s.setblocking(True)
        left = int(n)
        while left:
            moved = os.splice(s.fileno(), ends[1], left)
            left -= moved
            while moved:
                moved -= os.splice(ends[0], nowhere, moved)
        say("child", int(n), 0)
        stay()

    with children(work):
        wait()
