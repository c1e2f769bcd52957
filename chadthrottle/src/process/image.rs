//! What a process runs: its executable and its command line.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use super::threads;

/// A file of process `pid`. What belongs to the process is read of a thread where its first one has
/// ended, and has nothing any more.
fn files<'a>(root: &'a Path, pid: u32, name: &'a str) -> impl Iterator<Item = PathBuf> + 'a {
    /// Of thousands, those that are looked at.
    const THREADS: usize = 4;
    let first = root.join(pid.to_string()).join(name);
    // Listed only where the first one has nothing.
    let threads = std::iter::once_with(move || threads(root, pid)).flatten();
    std::iter::once(first).chain(threads.take(THREADS).map(move |thread| thread.join(name)))
}

/// Path of the executable, as it was when it was started; empty where it cannot be read.
pub fn executable(root: &Path, pid: u32) -> String {
    /// What the kernel puts behind the name of a file that was removed, or replaced as by an
    /// upgrade.
    const DELETED: &str = " (deleted)";
    let path = files(root, pid, "exe").find_map(|path| fs::read_link(path).ok());
    let path = path.unwrap_or_default();
    let path = path.to_string_lossy();
    path.strip_suffix(DELETED).unwrap_or(&path).to_owned()
}

/// The command line, which the process may have overwritten with anything; empty where it cannot be
/// read. Waits while the process hangs in the kernel with its address space locked.
pub fn command(root: &Path, pid: u32) -> String {
    let read = |path: PathBuf| {
        let mut bytes = Vec::new();
        // Half a line is better than none.
        let _ = fs::File::open(path)
            .ok()?
            .take(MAX_COMMAND)
            .read_to_end(&mut bytes);
        Some(bytes).filter(|bytes| !bytes.is_empty())
    };
    let bytes = files(root, pid, "cmdline")
        .find_map(read)
        .unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    text.trim_end_matches('\0').replace('\0', " ")
}

/// Longest command line that is kept, in bytes: some are megabytes.
const MAX_COMMAND: u64 = 1_024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::testing::write_process;

    #[test]
    fn an_executable_that_was_replaced_keeps_its_name() {
        let root = tempfile::tempdir().unwrap();
        for (pid, exe, name) in [
            (5, "/usr/bin/nginx (deleted)", "/usr/bin/nginx"),
            (6, "/usr/bin/wget", "/usr/bin/wget"),
        ] {
            write_process(root.path(), pid, "x", 1, 0, 100);
            let link = root.path().join(format!("{pid}/exe"));
            std::os::unix::fs::symlink(exe, link).unwrap();
            assert_eq!(executable(root.path(), pid), name);
        }
        assert_eq!(executable(root.path(), 7), "");
    }
}
