//! A made-up /proc for tests.

use std::{fs, path::Path};

use super::ProcessInfo;
use crate::model::ProcessKey;

const STATUS: &str = "Name:\tx\nUmask:\t0022\nState:\tS (sleeping)\nTgid:\t5\nNgid:\t0\n\
    Pid:\t5\nPPid:\t1\nTracerPid:\t0\nUid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\nFDSize:\t64\n\
    Groups:\t0 \nThreads:\t1\nSigQ:\t0/1\nSigPnd:\t0000000000000000\n\
    ShdPnd:\t0000000000000000\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n\
    SigCgt:\t0000000000000000\nCapInh:\t0000000000000000\nCapPrm:\t0000000000000000\n\
    CapEff:\t0000000000000000\n";

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
    fs::write(directory.join("status"), STATUS).unwrap();
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
