"""Datagrams: of each kind of socket, to everybody, and in aggregates."""

import socket
import time

from .common import ADDRESSES, PAYLOAD, say, scenario, wait
from .datagram import UDP_PORT, connected, exchange, udp_bytes

GROUP_PORT, GSO_PORT = 7002, 7003
SOL_UDP, UDP_SEGMENT, UDP_GRO = 17, 103, 104
# An aggregate, in segments of a thousand bytes.
SEGMENTS = 40
AGGREGATE = b"y" * (SEGMENTS * 1000)


@scenario
def udp(kind, how, count):
    if how == "connected":
        exchange(connected(kind), int(count))
    else:
        family, address = ADDRESSES[kind]
        s = socket.socket(family, socket.SOCK_DGRAM)
        s.settimeout(10)
        for _ in range(int(count)):
            s.sendto(PAYLOAD, (address, UDP_PORT))
            s.recv(2000)
    n = udp_bytes(kind, int(count))
    say("client", n, n)
    wait()


@scenario
def flood(count, interface, address):
    """Datagrams to everybody: a multicast group or the broadcast address."""
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(interface))
    for _ in range(int(count)):
        s.sendto(PAYLOAD, (address, GROUP_PORT))
        # Slow enough that no listener loses any.
        time.sleep(0.0005)
    say("sender", 0, udp_bytes("v4", int(count)))
    wait()


@scenario
def listen_to(count, interface, address):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("", GROUP_PORT))
    if not address.endswith(".255"):
        group = socket.inet_aton(address) + socket.inet_aton(interface)
        s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
    s.settimeout(30)
    say("ready")
    for _ in range(int(count)):
        s.recv(2000)
    say("listener", udp_bytes("v4", int(count)), 0)
    wait()


@scenario
def gso_send(kind, sends):
    family, address = ADDRESSES[kind]
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.setsockopt(SOL_UDP, UDP_SEGMENT, 1000)
    s.connect((address, GSO_PORT))
    for _ in range(int(sends)):
        s.send(AGGREGATE)
        # Slow enough that the receiver loses none.
        time.sleep(0.002)
    say("sender", 0, udp_bytes(kind, int(sends) * SEGMENTS))
    wait()


@scenario
def gso_receive(kind, sends, gro):
    s = socket.socket(ADDRESSES[kind][0], socket.SOCK_DGRAM)
    if gro == "gro":
        s.setsockopt(SOL_UDP, UDP_GRO, 1)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    s.bind(("", GSO_PORT))
    s.settimeout(30)
    say("ready")
    left, largest = int(sends) * len(AGGREGATE), 0
    while left > 0:
        n = len(s.recv(65536))
        largest = max(largest, n)
        left -= n
    # Only then has the test tested what it means to.
    assert (largest > 1000) == (gro == "gro"), f"datagrams of up to {largest} bytes"
    say("receiver", udp_bytes(kind, int(sends) * SEGMENTS), 0)
    wait()
