//! Giving memory back.

use std::{collections::HashMap, ptr::NonNull};

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

/// Whether a mapping of a file has no page that differs from the file, by what /proc/self/smaps
/// counts of it: neither in memory, nor in the swap, where it is anonymous no more.
fn is_unchanged(counts: &HashMap<String, u64>) -> bool {
    counts.get("Anonymous") == Some(&0) && counts.get("Swap").is_none_or(|bytes| *bytes == 0)
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
        let unchanged = is_unchanged(&map.extension.map);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_page_in_the_swap_is_a_changed_page() {
        let counts = |pairs: &[(&str, u64)]| {
            let counts = pairs
                .iter()
                .map(|(name, bytes)| ((*name).to_owned(), *bytes));
            is_unchanged(&counts.collect())
        };
        assert!(counts(&[("Anonymous", 0), ("Swap", 0)]));
        assert!(counts(&[("Anonymous", 0)]), "a kernel without swap");
        assert!(!counts(&[("Anonymous", 4_096), ("Swap", 0)]));
        assert!(!counts(&[("Anonymous", 0), ("Swap", 4_096)]));
        assert!(!counts(&[]));
    }
}
