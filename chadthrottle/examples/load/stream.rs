//! Transfers without end, and small requests beside them.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread::sleep,
    time::{Duration, Instant},
};

use crate::echo::{self, REQUEST};

pub fn feed(port: u16) -> anyhow::Result<()> {
    let listener = TcpListener::bind(("0.0.0.0", port))?;
    crate::ready();
    for stream in listener.incoming() {
        let mut stream = stream?;
        std::thread::spawn(move || {
            let mut word = [0];
            let _ = stream.set_nodelay(true);
            let _ = stream.read_exact(&mut word);
            let mut block = [0; 65_536];
            // Each until the other side has had enough.
            match word {
                [b'd'] => while stream.write_all(&block).is_ok() {},
                [b'u'] => while stream.read(&mut block).is_ok_and(|bytes| bytes > 0) {},
                _ => echo::answer_all(stream),
            }
        });
    }
    Ok(())
}

pub fn fetch(address: SocketAddr) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(b"d")?;
    crate::ready();
    let mut block = [0; 65_536];
    while stream.read(&mut block)? > 0 {}
    Ok(())
}

pub fn beside(address: SocketAddr, down: bool, seconds: f64) -> anyhow::Result<()> {
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
    let mut reply = REQUEST;
    let mut took = Vec::new();
    let started = Instant::now();
    while started.elapsed().as_secs_f64() < seconds {
        // As somebody types.
        sleep(Duration::from_millis(100));
        let asked = Instant::now();
        requests.write_all(&REQUEST)?;
        requests.read_exact(&mut reply)?;
        took.push(asked.elapsed().as_secs_f64() * 1e3);
    }
    took.sort_by(f64::total_cmp);
    println!("{}", took.get(took.len() / 2).copied().unwrap_or(f64::NAN));
    Ok(())
}
