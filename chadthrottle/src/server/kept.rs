//! The limits that are set, in a file in memory, for an engine that takes over from this one.

use std::{
    ffi::CStr,
    fs::File,
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::FileExt,
    },
};

use nix::sys::memfd::{MFdFlags, memfd_create};
use serde::{Deserialize, Serialize};

use crate::{
    model::{Limit, Origin},
    process::Targets,
};

/// A limit, with all that the next engine needs to set it again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// For whom.
    pub targets: Targets,
    /// The user whose processes alone it may hold.
    pub of_user: Option<u32>,
    /// How much.
    pub limit: Limit,
    /// Who has set it, and when.
    pub origin: Origin,
}

/// The file. It stays for as long as anybody has a descriptor of it.
#[derive(Debug)]
pub struct KeptLimits(File);

impl KeptLimits {
    const NAME: &CStr = c"chadthrottle-limits";

    /// An empty one.
    ///
    /// # Errors
    /// Where there are no descriptors left, or no memory.
    pub fn new() -> io::Result<Self> {
        let file = memfd_create(Self::NAME, MFdFlags::MFD_CLOEXEC)?;
        Ok(Self(file.into()))
    }

    /// Has it hold these. Who reads it after we were killed in the middle of this finds no list.
    ///
    /// # Errors
    /// Where there is no memory.
    pub fn write(&self, limits: &[Kept]) -> io::Result<()> {
        let words = serde_json::to_vec(limits)?;
        self.0.write_all_at(&words, 0)?;
        // Not before, since an empty file would say that there is none.
        self.0.set_len(words.len() as u64)
    }

    /// What such a file holds. A limit that cannot be read, since its user is gone, say, is left out.
    ///
    /// # Errors
    /// Where it is no list.
    pub fn parse(words: &[u8]) -> io::Result<Vec<Kept>> {
        if words.is_empty() {
            return Ok(Vec::new());
        }
        let listed: Vec<serde_json::Value> = serde_json::from_slice(words)?;
        let limits = listed.into_iter().filter_map(|limit| {
            serde_json::from_value(limit)
                .inspect_err(|error| log::warn!("a limit of the engine before: {error}"))
                .ok()
        });
        Ok(limits.collect())
    }
}

impl AsFd for KeptLimits {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
