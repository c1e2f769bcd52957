//! Every raw system call, and all `unsafe` of the crate.
//!
//! Architecture invariant: modules outside this one hold no `unsafe` (the crate denies it), and
//! what is in here takes and gives safe types only.

pub mod apart;
pub mod bpf;
pub mod clock;
pub mod fdpass;
pub mod files;
pub mod map;
pub mod memory;
pub mod netlink;
pub mod netns;
pub mod process;
pub mod route;
pub mod signals;
pub mod sock_diag;
pub mod socket;
pub mod tcp;

use std::io;

/// A system call that failed: which one, and how.
#[derive(Debug, thiserror::Error)]
#[error("{call}: {source}")]
pub struct SyscallError {
    /// Name of the call, with its command where it has one.
    pub call: &'static str,
    /// What the kernel answered.
    pub source: io::Error,
}

impl SyscallError {
    /// The error in `errno` after `call`.
    fn last(call: &'static str) -> Self {
        Self {
            call,
            source: io::Error::last_os_error(),
        }
    }

    /// The kernel's number for the error, as in `libc::ENOENT`; 0 where there is none.
    pub fn errno(&self) -> i32 {
        self.source.raw_os_error().unwrap_or(0)
    }
}
