"""Connections of a process that may be limited, and their socket options as that process sees them.

    client.py ADDRESS PORT

Commands on standard input, one a line, each answered by a line of JSON:
    connect        makes a connection and gives its options at once
    paced RATE     the same, of a connection that its program has set SO_MAX_PACING_RATE of
    options        gives the options of all connections, in order
    upload SECONDS
    download SECONDS
                   carries bulk over the first connection and gives the bytes a second
    bbr            has BBR control the first connection
    gain           gives how much more than its estimate BBR sends on it, in 256ths
    pace RATE      sets SO_MAX_PACING_RATE of the first connection
    hide           sends all connections to itself in a message that it does not take yet, and closes them
    show           takes it
    fetch          carries bulk over the first connection from now on, beside all else
    push           the same the other way
"""

import json
import socket
import struct
import sys
import threading
import time

SO_MAX_PACING_RATE, TCP_WINDOW_CLAMP, TCP_CC_INFO = 47, 10, 26
CHUNK = b"x" * 65536
connections = []
mailbox = socket.socketpair()


def options(s):
    pacing = s.getsockopt(socket.SOL_SOCKET, SO_MAX_PACING_RATE, 8)
    # struct tcp_info: eight bytes, then 32-bit numbers.
    info = struct.unpack("8x19I", s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 84))
    return {
        "pacing": struct.unpack("Q", pacing)[0],
        "window": s.getsockopt(socket.IPPROTO_TCP, TCP_WINDOW_CLAMP),
        "threshold": info[17],
        "flight": info[18],
    }


def connect(pacing=None):
    s = socket.socket()
    s.settimeout(30)
    if pacing:
        s.setsockopt(socket.SOL_SOCKET, SO_MAX_PACING_RATE, struct.pack("Q", pacing))
    s.connect((sys.argv[1], int(sys.argv[2])))
    found = options(s)
    connections.append(s)
    return found


def upload(seconds):
    s, total, start = connections[0], 0, time.monotonic()
    s.sendall(b"u")
    while time.monotonic() < start + seconds:
        total += s.send(CHUNK)
    return total / (time.monotonic() - start)


def download(seconds):
    s, total, start = connections[0], 0, time.monotonic()
    s.sendall(b"d")
    while time.monotonic() < start + seconds:
        total += len(s.recv(len(CHUNK)))
    return total / (time.monotonic() - start)


def bbr():
    connections[0].setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"bbr")
    return True


def gain():
    s = connections[0]
    name = s.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16)
    assert name.rstrip(b"\0") == b"bbr", name
    # struct tcp_bbr_info
    return struct.unpack("5I", s.getsockopt(socket.IPPROTO_TCP, TCP_CC_INFO, 20))[3]


def pace(rate):
    connections[0].setsockopt(socket.SOL_SOCKET, SO_MAX_PACING_RATE, struct.pack("Q", rate))
    return True


def hide():
    socket.send_fds(mailbox[0], [b"x"], [s.fileno() for s in connections])
    for s in connections:
        s.close()
    return True


def show():
    _, fds, _, _ = socket.recv_fds(mailbox[1], 1, len(connections))
    connections[:] = [socket.socket(fileno=fd) for fd in fds]
    return True


def fetch():
    s = connections[0]
    s.sendall(b"d")

    def receive():
        while s.recv(len(CHUNK)):
            pass

    threading.Thread(target=receive, daemon=True).start()


def push():
    s = connections[0]

    def send():
        while True:
            s.sendall(CHUNK)

    threading.Thread(target=send, daemon=True).start()


def main():
    for line in sys.stdin:
        command, *arguments = line.split()
        number = float(arguments[0]) if arguments else 0
        answer = {
            "connect": connect,
            "paced": lambda: connect(int(number)),
            "options": lambda: [options(s) for s in connections],
            "bbr": bbr,
            "gain": gain,
            "pace": lambda: pace(int(number)),
            "hide": hide,
            "show": show,
            "fetch": fetch,
            "push": push,
            "upload": lambda: upload(number),
            "download": lambda: download(number),
        }[command]()
        print(json.dumps(answer), flush=True)


main()
