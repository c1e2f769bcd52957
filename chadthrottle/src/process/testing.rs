//! A made-up /proc for tests.

use std::{fs, path::Path};

use super::ProcessInfo;
use crate::model::ProcessKey;

/// Writes /proc/PID below `root`.
pub fn write_process(root: &Path, pid: u32, comm: &str, ppid: u32, flags: u32, start: u64) {
    let directory = root.join(pid.to_string());
    fs::create_dir_all(&directory).unwrap();
    let stat = format!(
        "{pid} ({comm}) S {ppid} 1 1 0 -1 {flags} 0 0 0 0 0 0 0 0 20 0 1 0 {start} 0 0 {}",
        "0 ".repeat(28)
    );
    fs::write(directory.join("stat"), stat).unwrap();
    fs::write(directory.join("cgroup"), "0::/user.slice\n").unwrap();
    fs::write(directory.join("cmdline"), format!("{comm}\0-x\0")).unwrap();
}

/// Writes /proc/loadavg below `root`: how many threads there are, and the id that was given out last.
pub fn write_headcount(root: &Path, threads: u32, newest: u32) {
    let loads = format!("0.00 0.01 0.05 1/{threads} {newest}\n");
    fs::write(root.join("loadavg"), loads).unwrap();
}

/// A process of root's with that name, and nothing else known of it.
pub fn process_info(pid: u32, name: &str) -> ProcessInfo {
    ProcessInfo {
        key: ProcessKey {
            pid,
            start_ticks: 1,
        },
        parent: 0,
        name: name.into(),
        exe: "".into(),
        command: "".into(),
        uid: 0,
        user: "root".into(),
        gid: 0,
        cgroup: "".into(),
        container: "".into(),
    }
}
