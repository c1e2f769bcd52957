//! A connection that only an io_uring has: no descriptor of the process leads to it.

use std::net::SocketAddr;

use io_uring::{
    IoUring, opcode,
    types::{DestinationSlot, Fixed},
};
use nix::sys::socket::{SockaddrLike, SockaddrStorage};

use crate::{escape::Job, meter, peer, sys};

pub fn bulk(job: Job) -> anyhow::Result<()> {
    let mut ring = IoUring::new(8)?;
    ring.submitter().register_files_sparse(1)?;
    let to = SocketAddr::new(job.peer, peer::TCP);
    let address = SockaddrStorage::from(to);
    let family = if to.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    let slot = DestinationSlot::try_from_slot_target(0).ok();
    let made = opcode::Socket::new(family, libc::SOCK_STREAM, 0)
        .file_index(slot)
        .build();
    sys::carry_out(&mut ring, &made)?;
    let connected = opcode::Connect::new(Fixed(0), address.as_ptr(), address.len()).build();
    sys::carry_out(&mut ring, &connected)?;
    let word = [if job.up { peer::SINK } else { peer::FEED }];
    sys::carry_out(
        &mut ring,
        &opcode::Send::new(Fixed(0), word.as_ptr(), 1).build(),
    )?;
    let mut block = vec![0_u8; 65_536];
    let (start, len) = (block.as_mut_ptr(), block.len() as u32);
    loop {
        if job.up {
            sys::carry_out(&mut ring, &opcode::Send::new(Fixed(0), start, len).build())?;
        } else {
            let bytes =
                sys::carry_out(&mut ring, &opcode::Recv::new(Fixed(0), start, len).build())?;
            meter::count_stream(bytes as u64);
        }
    }
}
