"""Packets without a transport: raw sockets and packet sockets."""

import socket
import struct

from .common import ADDRESSES, IP_HEADER, PAYLOAD, say, scenario, wait

ICMP_HEADER = 8


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


@scenario
def icmp(kind, count):
    """Echo requests through a raw socket; the other side's kernel answers."""
    family, address = ADDRESSES[kind]
    protocol = socket.IPPROTO_ICMP if kind == "v4" else socket.IPPROTO_ICMPV6
    s = socket.socket(family, socket.SOCK_RAW, protocol)
    s.settimeout(10)
    for sequence in range(int(count)):
        request = 8 if kind == "v4" else 128
        header = struct.pack("!BBHHH", request, 0, 0, 77, sequence)
        if kind == "v4":
            header = struct.pack("!BBHHH", request, 0, checksum(header + PAYLOAD), 77, sequence)
        s.sendto(header + PAYLOAD, (address, 0))
        while True:
            # IPv4 gives the IP header too.
            answer = s.recv(2000)[IP_HEADER["v4"] if kind == "v4" else 0 :]
            if answer[0] == (0 if kind == "v4" else 129) and answer[6:8] == header[6:8]:
                break
    n = int(count) * (IP_HEADER[kind] + ICMP_HEADER + len(PAYLOAD))
    say("client", n, n)
    wait()


@scenario
def frames(count):
    """Whole frames, past the network stack."""
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    s.bind(("v0", 0))
    # The laboratory's hardware addresses, and an EtherType for experiments.
    header = b"\x02\x00\x00\xc7\x00\x02\x02\x00\x00\xc7\x00\x01\x88\xb5"
    for _ in range(int(count)):
        s.send(header + PAYLOAD)
    say("sender", 0, int(count) * len(PAYLOAD))
    wait()
