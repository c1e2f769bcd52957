// SPDX-License-Identifier: MIT OR GPL-2.0-only

//! Which limit takes a process in by what it is: its name, executable, user or cgroup.
//!
//! User space finds processes by looking at /proc ten times a second; what lives for less is found
//! here, before its first packet.

use chadthrottle_common::abi::MAX_PATTERNS;

use crate::{
    maps::{KERNEL_OFFSETS, PATTERNS},
    processes::{Lot, Process},
    sys,
};

/// The latest limit that has a pattern for the running process.
///
/// Without branches but for the end: verifiers before 5.15 or so look at each way through the loop.
#[inline(always)]
pub fn matched(process: &Process) -> Lot {
    let none = Lot {
        rule: 0,
        inherit: 0,
    };
    match PATTERNS.get(0) {
        Some(first) if first.rule.get() != 0 => {}
        _ => return none,
    }
    let ([head, tail], [device, inode]) = (process.name(), executable());
    let words = [head, tail, device, inode, user(), sys::current_cgroup()];
    let mut index = 0;
    while index < MAX_PATTERNS
        && let Some(pattern) = PATTERNS.get(index)
    {
        index += 1;
        let mut different = 0;
        for ((word, mask), value) in words.iter().zip(&pattern.mask).zip(&pattern.value) {
            different |= word & mask.get() ^ value.get();
        }
        if different == 0 {
            return Lot {
                rule: pattern.rule.get(),
                inherit: pattern.inherit.get(),
            };
        }
    }
    none
}

/// Device and inode of what the running process executes; zeros where the kernel does not tell.
#[inline(always)]
fn executable() -> [u64; 2] {
    let offsets = KERNEL_OFFSETS.load();
    if offsets.super_block_device == 0 {
        return [0; 2];
    }
    let follow = |from: u64, offset: u32| sys::read_kernel::<u64>(from + u64::from(offset));
    let memory = follow(sys::current_task(), offsets.task_mm);
    let file = follow(memory, offsets.mm_exe_file);
    let inode = follow(file, offsets.file_inode);
    let super_block = follow(inode, offsets.inode_super_block);
    let device: u32 = sys::read_kernel(super_block + u64::from(offsets.super_block_device));
    [u64::from(device), follow(inode, offsets.inode_number)]
}

/// Effective id of the user of the running process; all ones where the kernel does not tell.
#[inline(always)]
fn user() -> u64 {
    let offsets = KERNEL_OFFSETS.load();
    if offsets.task_cred == 0 {
        return u64::MAX;
    }
    let credentials: u64 = sys::read_kernel(sys::current_task() + u64::from(offsets.task_cred));
    u64::from(sys::read_kernel::<u32>(
        credentials + u64::from(offsets.cred_euid),
    ))
}
