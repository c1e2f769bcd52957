//! Messages with file descriptors between processes, over a Unix socket.

use std::{
    io::{self, IoSlice, IoSliceMut},
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
    sync::atomic::{AtomicBool, Ordering},
};

use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg,
    sendmsg, socketpair,
};

/// Longest message, in bytes: a path may have 4096, and JSON may escape each with six.
const MAX_BYTES: usize = 32 * 1024;

/// Most descriptors in one message.
pub const MAX_FDS: usize = 3;

/// A message as it arrived.
#[derive(Debug)]
pub struct Message {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Its descriptors.
    pub fds: Vec<OwnedFd>,
}

/// The descriptors that a service manager has started this process with, each with its name; nothing from the second
/// call on.
///
/// # Errors
/// Where what it says of them makes no sense.
pub fn passed_at_start() -> io::Result<Vec<(OwnedFd, String)>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Ok(Vec::new());
    }
    let named = sd_notify::listen_fds_with_names()?;
    // SAFETY: the manager has opened them for us, and nobody else here has taken them in hand.
    let named = named.map(|(number, name)| (unsafe { OwnedFd::from_raw_fd(number) }, name));
    Ok(named.collect())
}

/// Two connected ends that keep message boundaries, closed on exec.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SockFlag::SOCK_CLOEXEC;
    Ok(socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        flags,
    )?)
}

/// Sends one message.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control = if raw.is_empty() { &[][..] } else { &rights[..] };
    let flags = MsgFlags::MSG_NOSIGNAL;
    sendmsg::<()>(
        socket.as_raw_fd(),
        &[IoSlice::new(bytes)],
        control,
        flags,
        None,
    )?;
    Ok(())
}

/// Receives one message; `None` where the other end is closed.
pub fn receive(socket: BorrowedFd<'_>) -> io::Result<Option<Message>> {
    let mut buffer = vec![0; MAX_BYTES];
    let mut control = nix::cmsg_space!([RawFd; MAX_FDS]);
    let mut iov = [IoSliceMut::new(&mut buffer)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut iov, Some(&mut control), flags)?;
    let mut fds = Vec::new();
    for part in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(raw) = part {
            // SAFETY: the kernel has just made these descriptors for us.
            fds.extend(
                raw.into_iter()
                    .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }),
            );
        }
    }
    let length = message.bytes;
    if length == 0 {
        return Ok(None);
    }
    Ok(Some(Message {
        bytes: buffer[..length].to_vec(),
        fds,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs::File, io::Read, os::fd::AsFd};

    #[test]
    fn a_descriptor_arrives_with_its_message_and_a_closed_end_is_seen() {
        let (one, other) = pair().unwrap();
        let file = File::open("/proc/self/stat").unwrap();
        send(one.as_fd(), b"here", &[file.as_fd()]).unwrap();
        send(one.as_fd(), b"bare", &[]).unwrap();
        drop(one);
        let mut first = receive(other.as_fd()).unwrap().unwrap();
        assert_eq!(first.bytes, b"here");
        let mut text = String::new();
        File::from(first.fds.remove(0))
            .read_to_string(&mut text)
            .unwrap();
        assert!(text.starts_with(&std::process::id().to_string()));
        let second = receive(other.as_fd()).unwrap().unwrap();
        assert_eq!(
            (second.bytes.as_slice(), second.fds.len()),
            (&b"bare"[..], 0)
        );
        assert!(receive(other.as_fd()).unwrap().is_none());
    }
}
