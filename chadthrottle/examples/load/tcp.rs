//! Connections: few and many, large and small, plain and MPTCP.

use std::{
    fs,
    io::{self, Read, Seek, Write, pipe},
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::OwnedFd,
    thread::sleep,
    time::Duration,
};

use anyhow::Context;

use crate::{
    escape::Job,
    meter::{self, Connection},
    peer::{self, BIG, Back},
    sys,
};

/// Where the limited process listens.
const OURS: u16 = 7100;

/// Opened, not waited for.
fn begin(
    to: SocketAddr,
    protocol: i32,
    set: impl Fn(&OwnedFd) -> io::Result<()>,
) -> io::Result<TcpStream> {
    let socket = sys::socket_to(to, libc::SOCK_STREAM | libc::SOCK_NONBLOCK, protocol)?;
    set(&socket)?;
    sys::connect(&socket, to)?;
    Ok(TcpStream::from(socket))
}

/// A connection that carries as much as it can.
struct Pipe {
    stream: TcpStream,
    /// What the far side has to be told first.
    word: Option<u8>,
    received: Connection,
}

impl Pipe {
    /// Whether anything went.
    fn carry(&mut self, up: bool, block: &mut [u8]) -> bool {
        if let Some(word) = self.word {
            if self.stream.write(&[word]).is_err() {
                return false;
            }
            self.word = None;
        }
        if up {
            return self.stream.write(block).is_ok_and(|bytes| bytes > 0);
        }
        let came = self.stream.read(block).is_ok_and(|bytes| bytes > 0);
        if came {
            self.received.count(&self.stream);
        }
        came
    }
}

/// Many connections at once, each with all it can.
pub fn bulk(job: Job, connections: usize, protocol: i32) -> anyhow::Result<()> {
    let port = if protocol == sys::MPTCP {
        peer::MPTCP
    } else {
        peer::TCP
    };
    let word = if job.up { peer::SINK } else { peer::FEED };
    carry(job, connections, port, protocol, word, 65_536, |_| Ok(()))
}

/// Segments of 88 bytes, the fewest that can be asked for.
pub fn small_segments(job: Job, connections: usize) -> anyhow::Result<()> {
    let word = if job.up { peer::SINK } else { peer::FEED };
    carry(job, connections, peer::TCP, 0, word, 65_536, |socket| {
        sys::set(socket, libc::IPPROTO_TCP, libc::TCP_MAXSEG, 88)
    })
}

/// Bytes that are each a write, and a segment where there is room.
pub fn single_bytes(job: Job) -> anyhow::Result<()> {
    let word = if job.up { peer::SINK } else { peer::DRIP };
    carry(job, 4, peer::TCP, 0, word, 1, |socket| {
        sys::set(socket, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1)
    })
}

fn carry(
    job: Job,
    connections: usize,
    port: u16,
    protocol: i32,
    word: u8,
    block: usize,
    set: impl Fn(&OwnedFd) -> io::Result<()>,
) -> anyhow::Result<()> {
    let to = SocketAddr::new(job.peer, port);
    let mut pipes = Vec::new();
    for _ in 0..connections {
        pipes.push(Pipe {
            stream: begin(to, protocol, &set).context("opening a connection")?,
            word: Some(word),
            received: Connection::default(),
        });
    }
    // Reading takes what there is, whatever was written at a time.
    let mut block = vec![0; if job.up { block } else { 65_536 }];
    loop {
        let mut idle = true;
        for pipe in &mut pipes {
            idle &= !pipe.carry(job.up, &mut block);
        }
        if idle {
            sleep(Duration::from_millis(1));
        }
    }
}

/// A request and its answer, the larger of which is a packet that goes the way that is limited.
struct Exchange {
    stream: TcpStream,
    asked: bool,
    missing: usize,
}

enum State {
    Waiting,
    Answered,
    Failed,
}

impl Exchange {
    fn begin(job: Job) -> io::Result<Self> {
        Ok(Self {
            stream: begin(SocketAddr::new(job.peer, peer::TCP), 0, |_| Ok(()))?,
            asked: false,
            missing: if job.up { 1 } else { BIG },
        })
    }

    fn go_on(&mut self, job: Job) -> State {
        let request = if job.up {
            &[peer::TAKE; BIG][..]
        } else {
            &[peer::GIVE]
        };
        if !self.asked {
            match self.stream.write(request) {
                Ok(_) => self.asked = true,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return State::Waiting,
                Err(_) => return State::Failed,
            }
        }
        match self.stream.read(&mut [0; BIG][..self.missing]) {
            Ok(bytes @ 1..) => {
                self.missing -= bytes;
                if !job.up {
                    meter::count(bytes as u64 + 52);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return State::Waiting,
            _ => return State::Failed,
        }
        if self.missing > 0 {
            return State::Waiting;
        }
        self.asked = false;
        self.missing = if job.up { 1 } else { BIG };
        State::Answered
    }
}

/// Exchanges, so many at a time, each over a connection of its own.
pub fn a_connection_each(job: Job, at_once: usize) -> anyhow::Result<()> {
    exchange(job, at_once, true)
}

/// Open connections that each have a packet under way.
pub fn a_packet_each(job: Job, connections: usize) -> anyhow::Result<()> {
    exchange(job, connections, false)
}

fn exchange(job: Job, count: usize, anew: bool) -> anyhow::Result<()> {
    let mut exchanges = (0..count)
        .map(|_| Exchange::begin(job))
        .collect::<io::Result<Vec<_>>>()?;
    loop {
        let mut idle = true;
        for exchange in &mut exchanges {
            let renew = match exchange.go_on(job) {
                State::Waiting => continue,
                State::Answered => anew,
                State::Failed => true,
            };
            idle = false;
            // Ports may be used up for a while.
            if renew && let Ok(next) = Exchange::begin(job) {
                *exchange = next;
            }
        }
        if idle {
            sleep(Duration::from_micros(if count > 1 { 1_000 } else { 50 }));
        }
    }
}

/// A connection whose options are set again and again.
pub fn options_in_a_loop(job: Job) -> anyhow::Result<()> {
    let to = SocketAddr::new(job.peer, peer::TCP);
    let mut stream = begin(to, 0, |_| Ok(()))?;
    stream.set_nonblocking(false)?;
    stream.write_all(&[if job.up { peer::SINK } else { peer::FEED }])?;
    let other = stream.try_clone()?;
    std::thread::spawn(move || {
        for name in ["reno", "cubic"].iter().cycle() {
            let _ = sys::set_bytes(
                &other,
                libc::SOL_SOCKET,
                libc::SO_MAX_PACING_RATE,
                &[0xff; 8],
            );
            let window = libc::TCP_WINDOW_CLAMP;
            let _ = sys::set(&other, libc::IPPROTO_TCP, window, 16 << 20);
            let control = libc::TCP_CONGESTION;
            let _ = sys::set_bytes(&other, libc::IPPROTO_TCP, control, name.as_bytes());
            let _ = sys::set(&other, libc::SOL_SOCKET, libc::SO_RCVBUF, 8 << 20);
            let _ = sys::set(&other, libc::SOL_SOCKET, libc::SO_SNDBUF, 8 << 20);
        }
    });
    let mut block = [0; 65_536];
    let mut received = Connection::default();
    loop {
        if job.up {
            stream.write_all(&block)?;
        } else {
            let _ = stream.read(&mut block)?;
            received.count(&stream);
        }
    }
}

/// Packets without connections: in SYNs.
pub fn fast_open(job: Job) -> anyhow::Result<()> {
    if job.up {
        let to = SocketAddr::new(job.peer, peer::TCP);
        loop {
            // Refused ones wait in vain.
            let _ = peer::open_fast(to);
        }
    }
    let listener = listener(job, 0)?;
    sys::set(&listener, libc::IPPROTO_TCP, sys::FAST_OPEN, 4096)?;
    let _control = Back::FastOpen { port: OURS }.ask(job.peer)?;
    for stream in TcpListener::from(listener).incoming() {
        // Some are gone by now.
        let Ok(mut stream) = stream else { continue };
        stream.set_nonblocking(true)?;
        if let Ok(bytes @ 1..) = stream.read(&mut [0; BIG]) {
            meter::count(bytes as u64 + 52);
        }
    }
    Ok(())
}

fn listener(job: Job, protocol: i32) -> anyhow::Result<OwnedFd> {
    let on = SocketAddr::new(peer::unspecified(job.peer), OURS);
    let listener = sys::socket_to(on, libc::SOCK_STREAM, protocol)?;
    sys::listen(&listener, on)?;
    Ok(listener)
}

/// A server, whose sockets `accept` makes.
pub fn server(job: Job, protocol: i32, mptcp_client: bool) -> anyhow::Result<()> {
    let listener = listener(job, protocol)?;
    let (port, mptcp) = (OURS, mptcp_client);
    let back = if job.up {
        Back::Read { port, mptcp }
    } else {
        Back::Send { port, mptcp }
    };
    let _control = back.ask(job.peer)?;
    let (stream, _) = TcpListener::from(listener).accept()?;
    let mut pipe = Pipe {
        stream,
        word: None,
        received: Connection::default(),
    };
    let mut block = vec![0; 65_536];
    loop {
        pipe.carry(job.up, &mut block);
    }
}

/// Servers that share a port, each a process.
pub fn shared_port(job: Job) -> anyhow::Result<()> {
    for _ in 0..4 {
        if sys::fork()? != 0 {
            continue;
        }
        crate::process::until_the_end(job);
        let on = SocketAddr::new(peer::unspecified(job.peer), OURS);
        let listener = sys::socket_to(on, libc::SOCK_STREAM, 0)?;
        sys::set(&listener, libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
        sys::listen(&listener, on)?;
        for stream in TcpListener::from(listener).incoming() {
            let mut stream = stream?;
            std::thread::spawn(move || while stream.write_all(&[0; 16_384]).is_ok() {});
        }
    }
    // Those that come before the servers are there come to nothing.
    let (port, mptcp) = (OURS, false);
    let mut controls = Vec::new();
    loop {
        if controls.len() < 40 {
            controls.push(Back::Read { port, mptcp }.ask(job.peer)?);
        }
        sleep(Duration::from_millis(50));
    }
}

/// Bytes that never are in the process: from a file, or into a pipe.
pub fn in_the_kernel(job: Job) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect((job.peer, peer::TCP))?;
    if job.up {
        stream.write_all(&[peer::SINK])?;
        let path = std::env::temp_dir().join(format!("load-{}", std::process::id()));
        fs::write(&path, vec![0; 4 << 20])?;
        let mut file = fs::File::open(&path)?;
        fs::remove_file(&path)?;
        loop {
            file.rewind()?;
            // It is sendfile(2).
            io::copy(&mut file, &mut stream)?;
        }
    }
    stream.write_all(&[peer::FEED])?;
    let (mut out, mut into) = pipe()?;
    std::thread::spawn(move || {
        let mut block = vec![0; 65_536];
        while let Ok(bytes @ 1..) = out.read(&mut block) {
            meter::count_stream(bytes as u64);
        }
    });
    // It is splice(2).
    io::copy(&mut stream, &mut into)?;
    Ok(())
}

/// Pages of the process that go to the device as they are.
pub fn zero_copy(job: Job) -> anyhow::Result<()> {
    let to = SocketAddr::new(job.peer, peer::TCP);
    let mut stream = TcpStream::connect(to)?;
    stream.write_all(&[peer::SINK])?;
    sys::set(&stream, libc::SOL_SOCKET, libc::SO_ZEROCOPY, 1)?;
    let block = vec![0; 65_536];
    loop {
        // It says when pages may be used again, and waits until it has been heard.
        if sys::send_to(&stream, &block, to, libc::MSG_ZEROCOPY | libc::MSG_DONTWAIT).is_err() {
            sys::drain_errors(&stream);
            sleep(Duration::from_micros(200));
        }
    }
}

/// Connections that are filled and closed: what they hold goes out when nobody has them any more.
pub fn filled_and_left(job: Job) -> anyhow::Result<()> {
    let block = vec![peer::SINK; 1 << 20];
    loop {
        // Ports may be used up for a while.
        let Ok(mut stream) = TcpStream::connect((job.peer, peer::TCP)) else {
            sleep(Duration::from_millis(10));
            continue;
        };
        stream.set_nonblocking(true)?;
        while stream.write(&block).is_ok_and(|bytes| bytes > 0) {}
    }
}
