//! The parts of a load, each a process of its own in a namespace: they say that they are ready,
//! and end when their input does.

use std::{
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use clap::Subcommand;

use super::{delay, lab::Lab};

#[derive(Clone, Subcommand)]
pub enum Part {
    /// Receives datagrams on many sockets
    Sink { first_port: u16, sockets: u16 },
    /// Sends datagrams to `sink`, on the first of many sockets in turn
    Send {
        address: IpAddr,
        first_port: u16,
        sockets: u16,
        active: u16,
    },
    /// Answers small TCP requests
    Answer { port: u16 },
    /// Makes small TCP requests, and prints how many a second
    Ask {
        address: IpAddr,
        port: u16,
        seconds: f64,
    },
    /// Serves who says 'd' with bytes without end, reads those of who says 'u', and answers the
    /// requests of who says 'r'
    Feed { port: u16 },
    /// Takes all there is from `feed` and makes small requests beside it; prints the median of what
    /// they took, in milliseconds
    Beside {
        address: IpAddr,
        port: u16,
        direction: String,
        seconds: f64,
    },
    /// Joins two namespaces by a line that is so many microseconds long
    Delay {
        one: String,
        two: String,
        microseconds: u64,
    },
    /// Holds sockets open
    Idle { sockets: u16 },
}

const PAYLOAD: [u8; 100] = [b'x'; 100];

/// Set when our input has ended.
static OVER: AtomicBool = AtomicBool::new(false);

pub fn carry(part: &Part) -> anyhow::Result<()> {
    match part {
        Part::Sink {
            first_port,
            sockets,
        } => sink(*first_port, *sockets),
        Part::Send {
            address,
            first_port,
            sockets,
            active,
        } => send(*address, *first_port, *sockets, *active),
        Part::Answer { port } => answer(*port),
        Part::Ask {
            address,
            port,
            seconds,
        } => ask(SocketAddr::new(*address, *port), *seconds),
        Part::Feed { port } => feed(*port),
        Part::Beside {
            address,
            port,
            direction,
            seconds,
        } => beside(
            SocketAddr::new(*address, *port),
            direction == "down",
            *seconds,
        ),
        Part::Delay {
            one,
            two,
            microseconds,
        } => delay::run([one, two], Duration::from_micros(*microseconds), ready),
        Part::Idle { sockets } => idle(*sockets),
    }
}

fn ready() {
    println!("ready");
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        OVER.store(true, Relaxed);
        // Some wait for packets that do not come any more.
        std::thread::sleep(Duration::from_millis(200));
        std::process::exit(0);
    });
}

fn sink(first_port: u16, sockets: u16) -> anyhow::Result<()> {
    let sockets = (first_port..first_port + sockets)
        .map(|port| {
            let socket = UdpSocket::bind(("0.0.0.0", port))?;
            socket.set_nonblocking(true)?;
            Ok::<_, std::io::Error>(socket)
        })
        .collect::<Result<Vec<_>, _>>()
        .context("binding")?;
    ready();
    let mut buffer = [0; 256];
    for socket in sockets.iter().cycle() {
        // Most have nothing at the moment.
        let _ = socket.recv(&mut buffer);
    }
    Ok(())
}

fn send(address: IpAddr, first_port: u16, sockets: u16, active: u16) -> anyhow::Result<()> {
    let sockets = (first_port..first_port + sockets)
        .map(|port| {
            let socket = UdpSocket::bind(("0.0.0.0", 0))?;
            socket.connect((address, port))?;
            Ok::<_, std::io::Error>(socket)
        })
        .collect::<Result<Vec<_>, _>>()
        .context("connecting")?;
    ready();
    for socket in sockets.iter().take(active.into()).cycle() {
        socket.send(&PAYLOAD)?;
    }
    wait()
}

fn answer(port: u16) -> anyhow::Result<()> {
    let listener = TcpListener::bind(("0.0.0.0", port))?;
    ready();
    for stream in listener.incoming() {
        let mut stream = stream?;
        std::thread::spawn(move || {
            let _ = stream.set_nodelay(true);
            let mut request = PAYLOAD;
            while stream.read_exact(&mut request).is_ok() && stream.write_all(&request).is_ok() {}
        });
    }
    Ok(())
}

fn feed(port: u16) -> anyhow::Result<()> {
    let listener = TcpListener::bind(("0.0.0.0", port))?;
    ready();
    for stream in listener.incoming() {
        let mut stream = stream?;
        std::thread::spawn(move || {
            let mut word = [0];
            let _ = stream.set_nodelay(true);
            let _ = stream.read_exact(&mut word);
            let mut block = [0; 65_536];
            let mut request = PAYLOAD;
            // Each until the other side has had enough.
            match word {
                [b'd'] => while stream.write_all(&block).is_ok() {},
                [b'u'] => while stream.read(&mut block).is_ok_and(|bytes| bytes > 0) {},
                _ => {
                    while stream.read_exact(&mut request).is_ok()
                        && stream.write_all(&request).is_ok()
                    {}
                }
            }
        });
    }
    Ok(())
}

fn beside(address: SocketAddr, down: bool, seconds: f64) -> anyhow::Result<()> {
    let mut bulk = TcpStream::connect(address)?;
    bulk.write_all(if down { b"d" } else { b"u" })?;
    std::thread::spawn(move || {
        let mut block = [0; 65_536];
        if down {
            while bulk.read(&mut block).is_ok_and(|bytes| bytes > 0) {}
        } else {
            while bulk.write_all(&block).is_ok() {}
        }
    });
    let mut requests = TcpStream::connect(address)?;
    requests.set_nodelay(true)?;
    requests.write_all(b"r")?;
    let mut reply = PAYLOAD;
    let mut took = Vec::new();
    let started = Instant::now();
    while started.elapsed().as_secs_f64() < seconds {
        // As somebody types.
        std::thread::sleep(Duration::from_millis(100));
        let asked = Instant::now();
        requests.write_all(&PAYLOAD)?;
        requests.read_exact(&mut reply)?;
        took.push(asked.elapsed().as_secs_f64() * 1e3);
    }
    println!("{}", super::median(took));
    Ok(())
}

fn ask(address: SocketAddr, seconds: f64) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut reply = PAYLOAD;
    let started = Instant::now();
    let mut requests = 0u64;
    while started.elapsed().as_secs_f64() < seconds {
        for _ in 0..100 {
            stream.write_all(&PAYLOAD)?;
            stream.read_exact(&mut reply)?;
        }
        requests += 100;
    }
    println!("{}", requests as f64 / started.elapsed().as_secs_f64());
    Ok(())
}

/// Until our input has ended.
fn wait() -> anyhow::Result<()> {
    while !OVER.load(Relaxed) {
        std::thread::park_timeout(Duration::from_secs(3600));
    }
    Ok(())
}

fn idle(sockets: u16) -> anyhow::Result<()> {
    let _held = (0..sockets)
        .map(|_| UdpSocket::bind(("127.0.0.1", 0)))
        .collect::<Result<Vec<_>, _>>()?;
    ready();
    wait()
}

/// A part that runs. It ends when this is dropped.
pub struct Running(Child);

impl Running {
    /// Starts a part in a namespace and waits until it is ready.
    pub fn start(namespace: &str, arguments: &str) -> anyhow::Result<Self> {
        let us = std::env::current_exe()?;
        let command = Lab::command(namespace, &us.display().to_string());
        Self::spawn(command, arguments)
    }

    /// Starts a part that is in no namespace.
    pub fn start_here(arguments: &str) -> anyhow::Result<Self> {
        Self::spawn(Command::new(std::env::current_exe()?), arguments)
    }

    fn spawn(mut command: Command, arguments: &str) -> anyhow::Result<Self> {
        command.args(["bench", "load"]).args(arguments.split(' '));
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting the load '{arguments}'"))?;
        let mut word = [0; 6];
        let output = child.stdout.as_mut().context("its output")?;
        if output.read_exact(&mut word).is_err() {
            let _ = child.wait();
            bail!("the load '{arguments}' has ended");
        }
        Ok(Self(child))
    }

    pub fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a part to its end and reads the number that it prints.
pub fn figure(namespace: &str, arguments: &str) -> anyhow::Result<f64> {
    let us = std::env::current_exe()?;
    let output = Lab::command(namespace, &us.display().to_string())
        .args(["bench", "load"])
        .args(arguments.split(' '))
        .stderr(Stdio::inherit())
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim()
        .parse()
        .with_context(|| format!("the load '{arguments}' printed '{text}'"))
}

/// Ends a program that is not ours, and waits for it.
pub struct Ended(pub Child);

impl Drop for Ended {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(Some(_))) {
            return;
        }
        let _ = Command::new("kill")
            .args(["-TERM", &self.0.id().to_string()])
            .status();
        let _ = self.0.wait();
    }
}
