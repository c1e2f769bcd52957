//! Which processes a cgroup has, asked of the cgroup: /proc tells of a move only to who looks at
//! every process. And where cgroups are mounted.

use std::{fs, path::Path};

use super::proc_file;

/// Where cgroup hierarchies are mounted, of both versions.
pub fn mounts() -> Vec<String> {
    proc_file::mounts()
        .into_iter()
        .flatten()
        .filter(|mount| mount.fs_type.starts_with("cgroup"))
        .map(|mount| mount.mount_point.to_string_lossy().into_owned())
        .collect()
}

/// The cgroup of process `pid` in version 2, read from `root`; `None` where it is gone.
pub fn cgroup_of(root: &Path, pid: u32) -> Option<String> {
    let text = proc_file::text(&root.join(pid.to_string()).join("cgroup")).ok()?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
    Some(path.to_owned())
}

/// Ids of the processes in the cgroup at `directory` and in those below it; none where it is gone.
pub fn processes_in(directory: &Path) -> Vec<u32> {
    let mut pids = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        let listed = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
        // A process of a PID namespace that is not below ours is listed as 0.
        pids.extend(
            listed
                .lines()
                .filter_map(|line| line.parse().ok().filter(|pid: &u32| *pid > 0)),
        );
        let entries = fs::read_dir(&directory).into_iter().flatten().flatten();
        directories.extend(
            entries
                .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
                .map(|entry| entry.path()),
        );
    }
    pids
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cgroup_and_those_below_it_are_read_and_a_missing_one_has_none() {
        let root = tempfile::tempdir().unwrap();
        let below = root.path().join("a/b");
        fs::create_dir_all(&below).unwrap();
        fs::write(root.path().join("cgroup.procs"), "1\n0\n22\n").unwrap();
        fs::write(below.join("cgroup.procs"), "333\n").unwrap();
        let mut pids = processes_in(root.path());
        pids.sort_unstable();
        assert_eq!(pids, [1, 22, 333]);
        fs::create_dir(root.path().join("5")).unwrap();
        fs::write(root.path().join("5/cgroup"), "4:cpu:/x\n0::/../a:b\n").unwrap();
        assert_eq!(cgroup_of(root.path(), 5).as_deref(), Some("/../a:b"));
        assert_eq!(cgroup_of(root.path(), 6), None);
        assert_eq!(processes_in(&root.path().join("c")), [0u32; 0]);
    }
}
