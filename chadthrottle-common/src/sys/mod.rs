//! A word that the kernel programs and user space share, and how each side reads and moves it.

use core::sync::atomic::AtomicU64;
#[cfg(not(target_arch = "bpf"))]
use core::sync::atomic::Ordering::Relaxed;

/// A 64-bit word that kernel programs and user space share.
///
/// Loads and stores are single instructions. There is no read-modify-write with a result: 5.10
/// has none for BPF.
#[repr(transparent)]
#[derive(Debug, Default)]
pub struct Shared(AtomicU64);

impl Shared {
    /// A word of that value.
    pub const fn new(value: u64) -> Self {
        Self(AtomicU64::new(value))
    }
}

#[cfg(not(target_arch = "bpf"))]
impl Shared {
    /// The present value.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// The present value of a counter that bytes are taken from, too, when they turn out to be
    /// somebody else's: a packet in that very moment may leave it below 0.
    pub fn count(&self) -> u64 {
        i64::try_from(self.get()).map_or(0, i64::cast_unsigned)
    }

    /// Replaces the value.
    pub fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    /// Adds to the value, wrapping.
    pub fn add(&self, value: u64) {
        self.0.fetch_add(value, Relaxed);
    }
}

/// Written out, since LLVM selects no instruction for an atomic load before BPF v4, Rust's BPF
/// target has no `fetch_add`, and LLVM might choose its fetching form, which kernels before 5.12
/// refuse (and whose relaxed form LLVM 22 miscompiles, LLVM issue 210280).
#[cfg(target_arch = "bpf")]
impl Shared {
    /// The present value.
    #[inline(always)]
    pub fn get(&self) -> u64 {
        // SAFETY: valid as long as `self`; an aligned 64-bit load is one instruction.
        unsafe { self.0.as_ptr().read_volatile() }
    }

    /// Replaces the value.
    #[inline(always)]
    pub fn set(&self, value: u64) {
        // SAFETY: valid as long as `self`; an aligned 64-bit store is one instruction.
        unsafe { self.0.as_ptr().write_volatile(value) }
    }

    /// Adds to the value, wrapping.
    #[inline(always)]
    pub fn add(&self, value: u64) {
        // SAFETY: the word is aligned and lives as long as `self`; the instruction is `BPF_XADD`.
        unsafe {
            core::arch::asm!(
                "lock *(u64 *)({word} + 0) += {value}",
                word = in(reg) self.0.as_ptr(),
                value = in(reg) value,
                options(nostack),
            );
        }
    }
}
