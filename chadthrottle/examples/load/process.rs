//! Processes that try to be another: children, daemons, threads, sockets that change hands.

use std::{
    fs,
    io::{IoSlice, IoSliceMut, Write},
    net::{TcpStream, UdpSocket},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::{net::UnixListener, net::UnixStream, process::CommandExt},
    },
    path::Path,
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::Context;
use nix::{
    cmsg_space,
    sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg},
};

use crate::{escape::Job, peer, sys, udp};

const SIZE: [usize; 1] = [1_200];

/// A few datagrams.
pub fn burst(job: Job) -> anyhow::Result<()> {
    let socket = udp::socket(job)?;
    for _ in 0..30 {
        let _ = socket.send(&[0; SIZE[0]]);
    }
    Ok(())
}

/// Children that end at once, as fast as they can be made, and a few that send until the end.
pub fn fork_storm(job: Job) -> anyhow::Result<()> {
    sys::ignore_children();
    for _ in 0..3 {
        if sys::fork()? == 0 {
            until_the_end(job);
            let mut stack = vec![0; 16_384];
            loop {
                // There may be too many for a moment.
                let _ = sys::child_that_ends(&mut stack);
            }
        }
    }
    loop {
        sleep(Duration::from_millis(300));
        // There may be too many for a moment.
        if let Ok(0) = sys::fork() {
            until_the_end(job);
            udp::send(&udp::socket(job)?, &SIZE);
        }
    }
}

/// A child has no thread that would end it.
pub fn until_the_end(job: Job) {
    std::thread::spawn(move || {
        sleep(job.left());
        sys::leave();
    });
}

/// Programs that end at once, which vfork and exec start.
pub fn exec_storm(job: Job) -> anyhow::Result<()> {
    loop {
        ourselves(job, "burst")?.status()?;
    }
}

/// This program, with what is left of the time.
fn ourselves(job: Job, technique: &str) -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["escape", technique, if job.up { "up" } else { "down" }]);
    command.arg(job.peer.to_string());
    command.arg(format!("{:.3}", job.left().as_secs_f64()));
    Ok(command)
}

/// A grandchild in a session of its own. Its parent waits, or has ended, as what started it then
/// has too.
pub fn daemon(job: Job, alone: bool) -> anyhow::Result<()> {
    if sys::fork()? != 0 {
        if alone {
            sys::leave();
        }
        sleep(job.left());
        return Ok(());
    }
    nix::unistd::setsid()?;
    if sys::fork()? != 0 {
        sys::leave();
    }
    until_the_end(job);
    if alone {
        // Until the limit's own process has gone, and whoever looks for others has looked.
        sleep(job.left() / 2);
    }
    udp::send(&udp::socket(job)?, &SIZE);
    Ok(())
}

/// Half of the time there is no process for longer than it takes to start the next one.
pub fn fork_chain(job: Job) -> anyhow::Result<()> {
    let until = Instant::now() + job.left() / 2;
    while Instant::now() < until {
        if sys::fork()? != 0 {
            sys::leave();
        }
    }
    until_the_end(job);
    udp::send(&udp::socket(job)?, &SIZE);
    Ok(())
}

pub fn threads(job: Job) -> anyhow::Result<()> {
    let sockets = (0..50)
        .map(|_| udp::socket(job))
        .collect::<std::io::Result<Vec<_>>>()?;
    std::thread::scope(|scope| {
        for socket in &sockets {
            scope.spawn(|| udp::send(socket, &SIZE));
        }
    });
    Ok(())
}

/// Sends through sockets of children with whom it shares its descriptors, when they have ended and
/// are forgotten: in calls that do not return, since it owns a socket when it has used it, and
/// without the pace that its limit has set.
pub fn shared_descriptors(job: Job) -> anyhow::Result<()> {
    const FIRST: i32 = 500;
    const SOCKETS: i32 = 5;
    for number in FIRST..FIRST + SOCKETS {
        let child = sys::fork_with_descriptors()?;
        if child == 0 {
            if let Ok(mut stream) = TcpStream::connect((job.peer, peer::TCP)) {
                let _ = stream.write_all(&[peer::SINK]);
                let _ = sys::place(&stream, number);
            }
            sys::leave();
        }
        nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(child as i32), None)?;
    }
    sleep(job.left() / 2);
    let block = vec![0; 64 << 20];
    std::thread::scope(|scope| {
        for number in FIRST..FIRST + SOCKETS {
            let mut stream = TcpStream::from(sys::take(number));
            let pace = libc::SO_MAX_PACING_RATE;
            let _ = sys::set_bytes(&stream, libc::SOL_SOCKET, pace, &[0xff; 8]);
            let block = &block;
            scope.spawn(move || while stream.write_all(block).is_ok() {});
        }
    });
    Ok(())
}

/// Another program each time, of the same process.
pub fn exec_loop(job: Job) -> anyhow::Result<()> {
    let until = Instant::now() + Duration::from_millis(200);
    while Instant::now() < until {
        burst(job)?;
    }
    Err(ourselves(job, "exec-loop")?.exec().into())
}

/// In a cgroup that it makes for itself.
pub fn own_cgroup(job: Job) -> anyhow::Result<()> {
    let mounts = fs::read_to_string("/proc/mounts")?;
    let mount = mounts
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>())
        .find(|fields| fields.get(2) == Some(&"cgroup2"))
        .context("no cgroup2 file system is mounted")?[1];
    let cgroup = Path::new(mount).join(format!("load-{}", std::process::id()));
    fs::create_dir(&cgroup)?;
    let child = sys::fork()?;
    if child == 0 {
        let moved = fs::write(cgroup.join("cgroup.procs"), "0");
        if moved.is_ok()
            && let Ok(socket) = udp::socket(job)
        {
            until_the_end(job.but_for(Duration::from_millis(200)));
            udp::send(&socket, &SIZE);
        }
        sys::leave();
    }
    nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(child as i32), None)?;
    fs::remove_dir(&cgroup)?;
    Ok(())
}

/// A socket goes to a process that nobody limits, which sends.
pub fn given_away(job: Job, accomplice: &Path) -> anyhow::Result<()> {
    let stream = UnixStream::connect(accomplice).context("the accomplice")?;
    give(&stream, &[udp::socket(job)?])?;
    sleep(job.left());
    Ok(())
}

/// Sends sockets in a message, eight at most.
pub fn give(stream: &UnixStream, sockets: &[impl AsRawFd]) -> anyhow::Result<()> {
    let fds: Vec<_> = sockets.iter().map(AsRawFd::as_raw_fd).collect();
    sendmsg::<()>(
        stream.as_raw_fd(),
        &[IoSlice::new(b"x")],
        &[ControlMessage::ScmRights(&fds)],
        MsgFlags::empty(),
        None,
    )?;
    Ok(())
}

/// Takes those of the next message.
pub fn receive(stream: &UnixStream) -> anyhow::Result<impl Iterator<Item = OwnedFd>> {
    let mut byte = [0];
    let mut space = cmsg_space!([std::os::fd::RawFd; 8]);
    let mut parts = [IoSliceMut::new(&mut byte)];
    let fd = stream.as_raw_fd();
    let message = recvmsg::<()>(fd, &mut parts, Some(&mut space), MsgFlags::empty())?;
    for part in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(fds) = part {
            return Ok(fds.into_iter().map(sys::take));
        }
    }
    anyhow::bail!("no socket came")
}

/// A socket that somebody has made whom nobody limits.
pub fn taken_over(accomplice: &Path) -> anyhow::Result<()> {
    let stream = UnixStream::connect(accomplice).context("the accomplice")?;
    let socket = receive(&stream)?.next().context("no descriptor")?;
    udp::send(&UdpSocket::from(socket), &SIZE);
    Ok(())
}

/// A process that goes on without the thread that it began with.
pub fn without_first_thread() -> anyhow::Result<()> {
    crate::ready();
    Err(sys::leave_thread().into())
}

/// Beside the limited process, and not limited: gives a socket away, or sends through one it gets.
pub fn accomplice(job: Job, at: &Path, gives: bool) -> anyhow::Result<()> {
    let listener = UnixListener::bind(at)?;
    crate::ready();
    let (stream, _) = listener.accept()?;
    if gives {
        give(&stream, &[udp::socket(job)?])?;
        sleep(job.left());
        return Ok(());
    }
    let socket = receive(&stream)?.next().context("no descriptor")?;
    until_the_end(job);
    udp::send(&UdpSocket::from(socket), &SIZE);
    Ok(())
}
