//! What a process has started, and what that has started, as long as it lives.

use std::{fs, path::Path};

use super::threads;

/// The process's own children, also those that have ended and that nobody has waited for. `root` is
/// `/proc` but in tests. None where the kernel does not tell (`CONFIG_PROC_CHILDREN`).
pub fn children(root: &Path, pid: u32) -> Vec<u32> {
    let mut children: Vec<u32> = threads(root, pid)
        .filter_map(|thread| fs::read_to_string(thread.join("children")).ok())
        .flat_map(|text| parse(&text))
        .collect();
    children.sort_unstable();
    children.dedup();
    children
}

/// The processes named, and all below them.
pub fn with_offspring(root: &Path, mut pids: Vec<u32>) -> Vec<u32> {
    let mut next = 0;
    while let Some(pid) = pids.get(next) {
        let more = children(root, *pid);
        // Ids can be used again while this goes on: none is looked at twice.
        let new = more.into_iter().filter(|pid| !pids.contains(pid));
        pids.extend(new.collect::<Vec<_>>());
        next += 1;
    }
    pids
}

fn parse(text: &str) -> Vec<u32> {
    text.split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_of_all_threads_and_theirs() {
        let root = tempfile::tempdir().unwrap();
        for (thread, children) in [
            ("1/task/1", "2 3 "),
            ("1/task/9", "4"),
            ("3/task/3", "5\n"),
            ("5/task/5", "1"),
        ] {
            let thread = root.path().join(thread);
            fs::create_dir_all(&thread).unwrap();
            fs::write(thread.join("children"), children).unwrap();
        }
        assert_eq!(children(root.path(), 1), [2, 3, 4]);
        assert_eq!(children(root.path(), 7), [0; 0]);
        assert_eq!(with_offspring(root.path(), vec![3, 4]), [3, 4, 5, 1, 2]);
    }
}
