//! Passes over all TCP sockets (`iter/tcp`, kernel 5.15): what the kernel programs set on a connection when it
//! sends a packet, they set in a pass on those that were there before, and put back on those that have no
//! limit any more.
//!
//! They see every socket of a network namespace, whatever holds its descriptor: io_uring, a message on its
//! way, nobody.

use std::{
    io::{self, Read},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use aya::{Btf, Ebpf, programs::Iter};
use chadthrottle_common::abi::names;

use super::{ThrottleError, linux_ebpf_utils, maps};
use crate::{
    process::namespaces::Namespace,
    sys::{
        bpf,
        map::{LeversWord, MappedArray},
        netns,
    },
};

/// The passes of a loaded object.
#[derive(Debug)]
pub struct Passes {
    hold: OwnedFd,
    put_back: OwnedFd,
    allowed: MappedArray<LeversWord>,
    hears_of_packets: bool,
}

impl Passes {
    /// Loads them.
    ///
    /// # Errors
    /// Where the kernel does not take them.
    pub fn load(
        object: &mut Ebpf,
        kernel: &Btf,
        hears_of_packets: bool,
    ) -> Result<Self, ThrottleError> {
        let mut link = |name| {
            let program: &mut Iter = linux_ebpf_utils::find(object, name)?;
            program
                .load("tcp", kernel)
                .map_err(|error| linux_ebpf_utils::refused(name, error))?;
            let program = program
                .fd()
                .map_err(|error| linux_ebpf_utils::refused(name, error))?;
            bpf::iterator_link(program.as_fd()).map_err(|source| ThrottleError::ProgramInfo {
                program: name,
                source,
            })
        };
        Ok(Self {
            hold: link(names::HOLD)?,
            put_back: link(names::PUT_BACK)?,
            allowed: maps::levers(object)?,
            hears_of_packets,
        })
    }

    /// Whether the kernel can be told to call our program for packets of connections that were made before
    /// their limit (kernel 6.12).
    pub fn hear_of_packets(&self) -> bool {
        self.hears_of_packets
    }

    /// The pass that puts back, for whoever comes after us.
    pub fn put_back(&self) -> BorrowedFd<'_> {
        self.put_back.as_fd()
    }

    /// Whether the programs may set anything.
    pub fn allow(&self, yes: bool) {
        if let Some(word) = self.allowed.first() {
            word.0.set(u64::from(yes));
        }
    }

    /// Has each socket be as its limit wants it, or as it was where it has none.
    pub fn hold(&self, namespaces: &[Namespace]) {
        run(self.hold.as_fd(), namespaces);
    }

    /// Puts every socket back. Nothing is set any more until that is allowed again.
    pub fn put_all_back(&self, namespaces: &[Namespace]) {
        run(self.put_back.as_fd(), namespaces);
    }
}

/// Runs a pass over the sockets of these network namespaces. Gives how many have been put back.
pub fn run(link: BorrowedFd<'_>, namespaces: &[Namespace]) -> usize {
    let mut sockets = 0;
    for Namespace { inode, fd } in namespaces {
        let pass = || -> io::Result<usize> {
            // The namespace is that of the thread that makes it (`bpf_iter_init_seq_net`).
            let mut pass = bpf::iterator(link).map_err(|error| error.source)?;
            // It writes a byte for each.
            let mut bytes = [0; 4096];
            let mut put_back = 0;
            loop {
                match pass.read(&mut bytes) {
                    Ok(0) => return Ok(put_back),
                    Ok(more) => put_back += more,
                    // So many sockets at a time (`MAX_ITER_OBJECTS` in kernel/bpf/bpf_iter.c).
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
            }
        };
        match netns::within(fd, pass) {
            Some(Ok(put_back)) => sockets += put_back,
            Some(Err(error)) => {
                log::warn!("sockets of network namespace {inode} were not passed over: {error}");
            }
            None => log::warn!("network namespace {inode} may not be entered"),
        }
    }
    sockets
}
