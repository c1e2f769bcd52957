//! Says twenty times a second what has been received: the IP bytes that the limit let pass, as only
//! the receiver can know them. What is sent is counted on the wire.

use std::{
    io::{Write, stdout},
    net::{IpAddr, TcpStream},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use crate::sys;

const INTERVAL: Duration = Duration::from_millis(50);
/// IPv4 and TCP with time stamps; IPv6 has 20 more.
const TCP_HEADERS: u64 = 52;

static RECEIVED: AtomicU64 = AtomicU64::new(0);

/// Prints `SECONDS BYTES` until the time is over, then ends this process.
pub fn start(lasts: Duration) {
    let began = Instant::now();
    std::thread::spawn(move || {
        loop {
            let elapsed = began.elapsed();
            let line = writeln!(
                stdout(),
                "{:.3} {}",
                elapsed.as_secs_f64(),
                RECEIVED.load(Relaxed)
            );
            // Nobody reads on when who started us has ended.
            if elapsed >= lasts || line.is_err() {
                std::process::exit(0);
            }
            std::thread::sleep(INTERVAL);
        }
    });
}

/// A packet, or many, that have arrived.
pub fn count(bytes: u64) {
    RECEIVED.fetch_add(bytes, Relaxed);
}

/// Payload of a connection whose figures cannot be had: whole segments, nearly.
pub fn count_stream(bytes: u64) {
    count(bytes + bytes * TCP_HEADERS / 1448);
}

/// The headers of a datagram.
pub fn datagram_headers(address: IpAddr) -> u64 {
    if address.is_ipv4() { 28 } else { 48 }
}

/// What the kernel says that a connection has received.
#[derive(Default)]
pub struct Connection {
    counted: u64,
}

impl Connection {
    pub fn count(&mut self, stream: &TcpStream) {
        let Ok((payload, segments)) = sys::received(stream) else {
            return;
        };
        let passed = payload + u64::from(segments) * TCP_HEADERS;
        count(passed.saturating_sub(self.counted));
        self.counted = passed.max(self.counted);
    }
}
