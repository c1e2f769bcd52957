"""The other side: it serves the clients of the limited machine, and connects to its servers."""

import socket
import threading
import time

from .common import CLIENT_V4, say, scenario
from .datagram import UDP_PORT, exchange
from .stream import TCP_PORT, download, listener, serve_connection, tcp_sent, upload


@scenario
def serve():
    """Connections, and an echo of datagrams."""
    tcp = listener(TCP_PORT)
    udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    udp.bind(("::", UDP_PORT))

    def echo():
        while True:
            data, peer = udp.recvfrom(65536)
            udp.sendto(data, peer)

    def handle(s):
        with s:
            try:
                serve_connection(s)
            except OSError:
                pass  # the other side has gone

    threading.Thread(target=echo, daemon=True).start()
    say("ready")
    while True:
        s, _ = tcp.accept()
        threading.Thread(target=handle, args=(s,), daemon=True).start()


@scenario
def connect_to(port, connections, n, delay="0"):
    """Connections one after the other, each of which asks for n bytes and gives n bytes, so many seconds
    after it was made."""
    for _ in range(int(connections)):
        s = socket.create_connection((CLIENT_V4, int(port)), timeout=60)
        time.sleep(float(delay))
        download(s, int(n))
        upload(s, int(n))
        s.sendall(b"I %d\n" % tcp_sent(s))
        s.close()
    say("far")


@scenario
def connect_to_both(port, n):
    """A connection, and then a thousand datagrams."""
    connect_to(port, 1, n)
    u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    u.settimeout(10)
    u.connect((CLIENT_V4, int(port)))
    exchange(u, 1000)


@scenario
def bring(port, times):
    """Connections that each bring 50,000 bytes and wait until they were read."""
    for _ in range(int(times)):
        s = socket.create_connection((CLIENT_V4, int(port)), timeout=60)
        s.sendall(b"x" * 50_000)
        while s.recv(1):
            pass
    say("far")
