//! Netlink: requests to the kernel, and its answers.

use std::{
    io::{self, IoSliceMut},
    os::fd::{AsRawFd, OwnedFd},
};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recvmsg, send, socket,
};

use super::SyscallError;

/// Length of a message's header, in bytes (`struct nlmsghdr`, include/uapi/linux/netlink.h).
const HEADER: usize = 16;

/// An answer that goes on in more messages, until one says that it is done.
pub const DUMP: u16 = libc::NLM_F_DUMP as u16;

/// An answer that ends with whether it could be done.
pub const ACKNOWLEDGED: u16 = libc::NLM_F_ACK as u16;

/// The kernel puts as much into a datagram at most (`netlink_dump` in net/netlink/af_netlink.c).
const LONGEST: usize = 32 * 1024;

/// A netlink socket of the network namespace of the thread that has opened it.
#[derive(Debug)]
pub struct Netlink {
    socket: OwnedFd,
    sequence: u32,
}

impl Netlink {
    /// Opens one.
    ///
    /// # Errors
    /// Where the kernel does not have that protocol.
    pub fn open(protocol: SockProtocol) -> Result<Self, SyscallError> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol);
        let socket = socket.map_err(failed("socket(AF_NETLINK)"))?;
        let sequence = 0;
        Ok(Self { socket, sequence })
    }

    /// Asks for something, with [`DUMP`] or [`ACKNOWLEDGED`], and has `each` see the payload of each message of the
    /// answer.
    ///
    /// # Errors
    /// What the kernel answers.
    pub fn ask(
        &mut self,
        kind: u16,
        flags: u16,
        payload: &[u8],
        mut each: impl FnMut(&[u8]),
    ) -> Result<(), SyscallError> {
        self.sequence += 1;
        let request = request(kind, flags, self.sequence, payload);
        send(self.socket.as_raw_fd(), &request, MsgFlags::empty())
            .map_err(failed("send to netlink"))?;
        let mut buffer = vec![0; LONGEST];
        loop {
            let len = self.receive(&mut buffer)?;
            let datagram = buffer.get(..len).unwrap_or_default();
            if let Some(result) = read(datagram, self.sequence, &mut each) {
                return result.map_err(|source| SyscallError {
                    call: "a netlink request",
                    source,
                });
            }
        }
    }

    /// The next datagram of the kernel's own: within its namespace, others may send us some.
    fn receive(&self, buffer: &mut [u8]) -> Result<usize, SyscallError> {
        loop {
            let mut into = [IoSliceMut::new(buffer)];
            let received =
                recvmsg::<NetlinkAddr>(self.socket.as_raw_fd(), &mut into, None, MsgFlags::empty());
            let received = received.map_err(failed("recvmsg from netlink"))?;
            if received.flags.contains(MsgFlags::MSG_TRUNC) {
                return Err(failed("recvmsg from netlink")(nix::Error::EMSGSIZE));
            }
            if received.address.is_some_and(|from| from.pid() == 0) {
                return Ok(received.bytes);
            }
        }
    }
}

fn failed(call: &'static str) -> impl Fn(nix::Error) -> SyscallError {
    move |errno| SyscallError {
        call,
        source: errno.into(),
    }
}

fn request(kind: u16, flags: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let flags = libc::NLM_F_REQUEST as u16 | flags;
    let mut request = Vec::with_capacity(HEADER + payload.len());
    request.extend(((HEADER + payload.len()) as u32).to_ne_bytes());
    request.extend(kind.to_ne_bytes());
    request.extend(flags.to_ne_bytes());
    request.extend(sequence.to_ne_bytes());
    request.extend(0u32.to_ne_bytes());
    request.extend(payload);
    request
}

/// Reads a datagram; `Some` where the answer to that request ends in it.
fn read(
    mut datagram: &[u8],
    sequence: u32,
    each: &mut impl FnMut(&[u8]),
) -> Option<io::Result<()>> {
    while let Some(len) = u32_at(datagram, 0) {
        let (len, kind) = (len as usize, u16_at(datagram, 4)?);
        let payload = datagram.get(HEADER..len)?;
        if u32_at(datagram, 8) == Some(sequence) {
            match i32::from(kind) {
                libc::NLMSG_ERROR | libc::NLMSG_DONE => {
                    // Its payload begins with an error, negative, or 0.
                    return match u32_at(payload, 0).map_or(0, u32::cast_signed) {
                        0.. => Some(Ok(())),
                        error => Some(Err(io::Error::from_raw_os_error(error.wrapping_neg()))),
                    };
                }
                libc::NLMSG_NOOP => {}
                _ => each(payload),
            }
        }
        datagram = datagram.get(len.next_multiple_of(4)..)?;
    }
    None
}

/// A word of a message, in the order of this machine.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Half of one.
pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a datagram brings of request 7, and how that ends.
    fn told(messages: &[(u16, u32, &[u8])]) -> (Vec<Vec<u8>>, Option<Result<(), i32>>) {
        let parts = messages.iter().map(|&(kind, sequence, payload)| {
            let mut message = request(kind, 0, sequence, payload);
            message.resize(message.len().next_multiple_of(4), 0);
            message
        });
        let datagram: Vec<u8> = parts.flatten().collect();
        let mut payloads = Vec::new();
        let end = read(&datagram, 7, &mut |payload| payloads.push(payload.to_vec()));
        let errno = |error: io::Error| error.raw_os_error().unwrap_or(0);
        (payloads, end.map(|end| end.map_err(errno)))
    }

    #[test]
    fn an_answer_is_read_up_to_its_end_and_others_are_passed_over() {
        let [error, done] = [libc::NLMSG_ERROR, libc::NLMSG_DONE].map(|it| it as u16);
        let refused = (-libc::EOPNOTSUPP).to_ne_bytes();
        type Case<'a> = (
            &'a [(u16, u32, &'a [u8])],
            &'a [&'a str],
            Option<Result<(), i32>>,
        );
        let cases: [Case<'_>; 7] = [
            (&[], &[], None),
            (&[(20, 7, b"abc"), (20, 7, b"defg")], &["abc", "defg"], None),
            (&[(20, 6, b"old"), (done, 7, &[0; 4])], &[], Some(Ok(()))),
            (&[(20, 7, b"abc"), (done, 7, &[])], &["abc"], Some(Ok(()))),
            (&[(error, 7, &[0; 20])], &[], Some(Ok(()))),
            (&[(error, 7, &refused)], &[], Some(Err(libc::EOPNOTSUPP))),
            (&[(error, 6, &refused)], &[], None),
        ];
        for (messages, payloads, end) in cases {
            let payloads = payloads.iter().map(|it: &&str| it.as_bytes().to_vec());
            assert_eq!(told(messages), (payloads.collect(), end), "{messages:?}");
        }
    }

    #[test]
    fn nonsense_is_no_answer() {
        for datagram in [
            &[0; 16][..],
            &[255; 40],
            &[5, 0, 0, 0, 1],
            &[8, 0, 0, 0, 9, 9, 9, 9],
        ] {
            let end = read(datagram, 0, &mut |_| panic!("a message: {datagram:?}"));
            assert!(end.is_none(), "{datagram:?}");
        }
    }

    #[test]
    fn a_request_has_its_length_kind_flags_and_number() {
        let request = request(0x1234, DUMP, 0x5678, &[9; 5]);
        assert_eq!(request.len(), 21);
        assert_eq!(u32_at(&request, 0), Some(21));
        assert_eq!(
            (u16_at(&request, 4), u16_at(&request, 6)),
            (Some(0x1234), Some(0x301))
        );
        assert_eq!(
            (u32_at(&request, 8), u32_at(&request, 12)),
            (Some(0x5678), Some(0))
        );
        assert_eq!(request[16..], [9; 5]);
    }
}
