//! Parents that are limited with their children, and begin when they are told to.

use std::{
    io::{self, Read, Write, pipe},
    net::{IpAddr, TcpStream},
    thread::sleep,
    time::{Duration, Instant},
};

use nix::{
    sys::{
        signal::{Signal, kill},
        wait::waitpid,
    },
    unistd::{Pid, Uid, getpid, getppid, setsid, setuid},
};

use crate::{
    peer, sys,
    talk::{say, wait},
};

/// Has a child do something and end.
fn in_child(action: impl FnOnce() -> anyhow::Result<()>) -> io::Result<Pid> {
    let child = sys::fork()?;
    if child == 0 {
        if let Err(error) = action() {
            eprintln!("a child: {error:#}");
        }
        sys::leave();
    }
    Ok(Pid::from_raw(child as i32))
}

/// Lives on until the parent ends it. Not for ever: the parent may be killed.
fn stay() {
    sleep(Duration::from_secs(60));
}

/// Children that live on. They end with this.
struct Children(Vec<Pid>);

impl Children {
    fn make(count: usize, action: impl Fn() -> anyhow::Result<()>) -> io::Result<Self> {
        let mut children = Self(Vec::new());
        for _ in 0..count {
            children.0.push(in_child(|| {
                action()?;
                stay();
                Ok(())
            })?);
        }
        Ok(children)
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        for child in &self.0 {
            let _ = kill(*child, Signal::SIGKILL);
            let _ = waitpid(*child, None);
        }
    }
}

/// Sends so many bytes to the far side, and waits until they are there.
fn upload(peer: IpAddr, bytes: usize) -> io::Result<()> {
    let mut stream = TcpStream::connect((peer, peer::TCP))?;
    writeln!(stream, "{} {bytes}", char::from(peer::COUNT))?;
    stream.write_all(&vec![b'y'; bytes])?;
    stream.read_exact(&mut [0])
}

/// As another user from now on.
pub fn send_as(user: u32, peer: IpAddr, bytes: usize) -> anyhow::Result<()> {
    setuid(Uid::from_raw(user))?;
    Ok(upload(peer, bytes)?)
}

/// A child that is forked and sends at once.
pub fn fork_and_send(peer: IpAddr, bytes: usize) -> anyhow::Result<()> {
    wait();
    waitpid(in_child(|| Ok(upload(peer, bytes)?))?, None)?;
    say("done", 0, 0);
    Ok(())
}

/// A grandchild sends whose parent, who never had a socket, has ended.
pub fn orphan_and_send(peer: IpAddr, bytes: usize) -> anyhow::Result<()> {
    wait();
    let (mut done, says) = pipe()?;
    let child = in_child(|| {
        let parent = getpid();
        setsid()?;
        in_child(|| {
            while getppid() == parent {
                sleep(Duration::from_millis(10));
            }
            upload(peer, bytes)?;
            Ok((&says).write_all(b"x")?)
        })?;
        Ok(())
    })?;
    waitpid(child, None)?;
    // If it fails, nobody has the other end.
    drop(says);
    done.read_exact(&mut [0])?;
    say("done", 0, 0);
    Ok(())
}

/// Many children without a socket.
pub fn fork_and_wait(count: usize) -> anyhow::Result<()> {
    wait();
    let _children = Children::make(count, || Ok(()))?;
    say("forked", 0, 0);
    wait();
    Ok(())
}

/// Processes of a user, each with a socket.
pub fn sockets_by_user(user: u32, count: usize) -> anyhow::Result<()> {
    wait();
    let (mut made, says) = pipe()?;
    let _children = Children::make(count, || {
        setuid(Uid::from_raw(user))?;
        let socket = sys::socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
        (&says).write_all(b"x")?;
        stay();
        drop(socket);
        Ok(())
    })?;
    drop(says);
    made.read_exact(&mut vec![0; count])?;
    say("made", 0, 0);
    wait();
    Ok(())
}

/// One long call through a socket that a child made for both, and then ended. Says how many milliseconds
/// it took.
pub fn send_by_ended(peer: IpAddr, bytes: usize) -> anyhow::Result<()> {
    const NUMBER: i32 = 100;
    wait();
    let child = sys::fork_with_descriptors()?;
    if child == 0 {
        if let Ok(mut stream) = TcpStream::connect((peer, peer::TCP)) {
            let _ = writeln!(stream, "{} {bytes}", char::from(peer::COUNT));
            let _ = sys::place(&stream, NUMBER);
        }
        sys::leave();
    }
    waitpid(Pid::from_raw(child as i32), None)?;
    say("ended", 0, 0);
    wait();
    let mut stream = TcpStream::from(sys::take(NUMBER));
    // The pace that its limit has set must not be what holds it.
    let pace = libc::SO_MAX_PACING_RATE;
    sys::set_bytes(&stream, libc::SOL_SOCKET, pace, &[0xff; 8])?;
    let data = vec![b'z'; bytes];
    let began = Instant::now();
    stream.write_all(&data)?;
    stream.read_exact(&mut [0])?;
    say("took", began.elapsed().as_millis() as u64, 0);
    Ok(())
}
