"""A transfer over loopback, and how much of it arrived: traffic.py SECONDS, as a program of its own name.

It prints the bytes of each tenth of a second, in one line.
"""

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
start = time.monotonic()
tenths = [0] * (int(seconds * 10) + 1)
while (passed := time.monotonic() - start) < seconds:
    try:
        tenths[int(passed * 10)] += len(client.recv(65536))
    except TimeoutError:
        pass
print(*tenths)
