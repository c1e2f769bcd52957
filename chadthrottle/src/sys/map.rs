//! Values of maps: arrays mapped into our address space, read and written without system calls, and what is
//! copied out of and into other maps.

use std::{mem::offset_of, num::NonZeroUsize, ops::Deref, os::fd::AsFd, ptr::NonNull};

use chadthrottle_common::{
    abi::{ProcessSlot, Rule, Totals},
    ownership::{Heir, Note, Owner, Pattern, RuleId},
    sys::Shared,
};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

use super::SyscallError;

/// What may be mapped. Only this file says what may: elsewhere the crate denies `unsafe`.
///
/// # Safety
/// Every bit pattern must be valid, and every field must be a word that is atomic, since the
/// kernel changes it meanwhile.
pub unsafe trait Mapped {}

// SAFETY: `repr(C)` structs of nothing but `Shared`.
unsafe impl Mapped for ProcessSlot {}
// SAFETY: `repr(C)` structs of nothing but `Shared`.
unsafe impl Mapped for Rule {}
// SAFETY: as above.
unsafe impl Mapped for Pattern {}
// SAFETY: an atomic word.
unsafe impl Mapped for Shared {}

/// What may be copied out of and into a map. Only this file says what may: elsewhere the crate denies
/// `unsafe`.
///
/// # Safety
/// Every bit pattern must be valid, and there must be no padding.
pub unsafe trait Copied: Copy + 'static {}

// SAFETY: a `repr(C)` struct of two words of 32 bits.
unsafe impl Copied for Owner {}
// SAFETY: a `repr(C)` struct of three words of 64 bits.
unsafe impl Copied for Heir {}
// SAFETY: a `repr(C)` struct of nothing but words of 64 bits, also in the structs in it.
unsafe impl Copied for Totals {}
// SAFETY: as above.
unsafe impl Copied for NoteCopy {}

/// A value as aya copies it.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Value<T>(pub T);

// SAFETY: the same as what it is made of, of which `Copied` promises what aya asks.
unsafe impl<T: Copied> aya::Pod for Value<T> {}

/// A [`Note`] as it is copied: nobody else sees the copy, so its words are plain.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoteCopy {
    owner: u64,
    rule: u64,
    unused: UnusedCopy,
    unused_loopback: UnusedCopy,
    hushed_ns: u64,
}

/// The same of [`chadthrottle_common::ownership::Unused`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct UnusedCopy {
    down: u64,
    up: u64,
}

const _: () = {
    assert!(size_of::<NoteCopy>() == size_of::<Note>());
    assert!(offset_of!(NoteCopy, owner) == offset_of!(Note, owner));
    assert!(offset_of!(NoteCopy, rule) == offset_of!(Note, rule));
};

impl NoteCopy {
    /// A note of who owns a socket and which limit that one is under, with nothing unused.
    pub fn of(owner: Owner, rule: RuleId) -> Self {
        Self {
            owner: owner.word(),
            rule: rule.word(),
            ..Self::default()
        }
    }

    /// Who owns the socket.
    pub fn owner(&self) -> Owner {
        Owner::from_word(self.owner)
    }
}

/// A `BPF_F_MMAPABLE` array (kernel 5.5), as a slice.
#[derive(Debug)]
pub struct MappedArray<T> {
    start: NonNull<T>,
    len: usize,
}

// SAFETY: all access is through `&T`, and `T` is atomic words.
unsafe impl<T: Sync> Send for MappedArray<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for MappedArray<T> {}

impl<T: Mapped> MappedArray<T> {
    /// Maps the first `len` values of a map.
    ///
    /// # Errors
    /// Where the kernel refuses, as it does where the map has fewer bytes.
    pub fn of(map: impl AsFd, len: u32) -> Result<Self, SyscallError> {
        let failed = |errno: nix::Error| SyscallError {
            call: "mmap of a BPF array",
            source: errno.into(),
        };
        let len = len as usize;
        let bytes =
            NonZeroUsize::new(len * size_of::<T>()).ok_or_else(|| failed(nix::Error::EINVAL))?;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new shared mapping at an address of the kernel's choice; the kernel refuses
        // more bytes than the map has (`array_map_mmap`).
        let start = unsafe { mmap(None, bytes, protection, MapFlags::MAP_SHARED, map, 0) }
            .map_err(failed)?;
        Ok(Self {
            start: start.cast(),
            len,
        })
    }
}

impl<T> Deref for MappedArray<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: the mapping has `len` values, stays until drop, and `T` is atomic words of which
        // every bit pattern is valid.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl<T> Drop for MappedArray<T> {
    fn drop(&mut self) {
        // SAFETY: our own mapping, with the length it was made with, and no borrow is left.
        if let Err(error) = unsafe { munmap(self.start.cast(), self.len * size_of::<T>()) } {
            log::warn!("munmap of a BPF array: {error}");
        }
    }
}
