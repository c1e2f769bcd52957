//! Giving memory back.

use std::ptr::NonNull;

use nix::sys::mman::{MmapAdvise, madvise};
use procfs::process::{MMPermissions, MMapPath, Process};

/// Gives the heap's free pages back to the system: what was needed for a moment only, as the
/// kernel's type information is, else stays with us for good.
pub fn release_free_heap() {
    // Other C libraries do it by themselves, or cannot.
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes no pointers and touches only pages that are free.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Lets go of the pages of programs and libraries that are mapped into this process and have
/// never been changed; the kernel reads back those that are needed again. For a process that is
/// to wait for long, nearly all of them.
pub fn release_clean_file_pages() {
    // Where our own mappings cannot be read, we stay as large as we are.
    let Ok(maps) = Process::myself().and_then(|process| process.smaps()) else {
        return;
    };
    for map in maps {
        let unchanged = map
            .extension
            .map
            .get("Anonymous")
            .is_some_and(|bytes| *bytes == 0);
        let private = map.perms.contains(MMPermissions::PRIVATE);
        let read_only = !map.perms.contains(MMPermissions::WRITE);
        if !(matches!(map.pathname, MMapPath::Path(_)) && unchanged && private && read_only) {
            continue;
        }
        let (start, end) = map.address;
        let Some(address) = NonNull::new(start as *mut _) else {
            continue;
        };
        // SAFETY: a private mapping of a file that nobody can write to through it and none of
        // whose pages differs from the file: what is read later is what is there now.
        let _ = unsafe { madvise(address, (end - start) as usize, MmapAdvise::MADV_DONTNEED) };
    }
}
