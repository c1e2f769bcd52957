//! Small TCP requests.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    time::Instant,
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
