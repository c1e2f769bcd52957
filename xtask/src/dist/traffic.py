"""A transfer over loopback, and how much of it arrived: traffic.py SECONDS, as a program of its own name.

It ends then, or with SIGTERM, and prints the bytes of each tenth of a second, in one line.
"""

import signal
import socket
import sys
import threading
import time

seconds = float(sys.argv[1])
server = socket.create_server(("127.0.0.1", 0))


def send():
    peer, _ = server.accept()
    try:
        while True:
            peer.sendall(bytes(65536))
    except OSError:
        pass


threading.Thread(target=send, daemon=True).start()
client = socket.create_connection(server.getsockname())
client.settimeout(0.1)
ended = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: ended.set())
start = time.monotonic()
tenths = []
while (passed := time.monotonic() - start) < seconds and not ended.is_set():
    tenths.extend([0] * (int(passed * 10) + 1 - len(tenths)))
    try:
        tenths[-1] += len(client.recv(65536))
    except TimeoutError:
        pass
print(*tenths)
