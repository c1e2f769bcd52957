"""One connection that carries data both ways at once."""

import socket
import threading
import time

from .common import SERVER_V4, say, scenario, wait

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
