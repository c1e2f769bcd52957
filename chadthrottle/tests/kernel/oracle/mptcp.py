"""MPTCP: sockets whose packets are those of sockets that the kernel makes beside."""

import socket
import struct
import threading

from .common import CLIENT_V4, say, scenario, wait
from .stream import connect, download, listener, receive, send, serve_connection, upload

MPTCP_PORT = 7010
IPPROTO_MPTCP = 262
SOL_MPTCP, MPTCP_INFO = 284, 1


@scenario
def serve_mptcp():
    """Serves connections with MPTCP and without."""
    with listener(MPTCP_PORT, protocol=IPPROTO_MPTCP) as listening:
        say("ready")
        while True:
            s, _ = listening.accept()
            threading.Thread(target=serve_connection, args=(s,), daemon=True).start()


@scenario
def mptcp_client(n):
    """Says when it has downloaded n bytes, and when it has uploaded as many."""
    s = connect("v4", MPTCP_PORT, IPPROTO_MPTCP)
    say("connected")
    while True:
        wait()
        download(s, int(n))
        say("downloaded", int(n), 0)
        wait()
        upload(s, int(n))
        say("uploaded", int(n), int(n))
        # Where there are none the connection has fallen back to TCP.
        (subflows,) = struct.unpack_from("<B", s.getsockopt(SOL_MPTCP, MPTCP_INFO, 128))
        say("subflows", subflows, 0)


@scenario
def mptcp_server():
    """Serves one connection after the other, the first of which it lets wait until it is told."""
    with listener(MPTCP_PORT, protocol=IPPROTO_MPTCP) as listening:
        say("ready")
        s, _ = listening.accept()
        say("accepted")
        wait()
        while True:
            serve_connection(s)
            s.close()
            s, _ = listening.accept()


@scenario
def connect_to_mptcp(kind, n):
    """A connection from the other side, that gives n bytes and then asks for n bytes."""
    protocol = IPPROTO_MPTCP if kind == "mptcp" else 0
    s = socket.socket(socket.AF_INET, socket.SOCK_STREAM, protocol)
    s.settimeout(60)
    s.connect((CLIENT_V4, MPTCP_PORT))
    s.sendall(b"U %d\n" % int(n))
    send(s, int(n))
    receive(s, 1)
    say("uploaded")
    download(s, int(n))
    say("downloaded")
    wait()
