//! Which limit takes a process in by what it is: its name, executable, user or cgroup.
//!
//! User space finds processes by looking at /proc ten times a second; what lives for less is found
//! here, before its first packet.

use chadthrottle_common::{abi::MAX_PATTERNS, ownership::Pattern};

use crate::{
    maps::{KERNEL_OFFSETS, PATTERNS},
    processes::{Lot, Process},
    sys,
};

/// The latest limit that has a pattern for the running process.
#[inline(always)]
pub fn matched(process: &Process) -> Lot {
    let mut lot = Lot {
        rule: 0,
        inherit: 0,
    };
    let Some(first) = PATTERNS.get(0) else {
        return lot;
    };
    if first.kind.get() == 0 {
        return lot;
    }
    let (name, executable) = (process.name(), executable());
    let (user, cgroup) = (user(), sys::current_cgroup());
    let mut index = 0;
    while index < MAX_PATTERNS {
        let Some(pattern) = PATTERNS.get(index) else {
            return lot;
        };
        index += 1;
        let [first, second] = match pattern.kind.get() {
            0 => return lot,
            Pattern::NAME => name,
            Pattern::EXE => executable,
            Pattern::USER => [user, 0],
            _ => [cgroup, 0],
        };
        if first & pattern.mask[0].get() == pattern.value[0].get()
            && second & pattern.mask[1].get() == pattern.value[1].get()
        {
            lot = Lot {
                rule: pattern.rule.get(),
                inherit: pattern.inherit.get(),
            };
            return lot;
        }
    }
    lot
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
