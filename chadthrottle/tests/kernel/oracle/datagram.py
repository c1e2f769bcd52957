"""Datagrams, whose bytes are arithmetic."""

import socket

from .common import ADDRESSES, IP_HEADER, PAYLOAD

UDP_PORT = 7001
UDP_HEADER = 8


def udp_bytes(kind, count, payload=len(PAYLOAD)):
    """IP bytes of that many datagrams."""
    return count * (IP_HEADER[kind] + UDP_HEADER + payload)


def connected(kind="v4", timeout=10):
    """A socket that is connected to the other side's echo."""
    family, address = ADDRESSES[kind]
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.settimeout(timeout)
    s.connect((address, UDP_PORT))
    return s


def exchange(s, count):
    """Datagrams that are echoed, one after the other, through a socket that is connected."""
    for _ in range(count):
        s.send(PAYLOAD)
        s.recv(2000)
