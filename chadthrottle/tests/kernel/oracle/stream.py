"""Connections, and what they have carried.

A line asks for each transfer: "D n" asks the other side for n bytes, "U n" announces n bytes, "S 0" asks how
many IP bytes it has sent, "I n" tells it how many we have.
"""

import socket
import struct

from .common import ADDRESSES, IP_HEADER

TCP_PORT = 7000
# With timestamps.
TCP_HEADER, SYN_OPTIONS = 32, 8
CHUNK = b"y" * 65536


def connect(kind="v4", port=TCP_PORT, protocol=0):
    family, address = ADDRESSES[kind]
    s = socket.socket(family, socket.SOCK_STREAM, protocol)
    s.settimeout(60)
    s.connect((address, port))
    return s


def listener(port, reuse_port=False, protocol=0):
    s = socket.socket(socket.AF_INET6, socket.SOCK_STREAM, protocol)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if reuse_port:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    s.bind(("::", port))
    s.listen(1024)
    return s


def download(s, n):
    s.sendall(b"D %d\n" % n)
    receive(s, n)


def upload(s, n):
    s.sendall(b"U %d\n" % n)
    send(s, n)
    receive(s, 1)


def send(s, n):
    while n > 0:
        n -= s.send(CHUNK[: min(n, len(CHUNK))])


def receive(s, n):
    while n > 0:
        data = s.recv(min(n, len(CHUNK)))
        if not data:
            raise EOFError(f"{n} bytes are missing")
        n -= len(data)


def serve_connection(s):
    """Does as asked until the other side has had enough. Gives what that says it has sent."""
    told = 0
    while True:
        line = b""
        while not line.endswith(b"\n"):
            byte = s.recv(1)
            if not byte:
                return told
            line += byte
        order, n = line.split()
        if order == b"D":
            send(s, int(n))
        elif order == b"S":
            s.sendall(struct.pack("<Q", tcp_sent(s)))
        elif order == b"I":
            told = int(n)
        else:
            receive(s, int(n))
            s.sendall(b"k")


def tcp_sent(s):
    """IP bytes that this end of a connection has sent, by its kernel's own count."""
    info = s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    (segments,) = struct.unpack_from("<I", info, 136)
    (payload,) = struct.unpack_from("<Q", info, 200)
    v6 = s.family == socket.AF_INET6 and not s.getpeername()[0].startswith("::ffff:")
    return payload + segments * (IP_HEADER["v6" if v6 else "v4"] + TCP_HEADER) + SYN_OPTIONS


def tcp_bytes(s):
    """IP bytes of a connection, down and up, of which the other side tells the first."""
    s.sendall(b"S 0\n")
    (down,) = struct.unpack("<Q", s.recv(8, socket.MSG_WAITALL))
    return down, tcp_sent(s)
