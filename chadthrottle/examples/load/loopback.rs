//! Datagrams over loopback, for the checks on other kernels, which have no iperf3.

use std::{
    net::UdpSocket,
    time::{Duration, Instant},
};

const PAYLOAD: [u8; 972] = [b'x'; 972];
/// With the headers of IP and UDP.
const PACKET: u64 = 1000;
const RATE: f64 = 2e6;

pub fn run(lasts: Duration) -> anyhow::Result<()> {
    let receiver = UdpSocket::bind("127.0.0.1:0")?;
    receiver.set_nonblocking(true)?;
    let sender = UdpSocket::bind("127.0.0.1:0")?;
    sender.connect(receiver.local_addr()?)?;
    let started = Instant::now();
    let (mut sent, mut arrived) = (0u64, 0u64);
    let mut buffer = [0; 2048];
    while started.elapsed() < lasts {
        let due = started.elapsed().as_secs_f64() * RATE;
        while (sent as f64) < due {
            sender.send(&PAYLOAD)?;
            sent += PACKET;
            while receiver.recv(&mut buffer).is_ok() {
                arrived += PACKET;
            }
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    while receiver.recv(&mut buffer).is_ok() {
        arrived += PACKET;
    }
    println!("{arrived}");
    Ok(())
}
