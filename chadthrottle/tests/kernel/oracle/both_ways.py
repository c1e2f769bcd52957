"""One connection that carries data both ways at once."""

import socket
import struct
import threading
import time

from .common import SERVER_V4, say, scenario, stay, wait

PORT = 5300


@scenario
def pour():
    """Sends to whoever connects as much as goes, and reads what it says."""

    def send(s):
        try:
            while True:
                s.sendall(b"z" * 16_384)
        except OSError:
            pass

    def read(s):
        try:
            while s.recv(65_536):
                pass
        except OSError:
            pass

    listening = socket.create_server((SERVER_V4, PORT))
    say("ready")
    while True:
        s, _ = listening.accept()
        for work in (send, read):
            threading.Thread(target=work, args=(s,), daemon=True).start()


ANSWER = 20_000


@scenario
def answer():
    """Sends a little to whoever connects, and then nothing. Says when it has noticed that they have gone."""

    def serve(s):
        s.sendall(b"z" * ANSWER)
        try:
            while s.recv(65_536):
                pass
        except OSError:
            pass
        say("ended")

    listening = socket.create_server((SERVER_V4, PORT), backlog=64)
    say("ready")
    while True:
        s, _ = listening.accept()
        threading.Thread(target=serve, args=(s,), daemon=True).start()


@scenario
def aborts(connections):
    """Reads what comes on each connection, asks for more, and goes without waiting for that."""
    say("here")
    wait()

    def once():
        s = socket.create_connection((SERVER_V4, PORT))
        left = ANSWER
        while left:
            left -= len(s.recv(left))
        for _ in range(2):
            s.sendall(b"y" * 200)
            time.sleep(0.01)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.close()

    threads = [threading.Thread(target=once) for _ in range(int(connections))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    say("gone")
    stay()


@scenario
def chatters(connections, receive_buffer, seconds):
    """Reads on each connection, which begins to send a little at some moment. Says how long each has waited at most for
    something to come, in milliseconds, since two seconds after the start."""
    say("here")
    wait()
    begun = time.monotonic()
    last = [begun + 2.0] * int(connections)
    longest = [0.0] * int(connections)

    def read(at, s):
        while s.recv(65_536):
            now = time.monotonic()
            longest[at] = max(longest[at], now - last[at])
            last[at] = max(last[at], now)

    def send(at, s):
        # Not all at once, and some while they are closed.
        time.sleep(at * 3.7 % 5)
        while True:
            s.sendall(b"y" * 200)
            time.sleep(0.1)

    for at in range(int(connections)):
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, int(receive_buffer))
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        s.connect((SERVER_V4, PORT))
        for work in (read, send):
            threading.Thread(target=work, args=(at, s), daemon=True).start()
    time.sleep(float(seconds))
    now = time.monotonic()
    for at in range(int(connections)):
        say("waited", int(1000 * max(longest[at], now - last[at])))
    stay()


@scenario
def chatter(quiet, pause):
    """Reads, and after some seconds sends a little again and again. Says each second what has come in it."""
    say("here")
    wait()
    s = socket.create_connection((SERVER_V4, PORT))

    def send():
        time.sleep(float(quiet))
        while True:
            s.sendall(b"y" * 200)
            time.sleep(float(pause))

    threading.Thread(target=send, daemon=True).start()
    s.settimeout(0.1)
    came = 0
    end = time.monotonic() + 1
    while True:
        try:
            came += len(s.recv(65_536))
        except TimeoutError:
            pass
        if time.monotonic() >= end:
            say("second", came)
            came, end = 0, end + 1
