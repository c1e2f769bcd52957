"""Connections of each kind, open before, and to oneself."""

import socket
import threading

from .common import say, scenario, wait
from .datagram import connected, exchange, udp_bytes
from .stream import connect, download, receive, send, tcp_bytes, tcp_sent, upload


@scenario
def tcp(kind, n):
    s = connect(kind)
    download(s, int(n))
    upload(s, int(n))
    say("client", *tcp_bytes(s))
    wait()


@scenario
def open_before(n):
    """Says what was carried after the word, not before."""
    s = connect()
    download(s, 100_000)
    u = connected()
    exchange(u, 1)
    say("open")
    wait()
    down, up = tcp_bytes(s)
    download(s, int(n))
    upload(s, int(n))
    exchange(u, 1000)
    after_down, after_up = tcp_bytes(s)
    datagrams = udp_bytes("v4", 1000)
    say("client", after_down - down + datagrams, after_up - up + datagrams)
    wait()


@scenario
def loopback(n):
    listening = socket.create_server(("127.0.0.1", 0))
    s = socket.create_connection(listening.getsockname())
    other, _ = listening.accept()
    thread = threading.Thread(target=send, args=(s, int(n)))
    thread.start()
    receive(other, int(n))
    thread.join()
    both = tcp_sent(s) + tcp_sent(other)
    say("client", both, both)
    wait()
