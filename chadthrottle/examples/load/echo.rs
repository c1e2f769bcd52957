//! Small TCP requests.

use std::{
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    thread::sleep,
    time::{Duration, Instant},
};

use crate::{
    peer::{self, BIG, DISCARD, TAKE, unspecified},
    sys,
};

/// What a request is, and its answer.
pub const REQUEST: [u8; 100] = [b'x'; 100];

pub fn answer(port: u16) -> anyhow::Result<()> {
    let listener = TcpListener::bind(("0.0.0.0", port))?;
    crate::ready();
    for stream in listener.incoming() {
        let stream = stream?;
        std::thread::spawn(move || answer_all(stream));
    }
    Ok(())
}

/// Until there are no more.
pub fn answer_all(mut stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let mut request = REQUEST;
    while stream.read_exact(&mut request).is_ok() && stream.write_all(&request).is_ok() {}
}

pub fn ask(address: SocketAddr, seconds: f64) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut reply = REQUEST;
    let started = Instant::now();
    let mut requests = 0_u64;
    while started.elapsed().as_secs_f64() < seconds {
        for _ in 0..100 {
            stream.write_all(&REQUEST)?;
            stream.read_exact(&mut reply)?;
        }
        requests += 100;
    }
    println!("{}", requests as f64 / started.elapsed().as_secs_f64());
    Ok(())
}

/// Twenty times as much as the tests allow, for two seconds, and then exchanges with one packet on its way.
pub fn after_a_flood(peer: IpAddr, free: bool) -> anyhow::Result<()> {
    let flood = UdpSocket::bind((unspecified(peer), 0))?;
    let mut talk = TcpStream::connect((peer, peer::TCP))?;
    talk.set_read_timeout(Some(Duration::from_secs(20)))?;
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(2) {
        for _ in 0..20 {
            let _ = flood.send_to(&[b'x'; 80], (peer, DISCARD));
        }
        sleep(Duration::from_millis(1));
    }
    let started = Instant::now();
    for _ in 0..10 {
        if free {
            let pace = libc::SO_MAX_PACING_RATE;
            sys::set_bytes(&talk, libc::SOL_SOCKET, pace, &[0xff; 8])?;
        }
        talk.write_all(&[TAKE; BIG])?;
        talk.read_exact(&mut [0])?;
    }
    println!("{}", started.elapsed().as_secs_f64());
    Ok(())
}
