"""Talks over TCP as it is told on its standard input, a line each, and says what came of it, a line each.

serve                    a server on a port of its own that echoes; says the port
connect NAME HOST PORT   opens a connection; says "connected" with its own port
again NAME HOST PORT     connects the same socket once more
echo NAME                sends a byte, and waits for it
read NAME [SECONDS]      waits for something
part                     a server as above, but one that sends nothing more from the start (its end is half closed)
fork                     starts another that has the same connections, which lines that begin with "child" are for
Of what fails it says the error's name, and of what takes longer than three seconds "waits"; of connections to its
server that end, "over" with the other end's port and how.
"""

import errno, os, socket, sys, threading

connections = {}
child = None


def name_of(error):
    return "waits" if isinstance(error, TimeoutError) and not error.errno else errno.errorcode[error.errno]


def say(*words):
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def serve_one(connection, port):
    try:
        while data := connection.recv(100):
            connection.send(data)
        say("over", port, "closed")
    except OSError as error:
        say("over", port, name_of(error))


def serve(listener, parts=False):
    while True:
        connection, address = listener.accept()
        if parts:
            connection.shutdown(socket.SHUT_WR)
        threading.Thread(target=serve_one, args=(connection, address[1]), daemon=True).start()


def fork():
    global child
    lines, child = os.pipe()
    if os.fork() == 0:
        os.close(child)
        say("child", os.getpid())
        for line in os.fdopen(lines):
            act(line.split())
        os._exit(0)


def act(words):
    try:
        match words:
            case ["serve" | "part" as how]:
                listener = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
                threading.Thread(target=serve, args=(listener, how == "part"), daemon=True).start()
                say(listener.getsockname()[1])
            case ["connect", name, host, port]:
                family = socket.AF_INET6 if ":" in host else socket.AF_INET
                connection = socket.socket(family)
                connection.settimeout(3)
                connection.connect((host, int(port)))
                connections[name] = connection
                say("connected", connection.getsockname()[1])
            case ["again", name, host, port]:
                connections[name].settimeout(3)
                try:
                    connections[name].connect((host, int(port)))
                except ConnectionAbortedError:
                    # The kernel says first that it was reset.
                    connections[name].connect((host, int(port)))
                say("connected", connections[name].getsockname()[1])
            case ["echo", name]:
                connections[name].send(b"x")
                say(connections[name].recv(1).decode())
            case ["read", name, *seconds]:
                connections[name].settimeout(float(*seconds or [3]))
                say(connections[name].recv(1).decode())
            case ["fork"]:
                fork()
            case ["child", *words]:
                os.write(child, (" ".join(words) + "\n").encode())
    except OSError as error:
        say(name_of(error))


for line in sys.stdin:
    act(line.split())
