//! Array maps mapped into our address space, read and written without system calls.

use std::{num::NonZeroUsize, ops::Deref, os::fd::AsFd, ptr::NonNull};

use chadthrottle_common::{
    abi::{ProcessSlot, Rule},
    ownership::Pattern,
    sys::Shared,
};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

use super::SyscallError;

/// What may be mapped.
///
/// # Safety
/// Every bit pattern must be valid, and every field must be a word that is atomic, since the
/// kernel changes it meanwhile.
unsafe trait MapValue {}

// SAFETY: `repr(C)` structs of nothing but `Shared`.
unsafe impl MapValue for ProcessSlot {}
// SAFETY: `repr(C)` structs of nothing but `Shared`.
unsafe impl MapValue for Rule {}
// SAFETY: as above.
unsafe impl MapValue for Pattern {}
// SAFETY: an atomic word.
unsafe impl MapValue for Shared {}

/// Whether levers may be set: 1, or 0.
#[repr(transparent)]
#[derive(Debug)]
pub struct LeversWord(pub Shared);

// SAFETY: a `Shared`.
unsafe impl MapValue for LeversWord {}

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

impl MappedArray<ProcessSlot> {
    /// Maps the slots, `len` of them.
    pub fn slots(map: impl AsFd, len: u32) -> Result<Self, SyscallError> {
        Self::new(map, len)
    }
}

impl MappedArray<Rule> {
    /// Maps the rules, `len` of them.
    pub fn rules(map: impl AsFd, len: u32) -> Result<Self, SyscallError> {
        Self::new(map, len)
    }
}

impl MappedArray<LeversWord> {
    /// Maps the word that says whether levers may be set.
    pub fn levers(map: impl AsFd) -> Result<Self, SyscallError> {
        Self::new(map, 1)
    }
}

impl MappedArray<Pattern> {
    /// Maps the patterns, `len` of them.
    pub fn patterns(map: impl AsFd, len: u32) -> Result<Self, SyscallError> {
        Self::new(map, len)
    }
}

impl MappedArray<Shared> {
    /// Maps the counts of slots in use, `len` of them.
    pub fn shares(map: impl AsFd, len: u32) -> Result<Self, SyscallError> {
        Self::new(map, len)
    }
}

#[expect(
    private_bounds,
    reason = "which types may be mapped is decided in this file"
)]
impl<T: MapValue> MappedArray<T> {
    fn new(map: impl AsFd, len: u32) -> Result<Self, SyscallError> {
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
