//! Load for benchmarks and tests, for this machine and, built statically, for virtual ones: each
//! part is a process of its own, says `ready` once it is, and ends with its input where nothing
//! else ends it.

mod client;
mod echo;
mod escape;
mod family;
mod loopback;
mod marks;
mod meter;
mod offer;
mod packets;
mod peer;
mod process;
mod raw;
mod ring;
mod scenario;
mod stream;
mod sys;
mod talk;
mod tcp;
mod udp;

use std::{
    fs,
    io::{Read, stdin},
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use clap::{Parser, Subcommand, ValueEnum};

#[derive(Parser)]
#[command(about = "Load for benchmarks and tests")]
struct Cli {
    #[command(subcommand)]
    part: Part,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Direction {
    Up,
    Down,
}

#[derive(Subcommand)]
enum Part {
    /// The far side of all techniques
    Peer,
    /// Tries to outrun a limit, and prints what it receives: `SECONDS BYTES`
    Escape {
        technique: escape::Technique,
        direction: Direction,
        peer: IpAddr,
        seconds: f64,
        /// Where `accomplice` listens
        #[arg(long)]
        accomplice: Option<PathBuf>,
    },
    /// A process that is not limited: it sends through a socket that it is given, or gives one
    Accomplice {
        peer: IpAddr,
        seconds: f64,
        at: PathBuf,
        #[arg(long)]
        gives: bool,
    },
    /// Sends datagrams to itself at 2 MB/s, and prints how many IP bytes have arrived
    Loopback { seconds: f64 },
    /// Receives datagrams on many sockets
    Sink { first_port: u16, sockets: u16 },
    /// Sends datagrams to `sink`, on the first of many sockets in turn
    Send {
        address: IpAddr,
        first_port: u16,
        sockets: u16,
        active: u16,
    },
    /// Holds sockets open
    Idle { sockets: u16 },
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
        direction: Direction,
        seconds: f64,
    },
    #[command(flatten)]
    Scenario(scenario::Scenario),
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().part {
        Part::Peer => {
            prepare()?;
            peer::run()
        }
        Part::Escape {
            technique,
            direction,
            peer,
            seconds,
            accomplice,
        } => {
            let job = escape::Job::new(peer, direction == Direction::Up, lasts(seconds));
            escape::run(technique, job, accomplice)
        }
        Part::Accomplice {
            peer,
            seconds,
            at,
            gives,
        } => {
            let job = escape::Job::new(peer, true, lasts(seconds));
            process::accomplice(job, &at, gives)
        }
        Part::Loopback { seconds } => loopback::run(lasts(seconds)),
        Part::Sink {
            first_port,
            sockets,
        } => packets::sink(first_port, sockets),
        Part::Send {
            address,
            first_port,
            sockets,
            active,
        } => packets::send(address, first_port, sockets, active),
        Part::Idle { sockets } => packets::idle(sockets),
        Part::Answer { port } => echo::answer(port),
        Part::Ask {
            address,
            port,
            seconds,
        } => echo::ask(SocketAddr::new(address, port), seconds),
        Part::Feed { port } => stream::feed(port),
        Part::Beside {
            address,
            port,
            direction,
            seconds,
        } => {
            let to = SocketAddr::new(address, port);
            stream::beside(to, direction == Direction::Down, seconds)
        }
        Part::Scenario(scenario) => scenario::run(&scenario),
    }
}

fn lasts(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds.max(0.0))
}

/// What whoever opens thousands of connections needs: descriptors, and SYNs that carry data
/// whether or not the other side is known (the value's bits are the kernel's).
fn prepare() -> anyhow::Result<()> {
    sys::allow_many_descriptors()?;
    // Of this network namespace; read-only in some.
    let _ = fs::write("/proc/sys/net/ipv4/tcp_fastopen", "1543");
    Ok(())
}

/// Says so, and ends this process with its input.
fn ready() {
    println!("ready");
    std::thread::spawn(|| {
        let _ = stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
}

/// Until our input has ended.
fn wait() -> ! {
    loop {
        std::thread::park();
    }
}
