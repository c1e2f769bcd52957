"""Traffic of every kind, made by processes that say what they have sent and received.

    traffic.py SCENARIO [ARGUMENT...]

Each process prints a line of JSON for what it has carried: {"who", "pid", "down", "up"}, in IP bytes
with headers. For TCP each end's kernel tells what it has sent, retransmissions included, in
TCP_INFO; for datagrams it is arithmetic.
"""

import array
import ctypes
import json
import os
import socket
import struct
import sys
import threading
import time

TCP_PORT, UDP_PORT, MPTCP_PORT = 7000, 7001, 7010
SERVER_V4, SERVER_V6 = "198.18.0.2", "fd00:c7::2"
ADDRESSES = {
    "v4": (socket.AF_INET, SERVER_V4),
    "v6": (socket.AF_INET6, SERVER_V6),
    "mapped": (socket.AF_INET6, "::ffff:" + SERVER_V4),
    "mptcp": (socket.AF_INET, SERVER_V4),
}
IPPROTO_MPTCP = 262
# IP header, and TCP header with timestamps.
IP_HEADER = {"v4": 20, "v6": 40, "mapped": 20}
TCP_HEADER, SYN_OPTIONS, UDP_HEADER = 32, 8, 8
PAYLOAD = b"x" * 1000
CHUNK = b"y" * 65536


def say(who, down, up):
    line = json.dumps({"who": who, "pid": os.getpid(), "down": down, "up": up})
    # One write, since processes share the pipe.
    os.write(1, line.encode() + b"\n")


def wait():
    """Waits until the test says go on."""
    sys.stdin.readline()


# TCP: "D n" asks the other side for n bytes, "U n" announces n bytes, "S 0" asks how many IP bytes
# it has sent, "I n" tells it how many we have.


def connect(kind="v4", port=TCP_PORT):
    family, address = ADDRESSES[kind]
    s = socket.socket(family, socket.SOCK_STREAM, IPPROTO_MPTCP if kind == "mptcp" else 0)
    s.settimeout(60)
    s.connect((address, port))
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


def listener(port, reuse_port=False, protocol=0):
    s = socket.socket(socket.AF_INET6, socket.SOCK_STREAM, protocol)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if reuse_port:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    s.bind(("::", port))
    s.listen(1024)
    return s


def serve():
    """The other side: TCP as above, and an echo of datagrams."""
    tcp = listener(TCP_PORT)
    udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    udp.bind(("::", UDP_PORT))

    def echo():
        while True:
            data, peer = udp.recvfrom(65536)
            udp.sendto(data, peer)

    def handle(s):
        with s:
            try:
                serve_connection(s)
            except OSError:
                pass  # the other side has gone

    threading.Thread(target=echo, daemon=True).start()
    say("ready", 0, 0)
    while True:
        s, _ = tcp.accept()
        threading.Thread(target=handle, args=(s,), daemon=True).start()


# 1. Every kind of socket.


def tcp(kind, n):
    n = int(n)
    s = connect(kind)
    download(s, n)
    upload(s, n)
    say("client", *tcp_bytes(s))
    wait()


def udp(kind, connected, count):
    family, address = ADDRESSES[kind]
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.settimeout(10)
    if connected == "connected":
        s.connect((address, UDP_PORT))
    for _ in range(int(count)):
        if connected == "connected":
            s.send(PAYLOAD)
        else:
            s.sendto(PAYLOAD, (address, UDP_PORT))
        s.recv(2000)
    n = int(count) * (IP_HEADER[kind] + UDP_HEADER + len(PAYLOAD))
    say("client", n, n)
    wait()


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


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
            answer = s.recv(2000)[20 if kind == "v4" else 0 :]
            if answer[0] == (0 if kind == "v4" else 129) and answer[6:8] == header[6:8]:
                break
    n = int(count) * (IP_HEADER[kind] + 8 + len(PAYLOAD))
    say("client", n, n)
    wait()


def flood(count, interface, address):
    """Datagrams to everybody: a multicast group or the broadcast address."""
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(interface))
    for _ in range(int(count)):
        s.sendto(PAYLOAD, (address, 7002))
        time.sleep(0.0005)
    say("sender", 0, int(count) * (20 + UDP_HEADER + len(PAYLOAD)))
    wait()


def listen_to(count, interface, address):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("", 7002))
    if not address.endswith(".255"):
        group = socket.inet_aton(address) + socket.inet_aton(interface)
        s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
    s.settimeout(30)
    say("ready", 0, 0)
    for _ in range(int(count)):
        s.recv(2000)
    say("listener", int(count) * (20 + UDP_HEADER + len(PAYLOAD)), 0)
    wait()


UDP_SEGMENT, UDP_GRO = 103, 104


def gso_send(kind, sends):
    family, address = ADDRESSES[kind]
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_UDP if hasattr(socket, "SOL_UDP") else 17, UDP_SEGMENT, 1000)
    s.connect((address, 7003))
    for _ in range(int(sends)):
        s.send(CHUNK[:40000])
        time.sleep(0.002)
    say("sender", 0, int(sends) * 40 * (IP_HEADER[kind] + UDP_HEADER + 1000))
    wait()


def gso_receive(kind, sends, gro):
    s = socket.socket(ADDRESSES[kind][0], socket.SOCK_DGRAM)
    if gro == "gro":
        s.setsockopt(17, UDP_GRO, 1)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    s.bind(("", 7003))
    s.settimeout(30)
    say("ready", 0, 0)
    left, largest = int(sends) * 40000, 0
    while left > 0:
        n = len(s.recv(65536))
        largest = max(largest, n)
        left -= n
    # Only then has the test tested what it means to.
    assert (largest > 1000) == (gro == "gro"), f"datagrams of up to {largest} bytes"
    say("receiver", int(sends) * 40 * (IP_HEADER[kind] + UDP_HEADER + 1000), 0)
    wait()


# 2. Open before.


def open_before(n):
    """Says what was carried after the word, not before."""
    s = connect()
    download(s, 100_000)
    u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    u.settimeout(10)
    u.connect((SERVER_V4, UDP_PORT))
    u.send(PAYLOAD)
    u.recv(2000)
    say("open", 0, 0)
    wait()
    down, up = tcp_bytes(s)
    download(s, int(n))
    upload(s, int(n))
    for _ in range(1000):
        u.send(PAYLOAD)
        u.recv(2000)
    after_down, after_up = tcp_bytes(s)
    udp_bytes = 1000 * 1028
    say("client", after_down - down + udp_bytes, after_up - up + udp_bytes)
    wait()


# 3. Sockets that change hands. The far side connects to these, with `connect_to`.


def connect_to(port, connections, n, delay="0"):
    """Connections one after the other, each of which asks for n bytes and gives n bytes."""
    for _ in range(int(connections)):
        s = socket.create_connection(("198.18.0.1", int(port)), timeout=60)
        time.sleep(float(delay))
        download(s, int(n))
        upload(s, int(n))
        s.sendall(b"I %d\n" % tcp_sent(s))
        s.close()
    say("far", 0, 0)


def report_connection(who, s):
    down = serve_connection(s)
    say(who, down, tcp_sent(s))


def in_child(action):
    pid = os.fork()
    if pid == 0:
        try:
            action()
        finally:
            os._exit(0)
    return pid


def acceptor(port):
    with listener(int(port)) as listening:
        say("ready", 0, 0)
        s, _ = listening.accept()
        report_connection("worker", s)
        wait()


def fork_after_accept(port):
    """As sshd: the parent accepts, a child serves."""
    with listener(int(port)) as listening:
        say("ready", 0, 0)
        s, _ = listening.accept()
        child = in_child(lambda: (listening.close(), report_connection("worker", s), time.sleep(60)))
        s.close()
        say("parent", 0, 0)
        wait()
        os.kill(child, 9)
        os.waitpid(child, 0)


def prefork(port, workers, connections, reuse_port):
    """As nginx: workers accept, of one listener or each of its own."""
    own = reuse_port == "own"
    listening = None if own else listener(int(port))
    arrived = os.pipe()

    def work():
        mine = listener(int(port), True) if own else listening
        os.write(arrived[1], b"r")
        down = up = 0
        while True:
            s, _ = mine.accept()
            down += serve_connection(s)
            up += tcp_sent(s)
            s.close()
            say("worker", down, up)

    children = [in_child(work) for _ in range(int(workers))]
    for _ in children:
        os.read(arrived[0], 1)
    say("ready", 0, 0)
    wait()
    for child in children:
        os.kill(child, 9)
        os.waitpid(child, 0)


def pass_over(port):
    """The parent accepts and hands the connection over with SCM_RIGHTS."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)

    def work():
        ours.close()
        _, control, _, _ = theirs.recvmsg(1, socket.CMSG_SPACE(4))
        fd = array.array("i", control[0][2][:4])[0]
        report_connection("worker", socket.socket(fileno=fd))
        time.sleep(60)

    child = in_child(work)
    theirs.close()
    with listener(int(port)) as listening:
        say("ready", 0, 0)
        s, _ = listening.accept()
        rights = array.array("i", [s.fileno()]).tobytes()
        ours.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        s.close()
        say("parent", 0, 0)
        wait()
    os.kill(child, 9)
    os.waitpid(child, 0)


def activate(port):
    """As systemd: holds a listener and a UDP socket open, and starts a service that gets both."""
    tcp = listener(int(port))
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("198.18.0.1", int(port)))
    child = os.fork()
    if child == 0:
        tcp.set_inheritable(True)
        udp.set_inheritable(True)
        numbers = [str(tcp.fileno()), str(udp.fileno())]
        os.execv(sys.executable, [sys.executable, __file__, "service", *numbers])
    say("parent", 0, 0)
    wait()
    os.kill(child, 9)
    os.waitpid(child, 0)


def service(tcp, udp):
    listening, udp = socket.socket(fileno=int(tcp)), socket.socket(fileno=int(udp))
    say("ready", 0, 0)
    s, _ = listening.accept()
    down = serve_connection(s)
    for _ in range(1000):
        data, peer = udp.recvfrom(2000)
        udp.sendto(data, peer)
    say("worker", down + 1000 * 1028, tcp_sent(s) + 1000 * 1028)
    time.sleep(60)


def connect_to_both(port, n):
    """A connection, and then a thousand datagrams."""
    connect_to(port, 1, n)
    u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    u.settimeout(10)
    u.connect(("198.18.0.1", int(port)))
    for _ in range(1000):
        u.send(PAYLOAD)
        u.recv(2000)


# 4. Who is who.


def threads(count, n):
    sums = []

    def work():
        s = connect()
        download(s, int(n))
        upload(s, int(n))
        sums.append(tcp_bytes(s))

    workers = [threading.Thread(target=work) for _ in range(int(count))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    say("client", sum(down for down, _ in sums), sum(up for _, up in sums))
    wait()


def exec_and_setuid(n):
    """Half by one program, half by another and another user."""
    s = connect()
    download(s, int(n))
    s.set_inheritable(True)
    os.execv(sys.executable, [sys.executable, __file__, "go_on_with", str(s.fileno()), n])


def go_on_with(fd, n):
    s = socket.socket(fileno=int(fd))
    s.setblocking(True)
    os.setuid(65534)
    download(s, int(n))
    say("client", *tcp_bytes(s))
    wait()


def same_pid_twice(n):
    """Two processes, one after the other, with one id."""

    def fetch(size):
        s = connect()
        download(s, size)
        say("client", *tcp_bytes(s))

    first = in_child(lambda: fetch(int(n)))
    os.waitpid(first, 0)
    time.sleep(2)
    for _ in range(200):
        with open("/proc/sys/kernel/ns_last_pid", "w") as last:
            last.write(str(first - 1))
        second = os.fork()
        if second == 0:
            if os.getpid() == first:
                fetch(int(n) // 10)
                wait()
            os._exit(0)
        if second == first:
            os.waitpid(second, 0)
            return
        os.waitpid(second, 0)
    sys.exit("somebody else takes that process id every time")


# 6. Short lives.


def short_lives(count, n):
    def live():
        s = connect()
        download(s, int(n))
        say("client", *tcp_bytes(s))

    alive = 0
    for _ in range(int(count)):
        in_child(live)
        alive += 1
        if alive >= 20:
            os.wait()
            alive -= 1
    while alive:
        os.wait()
        alive -= 1
    say("parent", 0, 0)
    wait()


# 7. Loopback.


def loopback(n):
    listening = socket.create_server(("127.0.0.1", 0))
    s = socket.create_connection(listening.getsockname())
    other, _ = listening.accept()
    thread = threading.Thread(target=send, args=(s, int(n)))
    thread.start()
    receive(other, int(n))
    thread.join()
    both = tcp_sent(s) + tcp_sent(other)
    say("client", both, both)
    wait()


# All at once.


def mixed(connections, seconds):
    """Each process many connections of each kind, down and up, for a while."""
    end = time.monotonic() + float(seconds)
    per_process = 25

    def give_up(failed):
        # What this thread has carried is missing from what the process would say.
        sys.__excepthook__(failed.exc_type, failed.exc_value, failed.exc_traceback)
        os._exit(1)

    threading.excepthook = give_up

    def work(kind):
        sums = [0, 0]
        lock = threading.Lock()

        def add(down, up):
            with lock:
                sums[0] += down
                sums[1] += up

        def by_tcp(order):
            s = connect(kind)
            while time.monotonic() < end:
                order(s, 100_000)
                time.sleep(0.05)
            add(*tcp_bytes(s))

        def by_udp():
            family, address = ADDRESSES[kind]
            s = socket.socket(family, socket.SOCK_DGRAM)
            s.settimeout(1)
            s.connect((address, UDP_PORT))
            datagram = IP_HEADER[kind] + UDP_HEADER + len(PAYLOAD)
            sent = received = 0
            while time.monotonic() < end:
                s.send(PAYLOAD)
                sent += datagram
                try:
                    s.recv(2000)
                    received += datagram
                except TimeoutError:
                    # A full ring of the wire's, on a busy machine. Only what arrives is received.
                    pass
                time.sleep(0.01)
            add(received, sent)

        actions = [lambda: by_tcp(download), lambda: by_tcp(upload), by_udp]
        workers = [threading.Thread(target=actions[i % 3]) for i in range(per_process)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        say("client", *sums)
        time.sleep(60)

    kinds = list(ADDRESSES)
    children = [
        in_child(lambda kind=kinds[i % 3]: work(kind)) for i in range(int(connections) // per_process)
    ]
    wait()
    for child in children:
        os.kill(child, 9)
        os.waitpid(child, 0)


# Limits: senders that go on for a while, whatever becomes of it.


def send_for(seconds, kind):
    """About 4 MB/s of payload through a socket of that kind, to the far side's port 7005."""
    if kind == "raw":
        s = socket.socket(socket.AF_INET, socket.SOCK_RAW, 253)  # for experiments (RFC 3692)
        to, payload = (SERVER_V4, 0), PAYLOAD
    elif kind == "multicast":
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("198.18.0.1"))
        to, payload = ("239.1.2.3", 7005), PAYLOAD
    else:
        family, address = ADDRESSES[kind.removeprefix("gso-")]
        s = socket.socket(family, socket.SOCK_DGRAM)
        to, payload = (address, 7005), PAYLOAD
        if kind.startswith("gso-"):
            s.setsockopt(17, UDP_SEGMENT, 1000)
            payload = CHUNK[:20000]
    wait()
    begin, sent = time.monotonic(), 0
    while (now := time.monotonic() - begin) < float(seconds):
        if sent < now * 4e6:
            sent += s.sendto(payload, to)
        else:
            time.sleep(0.001)
    say("sender", 0, sent)
    wait()


def sink(kind):
    """Receives what `send_for` sends."""
    if kind == "raw":
        s = socket.socket(socket.AF_INET, socket.SOCK_RAW, 253)
    else:
        s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        s.bind(("::", 7005))
        if kind == "multicast":
            v4 = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            s.close()
            s = v4
            s.bind(("", 7005))
            group = socket.inet_aton("239.1.2.3") + socket.inet_aton(SERVER_V4)
            s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    say("ready", 0, 0)
    while True:
        s.recv(65536)


def fork_and_send(n):
    """A child that is forked and sends at once."""
    wait()
    child = in_child(lambda: upload(connect(), int(n)))
    os.waitpid(child, 0)
    say("done", 0, 0)


# MPTCP: sockets whose packets are those of sockets that the kernel makes beside.


def serve_mptcp():
    """As `serve`, on another port, for connections with MPTCP and without."""
    with listener(MPTCP_PORT, protocol=IPPROTO_MPTCP) as listening:
        say("ready", 0, 0)
        while True:
            s, _ = listening.accept()
            threading.Thread(target=serve_connection, args=(s,), daemon=True).start()


def mptcp_client(n):
    """Says when it has downloaded n bytes, and when it has uploaded as many."""
    s = connect("mptcp", MPTCP_PORT)
    say("connected", 0, 0)
    while True:
        wait()
        download(s, int(n))
        say("downloaded", int(n), 0)
        wait()
        upload(s, int(n))
        say("uploaded", int(n), int(n))
        # Where there are none the connection has fallen back to TCP.
        (subflows,) = struct.unpack_from("<B", s.getsockopt(284, 1, 128))
        say("subflows", subflows, 0)


def mptcp_server():
    """Serves one connection after the other, the first of which it lets wait until it is told."""
    with listener(MPTCP_PORT, protocol=IPPROTO_MPTCP) as listening:
        say("ready", 0, 0)
        s, _ = listening.accept()
        say("accepted", 0, 0)
        wait()
        while True:
            serve_connection(s)
            s.close()
            s, _ = listening.accept()


def connect_to_mptcp(kind, n):
    """A connection from the other side, that gives n bytes and then asks for n bytes."""
    protocol = IPPROTO_MPTCP if kind == "mptcp" else 0
    s = socket.socket(socket.AF_INET, socket.SOCK_STREAM, protocol)
    s.settimeout(60)
    s.connect(("198.18.0.1", MPTCP_PORT))
    s.sendall(b"U %d\n" % int(n))
    send(s, int(n))
    receive(s, 1)
    say("uploaded", 0, 0)
    download(s, int(n))
    say("downloaded", 0, 0)
    wait()


# Children without a slot, sockets without an owner, calls that take long.


def fork_and_wait(count):
    """Many children without a socket."""
    wait()
    children = [in_child(lambda: time.sleep(60)) for _ in range(int(count))]
    say("forked", 0, 0)
    wait()
    for child in children:
        os.kill(child, 9)
        os.waitpid(child, 0)


def orphan_and_send(n):
    """A grandchild sends whose parent, who never had a socket, has ended."""
    wait()
    done = os.pipe()

    def work():
        os.setsid()
        if os.fork() == 0:
            while os.getppid() == parent:
                time.sleep(0.01)
            upload(connect(), int(n))
            os.write(done[1], b"x")

    def child():
        nonlocal parent
        parent = os.getpid()
        work()

    parent = 0
    os.waitpid(in_child(child), 0)
    os.read(done[0], 1)
    say("done", 0, 0)


def sockets_by_user(user, count):
    """Processes of a user, each with a socket, that wait."""
    wait()

    def work():
        os.setuid(int(user))
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        os.write(made[1], b"x")
        time.sleep(60)
        s.close()

    made = os.pipe()
    children = [in_child(work) for _ in range(int(count))]
    for _ in children:
        os.read(made[0], 1)
    say("made", 0, 0)
    wait()
    for child in children:
        os.kill(child, 9)
        os.waitpid(child, 0)


def send_by_ended(n):
    """One long call through a socket that a child made for both, and then ended."""
    wait()
    clone_files = 0x400
    child = ctypes.CDLL(None, use_errno=True).syscall(56, clone_files | 17, 0, 0, 0, 0)
    if child == 0:
        s = socket.socket()
        s.connect((SERVER_V4, TCP_PORT))
        os.dup2(s.fileno(), 100)
        s.send(b"U %d\n" % int(n))
        os._exit(0)
    os.waitpid(child, 0)
    say("ended", 0, 0)
    wait()
    s = socket.socket(fileno=100)
    s.setblocking(True)
    # SO_MAX_PACING_RATE: the pace that its limit has set must not be what holds it.
    s.setsockopt(socket.SOL_SOCKET, 47, struct.pack("Q", 2**64 - 1))
    data = b"z" * int(n)
    begin = time.monotonic()
    s.sendall(data)
    receive(s, 1)
    say("took", int((time.monotonic() - begin) * 1000), 0)


def late_worker(port):
    """A listener's child accepts connections when all that they brought is there, and reads it."""

    def work():
        while True:
            time.sleep(0.3)
            s, _ = listening.accept()
            receive(s, 50_000)
            say("worker", 50_000, 0)
            s.close()

    with listener(int(port)) as listening:
        child = in_child(work)
        say("ready", 0, 0)
        wait()
        os.kill(child, 9)
        os.waitpid(child, 0)


def bring(port, times):
    for _ in range(int(times)):
        s = socket.create_connection(("198.18.0.1", int(port)), timeout=60)
        s.sendall(b"x" * 50_000)
        while s.recv(1):
            pass
    say("far", 0, 0)


def long_send(n):
    """A child sends in one call through a connection that its parent has made."""
    s = connect()
    s.sendall(b"U %d\n" % int(n))

    def work():
        s.setblocking(True)
        s.sendall(b"z" * int(n))
        receive(s, 1)
        say("child", 0, int(n))
        time.sleep(60)

    child = in_child(work)
    wait()
    os.kill(child, 9)
    os.waitpid(child, 0)


def splice(n):
    """A child that does nothing but splice from a connection that its parent has made."""
    s = connect()
    s.sendall(b"D %d\n" % int(n))

    def work():
        ends = os.pipe()
        nowhere = os.open("/dev/null", os.O_WRONLY)
        s.setblocking(True)
        left = int(n)
        while left:
            moved = os.splice(s.fileno(), ends[1], left)
            left -= moved
            while moved:
                moved -= os.splice(ends[0], nowhere, moved)
        say("child", int(n), 0)
        time.sleep(60)

    child = in_child(work)
    wait()
    os.kill(child, 9)
    os.waitpid(child, 0)


def frames(count):
    """Whole frames, past the network stack."""
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    s.bind(("v0", 0))
    header = b"\x02\x00\x00\xc7\x00\x02\x02\x00\x00\xc7\x00\x01\x88\xb5"
    for _ in range(int(count)):
        s.send(header + PAYLOAD)
    say("sender", 0, int(count) * len(PAYLOAD))
    wait()


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
