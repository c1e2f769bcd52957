"""A process that hangs in the kernel with its address space locked, as one on a dead NFS does; or, with "socket" as the
second argument, with a connection of its own locked, which it sends such memory through.

It lives on a file system (FUSE) whose server, this program, never answers a read. One thread reads
its own memory where such a file is mapped, which holds the lock for reading; a second one asks for
more memory, and waits for the lock. Who reads /proc/PID/cmdline then waits behind it.

Says "ready" and the process's id. A line on its standard input has it answer, and the process goes on. All of it goes
when this program ends.
"""

import ctypes, os, struct, subprocess, sys, threading, time

INIT, LOOKUP, FORGET, GETATTR, OPEN, READ, INTERRUPT = 26, 1, 2, 3, 14, 15, 36
ENOSYS = 38

VICTIM = """
import mmap, os, ctypes, sys, threading, time
file = os.open(sys.argv[1] + '/file', os.O_RDONLY)
area = mmap.mmap(file, 4096, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE)
address = ctypes.addressof(ctypes.c_char.from_buffer(area))
memory = os.open('/proc/self/mem', os.O_RDONLY)
threading.Thread(target=os.pread, args=(memory, 1, address), daemon=True).start()
time.sleep(0.3)
mmap.mmap(-1, 1 << 24)
"""


SENDER = """
import mmap, os, socket, sys, threading, time
listener = socket.create_server(('127.0.0.1', 0))
client = socket.create_connection(listener.getsockname())
file = os.open(sys.argv[1] + '/file', os.O_RDONLY)
area = mmap.mmap(file, 4096, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE)
threading.Thread(target=client.send, args=(memoryview(area),), daemon=True).start()
while True:
    # A thread that asks would have the others wait too, for the interpreter's lock.
    asking = os.fork()
    if asking == 0:
        client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 100)
        os._exit(0)
    time.sleep(0.5)
    if os.waitpid(asking, os.WNOHANG) == (0, 0):
        break
print("hangs", flush=True)
time.sleep(1e6)
"""


def attributes(node):
    mode, size = (0o40755, 0) if node == 1 else (0o100644, 4096)
    return struct.pack("<6Q10I", node, size, 8, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)


unanswered = []
answers = threading.Event()


def answer_reads(fuse):
    answers.set()
    for unique in unanswered:
        os.write(fuse, struct.pack("<IiQ", 16 + 4096, 0, unique) + bytes(4096))


def serve(fuse):
    while True:
        try:
            request = os.read(fuse, 1 << 20)
        except OSError:
            return
        _, opcode, unique, node = struct.unpack_from("<IIQQ", request)
        if opcode == READ and not answers.is_set():
            unanswered.append(unique)
        if opcode in (FORGET, INTERRUPT) or opcode == READ and not answers.is_set():
            continue
        error, answer = 0, b""
        if opcode == INIT:
            answer = struct.pack("<4I2H2I2H8I", 7, 31, 0, 0, 0, 0, 4096, 1, 1, 0, *[0] * 8)
        elif opcode == LOOKUP:
            answer = struct.pack("<4Q2I", 2, 0, 60, 60, 0, 0) + attributes(2)
        elif opcode == GETATTR:
            answer = struct.pack("<QII", 60, 0, 0) + attributes(node)
        elif opcode == READ:
            answer = bytes(4096)
        elif opcode == OPEN:
            answer = struct.pack("<QII", 1, 0, 0)
        else:
            error = -ENOSYS
        os.write(fuse, struct.pack("<IiQ", 16 + len(answer), error, unique) + answer)


def hangs(pid):
    reader = subprocess.Popen(["cat", f"/proc/{pid}/cmdline"], stdout=subprocess.DEVNULL)
    try:
        reader.wait(0.5)
        return False
    except subprocess.TimeoutExpired:
        reader.kill()
        return True


directory = sys.argv[1]
CLONE_NEWNS, MS_REC_PRIVATE, PR_SET_PDEATHSIG = 0x20000, 0x44000, 1
fuse = os.open("/dev/fuse", os.O_RDWR)
libc = ctypes.CDLL(None, use_errno=True)
# Where only we and our child see it, and it goes with us.
libc.unshare(CLONE_NEWNS)
libc.mount(b"none", b"/", None, MS_REC_PRIVATE, None)
options = f"fd={fuse},rootmode=40000,user_id=0,group_id=0".encode()
if libc.mount(b"hung", directory.encode(), b"fuse", 0, options):
    sys.exit(os.strerror(ctypes.get_errno()))
try:
    threading.Thread(target=serve, args=(fuse,), daemon=True).start()
    sends = sys.argv[2:] == ["socket"]
    victim = subprocess.Popen(
        [sys.executable, "-c", SENDER if sends else VICTIM, directory],
        stdout=subprocess.PIPE,
        preexec_fn=lambda: libc.prctl(PR_SET_PDEATHSIG, 9, 0, 0, 0),
    )
    deadline = time.monotonic() + 10
    while not (victim.stdout.readline() if sends else hangs(victim.pid)):
        assert time.monotonic() < deadline, "it does not hang"
    print(f"ready\n{victim.pid}", flush=True)
    if sys.stdin.readline():
        answer_reads(fuse)
        sys.stdin.read()
finally:
    # The child goes with us, and so does the file system; a thread that waits for it would not.
    sys.stderr.flush()
    os._exit(0)
