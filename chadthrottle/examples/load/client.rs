//! Connections of a process that may be limited, and their socket options as that process sees them.
//!
//! Commands on standard input, one a line, each answered by a line of JSON:
//!
//! ```text
//! connect        makes a connection to `feed` and gives its options at once
//! paced RATE     the same, of a connection that its program has set SO_MAX_PACING_RATE of
//! options        gives the options of all connections, in order
//! upload SECONDS
//! download SECONDS
//!                carries bulk over the first connection and gives the bytes a second
//! pace RATE      sets SO_MAX_PACING_RATE of the first connection
//! hide           sends all connections to itself in a message that it does not take yet, and closes them
//! show           takes it
//! fetch          carries bulk over the first connection from now on, beside all else
//! push           the same the other way
//! close          closes all connections
//! ```

use std::{
    io::{self, Read, Write, stdin},
    net::{SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use serde_json::{Value, json};

use crate::{process, sys};

/// What is written at a time: a write that blocks ends when all of it has room.
const BLOCK: usize = 16_384;
const PATIENCE: Duration = Duration::from_secs(30);

struct Client {
    server: SocketAddr,
    connections: Vec<TcpStream>,
    mailbox: (UnixStream, UnixStream),
}

pub fn run(server: SocketAddr) -> anyhow::Result<()> {
    let mut client = Client {
        server,
        connections: Vec::new(),
        mailbox: UnixStream::pair()?,
    };
    for line in stdin().lines() {
        let line = line?;
        let (command, argument) = line.split_once(' ').unwrap_or((&line, ""));
        println!("{}", client.obey(command, argument).context(line.clone())?);
    }
    Ok(())
}

impl Client {
    fn obey(&mut self, command: &str, argument: &str) -> anyhow::Result<Value> {
        match command {
            "connect" => self.connect(None),
            "paced" => self.connect(Some(argument.parse()?)),
            "options" => self.connections.iter().map(options).collect(),
            "upload" => self.carry(argument.parse()?, b"u", |stream, block| stream.write(block)),
            "download" => self.carry(argument.parse()?, b"d", |stream, block| stream.read(block)),
            "pace" => Ok(pace(self.first()?, argument.parse()?).map(|()| true.into())?),
            "hide" => {
                process::give(&self.mailbox.0, &self.connections)?;
                self.connections.clear();
                Ok(true.into())
            }
            "show" => {
                let sockets = process::receive(&self.mailbox.1)?;
                self.connections.extend(sockets.map(TcpStream::from));
                Ok(true.into())
            }
            "close" => {
                self.connections.clear();
                Ok(true.into())
            }
            "fetch" => self.go_on(b"d", Read::read_exact),
            "push" => self.go_on(b"u", |stream, block| stream.write_all(block)),
            _ => bail!("not understood"),
        }
    }

    fn first(&self) -> anyhow::Result<&TcpStream> {
        self.connections.first().context("no connection")
    }

    fn connect(&mut self, rate: Option<u64>) -> anyhow::Result<Value> {
        let socket = sys::socket_to(self.server, libc::SOCK_STREAM, 0)?;
        if let Some(rate) = rate {
            pace(&socket, rate)?;
        }
        sys::connect(&socket, self.server)?;
        let stream = TcpStream::from(socket);
        let found = options(&stream)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        self.connections.push(stream);
        Ok(found)
    }

    fn carry(
        &self,
        seconds: f64,
        word: &[u8],
        some: impl Fn(&mut &TcpStream, &mut [u8]) -> io::Result<usize>,
    ) -> anyhow::Result<Value> {
        let mut stream = self.first()?;
        stream.write_all(word)?;
        let started = Instant::now();
        let mut total = 0;
        while started.elapsed().as_secs_f64() < seconds {
            total += some(&mut stream, &mut [0; BLOCK])?;
        }
        Ok((total as f64 / started.elapsed().as_secs_f64()).into())
    }

    /// Until the connection ends.
    fn go_on(
        &self,
        word: &[u8],
        some: impl Fn(&mut TcpStream, &mut [u8]) -> io::Result<()> + Send + 'static,
    ) -> anyhow::Result<Value> {
        let mut stream = self.first()?.try_clone()?;
        stream.write_all(word)?;
        std::thread::spawn(move || while some(&mut stream, &mut [0; BLOCK]).is_ok() {});
        Ok(Value::Null)
    }
}

fn pace(socket: &impl std::os::fd::AsFd, rate: u64) -> io::Result<()> {
    let option = libc::SO_MAX_PACING_RATE;
    sys::set_bytes(socket, libc::SOL_SOCKET, option, &rate.to_ne_bytes())
}

fn options(stream: &TcpStream) -> anyhow::Result<Value> {
    let pacing = sys::get(stream, libc::SOL_SOCKET, libc::SO_MAX_PACING_RATE)?;
    let window = sys::get(stream, libc::IPPROTO_TCP, libc::TCP_WINDOW_CLAMP)?;
    let info: [u8; 84] = sys::get(stream, libc::IPPROTO_TCP, libc::TCP_INFO)?;
    // `struct tcp_info`: eight bytes, then 32-bit numbers.
    let segments = |number: usize| {
        let at = 8 + 4 * number;
        let bytes = info.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        bytes.map(u32::from_ne_bytes)
    };
    Ok(json!({
        "pacing": u64::from_ne_bytes(pacing),
        "window": u32::from_ne_bytes(window),
        "threshold": segments(17),
        "flight": segments(18),
    }))
}

/// Starts a connection to nobody, and prints how long its first timer is, in microseconds.
pub fn first_timer(to: SocketAddr) -> anyhow::Result<()> {
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK;
    let socket = sys::socket_to(to, kind, 0)?;
    sys::connect(&socket, to)?;
    let info: [u8; 12] = sys::get(&socket, libc::IPPROTO_TCP, libc::TCP_INFO)?;
    let [.., a, b, c, d] = info;
    println!("{}", u32::from_ne_bytes([a, b, c, d]));
    Ok(())
}
