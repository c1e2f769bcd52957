//! The far side of every technique: nothing limits it. What a connection is for, its first byte
//! says.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{Builder, sleep},
    time::{Duration, Instant},
};

use anyhow::Context;

use crate::sys;

pub const TCP: u16 = 7000;
/// The same on an MPTCP socket.
pub const MPTCP: u16 = 7001;
/// Where datagrams may go: nobody reads them.
pub const DISCARD: u16 = 7002;

/// Read all that comes.
pub const SINK: u8 = b'u';
/// Send without end.
pub const FEED: u8 = b'd';
/// Send without end, each byte by itself.
pub const DRIP: u8 = b'b';
/// Answer each [`BIG`] with a byte, first of which is this one.
pub const TAKE: u8 = b'r';
/// Answer each byte, first of which is this one, with a [`BIG`].
pub const GIVE: u8 = b'R';
/// A line with a number follows, and so many bytes: answer with a byte when they are there.
pub const COUNT: u8 = b'U';
/// A line of text follows: see [`Back`]. It holds for as long as the connection.
const BACK: u8 = b'c';

/// What a request, or its answer, is long: one packet.
pub const BIG: usize = 1_200;

/// Bytes a second that a datagram sender has in mind.
const FLOOD: f64 = 10e6;

/// What the far side is to do towards the limited process, of its own accord.
#[derive(Clone, Copy)]
pub enum Back {
    /// Connect to this port and send, or read, without end.
    Send {
        port: u16,
        mptcp: bool,
    },
    Read {
        port: u16,
        mptcp: bool,
    },
    /// A connection for each packet, which its SYN carries.
    FastOpen {
        port: u16,
    },
    /// Datagrams of that size to this port; 0 for sizes of all kinds.
    Datagrams {
        port: u16,
        size: usize,
        ecn: bool,
    },
    /// Echo replies.
    Icmp,
}

impl Back {
    fn line(self) -> String {
        match self {
            Self::Send { port, mptcp } => format!("send {port} {} 0", u8::from(mptcp)),
            Self::Read { port, mptcp } => format!("read {port} {} 0", u8::from(mptcp)),
            Self::FastOpen { port } => format!("open {port} 0 0"),
            Self::Datagrams { port, size, ecn } => format!("udp {port} {size} {}", u8::from(ecn)),
            Self::Icmp => "icmp 0 0 0".to_owned(),
        }
    }

    /// Asks the far side for it; it ends with the connection that this gives.
    pub fn ask(self, peer: IpAddr) -> anyhow::Result<TcpStream> {
        let mut control = TcpStream::connect((peer, TCP)).context("the far side")?;
        control.write_all(&[BACK])?;
        writeln!(control, "{}", self.line())?;
        Ok(control)
    }
}

pub fn run() -> anyhow::Result<()> {
    let everywhere = |port| SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    let _discard = UdpSocket::bind(everywhere(DISCARD))?;
    // A kernel may be built without it.
    if let Ok(listener) = sys::socket(libc::AF_INET6, libc::SOCK_STREAM, sys::MPTCP) {
        sys::listen(&listener, everywhere(MPTCP))?;
        std::thread::spawn(move || serve(&TcpListener::from(listener)));
    }
    let listener = sys::socket(libc::AF_INET6, libc::SOCK_STREAM, 0)?;
    sys::set(&listener, libc::IPPROTO_TCP, sys::FAST_OPEN, 4096)?;
    sys::listen(&listener, everywhere(TCP))?;
    crate::ready();
    serve(&TcpListener::from(listener));
    Ok(())
}

fn serve(listener: &TcpListener) {
    for stream in listener.incoming() {
        let Ok(stream) = stream else { continue };
        // Two thousand of them at a time.
        let thread = Builder::new().stack_size(128 << 10);
        let _ = thread.spawn(|| answer(stream));
    }
}

/// Until the other side has had enough.
fn answer(mut stream: TcpStream) {
    let mut word = [0];
    let mut block = [0; 16_384];
    let _ = stream.set_nodelay(true);
    if stream.read_exact(&mut word).is_err() {
        return;
    }
    match word[0] {
        SINK => while stream.read(&mut block).is_ok_and(|bytes| bytes > 0) {},
        FEED => while stream.write_all(&block).is_ok() {},
        DRIP => while stream.write_all(b"x").is_ok() {},
        TAKE => {
            let mut missing = BIG - 1;
            while stream.read_exact(&mut block[..missing]).is_ok() && stream.write_all(b"x").is_ok()
            {
                missing = BIG;
            }
        }
        GIVE => {
            while stream.write_all(&block[..BIG]).is_ok() && stream.read_exact(&mut word).is_ok() {}
        }
        COUNT => {
            // Who has ended is not answered.
            let _ = take(stream);
        }
        _ => {
            if let Err(error) = back(stream) {
                eprintln!("the far side: {error:#}");
            }
        }
    }
}

fn take(stream: TcpStream) -> anyhow::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let bytes = line.trim().parse()?;
    let came = io::copy(&mut reader.by_ref().take(bytes), &mut io::sink())?;
    anyhow::ensure!(came == bytes, "{came} of {bytes} bytes came");
    Ok(reader.get_mut().write_all(b"k")?)
}

fn back(control: TcpStream) -> anyhow::Result<()> {
    let other = control.peer_addr()?.ip().to_canonical();
    let mut control = BufReader::new(control);
    let mut line = String::new();
    control.read_line(&mut line)?;
    let over = Arc::new(AtomicBool::new(false));
    let ended = Arc::clone(&over);
    std::thread::spawn(move || {
        let _ = control.read(&mut [0]);
        ended.store(true, Relaxed);
    });
    let mut words = line.split_whitespace();
    let kind = words.next().context("an empty line")?;
    let numbers = words
        .map(str::parse)
        .collect::<Result<Vec<usize>, _>>()
        .context(line.clone())?;
    let &[port, first, second] = numbers.as_slice() else {
        anyhow::bail!("not understood: {line}");
    };
    let to = SocketAddr::new(other, port as u16);
    let going_on = || !over.load(Relaxed);
    match kind {
        "send" | "read" => {
            let protocol = if first == 1 { sys::MPTCP } else { 0 };
            let socket = sys::socket_to(to, libc::SOCK_STREAM, protocol)?;
            sys::connect(&socket, to)?;
            let mut stream = TcpStream::from(socket);
            stream.set_read_timeout(Some(Duration::from_millis(500)))?;
            stream.set_write_timeout(Some(Duration::from_millis(500)))?;
            let mut block = [0; 16_384];
            while going_on() {
                let _ = match kind {
                    "send" => stream.write(&block),
                    _ => stream.read(&mut block),
                };
            }
        }
        "open" => {
            while going_on() {
                let _ = open_fast(to);
            }
        }
        "udp" => {
            let socket = UdpSocket::bind((unspecified(other), 0))?;
            if second == 1 {
                mark_ecn(&socket, other)?;
            }
            let sizes = if first == 0 { &ALL_SIZES[..] } else { &[first] };
            flood(sizes, going_on, |packet| {
                socket.send_to(packet, to).map(drop)
            });
        }
        _ => {
            let socket = icmp(to)?;
            flood(&ALL_SIZES, going_on, |packet| echo(&socket, packet, to));
        }
    }
    Ok(())
}

/// Payloads of datagrams.
pub const ALL_SIZES: [usize; 8] = [8, 32, 64, 100, 200, 500, 1_000, 1_400];

/// Sends packets of these sizes in turn, at [`FLOOD`].
fn flood(sizes: &[usize], going_on: impl Fn() -> bool, send: impl Fn(&mut [u8]) -> io::Result<()>) {
    let mut buffer = vec![0; 16_384];
    let began = Instant::now();
    let mut sent = 0;
    for size in sizes.iter().cycle() {
        if !going_on() {
            return;
        }
        let _ = send(&mut buffer[..*size]);
        sent += size + 28;
        let due = Duration::from_secs_f64(sent as f64 / FLOOD);
        if due > began.elapsed() + Duration::from_millis(5) {
            sleep(Duration::from_millis(5));
        }
    }
}

/// A connection whose SYN has a packet's payload, and which is closed at once.
pub fn open_fast(to: SocketAddr) -> io::Result<()> {
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK;
    let socket = sys::socket_to(to, kind, 0)?;
    sys::send_to(&socket, &[SINK; BIG], to, libc::MSG_FASTOPEN).map(drop)
}

/// A raw socket for ICMP.
pub fn icmp(to: SocketAddr) -> io::Result<OwnedFd> {
    let protocol = if to.is_ipv4() {
        libc::IPPROTO_ICMP
    } else {
        libc::IPPROTO_ICMPV6
    };
    sys::socket_to(to, libc::SOCK_RAW, protocol)
}

/// Sends an echo reply, which nobody answers.
pub fn echo(socket: &OwnedFd, packet: &mut [u8], to: SocketAddr) -> io::Result<()> {
    packet[..2].copy_from_slice(&[if to.is_ipv4() { 0 } else { 129 }, 0]);
    // Of a body of zeros the checksum follows; IPv6 has the kernel write it.
    packet[2..4].copy_from_slice(&[0xff, 0xff]);
    sys::send_to(socket, packet, SocketAddr::new(to.ip(), 0), 0).map(drop)
}

/// ECT(0) on all that is sent.
pub fn mark_ecn(socket: &UdpSocket, to: IpAddr) -> io::Result<()> {
    match to {
        IpAddr::V4(_) => sys::set(socket, libc::IPPROTO_IP, libc::IP_TOS, 2),
        IpAddr::V6(_) => sys::set(socket, libc::IPPROTO_IPV6, libc::IPV6_TCLASS, 2),
    }
}

/// The family's address that stands for all.
pub fn unspecified(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => IpAddr::from([0; 4]),
        IpAddr::V6(_) => IpAddr::from([0; 16]),
    }
}
