//! Where this runs: the kernel programs know processes by the ids of the first PID namespace, and by when they started.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

use crate::backends::throttle::ThrottleError;

/// Inode of the first PID namespace (`PROC_PID_INIT_INO`, include/linux/proc_ns.h).
const FIRST: u64 = 0xEFFF_FFFC;

/// Whether the kernel programs know processes by the ids that /proc shows here.
///
/// # Errors
/// [`ThrottleError::PidNamespace`] where they do not.
pub fn check() -> Result<(), ThrottleError> {
    check_in(Path::new("/proc"), std::process::id())
}

fn check_in(root: &Path, pid: u32) -> Result<(), ThrottleError> {
    let refused = |reason| Err(ThrottleError::PidNamespace(reason));
    let shown = fs::read_link(root.join("self")).ok();
    if shown.is_none_or(|shown| shown != Path::new(&pid.to_string())) {
        return refused("the /proc that is mounted here is that of another PID namespace");
    }
    // Without PID namespaces in the kernel there is no such file, and nothing to look at.
    match fs::metadata(root.join("self/ns/pid")) {
        Ok(namespace) if namespace.ino() != FIRST => {
            refused("this runs in a PID namespace of its own, as in a container")
        }
        _ => Ok(()),
    }?;
    // The times at which processes have started, as /proc has them, are shifted there
    // (`timens_add_boottime_ns` in fs/proc/array.c).
    let offsets = fs::read_to_string(root.join("self/timens_offsets")).unwrap_or_default();
    let boot = offsets
        .lines()
        .find_map(|line| line.strip_prefix("boottime"));
    match boot {
        Some(boot) if boot.split_whitespace().any(|part| part != "0") => {
            refused("this runs in a time namespace of its own")
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_pid_namespace_and_the_proc_of_another_are_told_apart_from_the_first() {
        let root = tempfile::tempdir().unwrap();
        let check = || check_in(root.path(), 7);
        assert!(check().is_err(), "no such process is shown");
        fs::create_dir_all(root.path().join("7/ns")).unwrap();
        std::os::unix::fs::symlink("7", root.path().join("self")).unwrap();
        check().unwrap();
        assert!(check_in(root.path(), 8).is_err());
        for (boot, is_shifted) in [("0         0", false), ("10000         0", true)] {
            let offsets = format!("monotonic           7         0\nboottime   {boot}\n");
            fs::write(root.path().join("7/timens_offsets"), offsets).unwrap();
            assert_eq!(check().is_err(), is_shifted, "{boot}");
        }
        fs::remove_file(root.path().join("7/timens_offsets")).unwrap();
        fs::write(root.path().join("7/ns/pid"), "").unwrap();
        let error = check().unwrap_err();
        assert_eq!(error.exit_code(), 4);
        assert!(error.to_string().contains("on the host"), "{error}");
    }
}
