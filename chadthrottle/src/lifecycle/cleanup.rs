//! What earlier runs left attached: found in the kernel, not in our own records.

use std::{
    collections::HashSet,
    fmt, fs,
    os::fd::AsFd,
    path::{Path, PathBuf},
};

use chadthrottle_common::abi::names;

use crate::{
    backends::throttle::{
        cgroup,
        linux_ebpf_utils::{AttachPoint, detach_legacy},
    },
    sys::bpf::{self, AttachType, ProgramInfo},
};

/// A program of ours, attached by nobody who is alive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// The cgroup that it is attached to.
    pub cgroup: PathBuf,
    /// Where in the cgroup.
    pub place: AttachType,
    /// The program.
    pub program: ProgramInfo,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a leftover.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is detached.
    Detached,
    /// It would have been, but was only to be shown.
    Shown,
    /// It could not be, and why.
    Failed(String),
}

impl fmt::Display for Leftover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            cgroup,
            place,
            program,
            outcome,
        } = self;
        let name = crate::text::escape(&program.name);
        match outcome {
            Outcome::Detached => f.write_str("detached ")?,
            Outcome::Shown => f.write_str("would detach ")?,
            Outcome::Failed(_) => f.write_str("could not detach ")?,
        }
        write!(
            f,
            "{name} (program {}, tag {}) ",
            program.id,
            program.tag_hex()
        )?;
        write!(f, "from {} ({place})", cgroup.display())?;
        match outcome {
            Outcome::Failed(reason) => write!(f, ": {reason}"),
            Outcome::Detached | Outcome::Shown => Ok(()),
        }
    }
}

/// Detaches every program named `chadthrottle_*` in the cgroup tree below `mount` that no living
/// process holds; with `dry_run` only says which. Programs of other names are never touched.
pub fn run(mount: &Path, dry_run: bool) -> Vec<Leftover> {
    let found = attached(mount);
    if found.is_empty() {
        return Vec::new();
    }
    let held = held_programs(Path::new("/proc"));
    found
        .into_iter()
        .filter(|(_, _, program)| !held.contains(&program.id))
        .map(|(point, place, program)| {
            let outcome = if dry_run {
                Outcome::Shown
            } else {
                detach(&point, place, &program)
            };
            Leftover {
                cgroup: point.path().to_owned(),
                place,
                program,
                outcome,
            }
        })
        .collect()
}

/// Every attachment of a program of ours, whoever made it.
fn attached(mount: &Path) -> Vec<(AttachPoint, AttachType, ProgramInfo)> {
    let mut found = Vec::new();
    for path in cgroup::tree(mount) {
        // A cgroup that vanishes meanwhile takes its programs with it.
        let Ok(point) = AttachPoint::open(&path) else {
            continue;
        };
        for place in AttachType::ALL {
            let Ok(attached) = bpf::prog_query(point.as_fd(), place) else {
                continue;
            };
            let ours = attached
                .programs
                .into_iter()
                .filter_map(|id| bpf::prog_info(bpf::prog_by_id(id).ok()?.as_fd()).ok())
                .filter(|program| program.name.starts_with(names::PREFIX));
            found.extend(ours.map(|program| (point.clone(), place, program)));
        }
    }
    found
}

fn detach(point: &AttachPoint, place: AttachType, program: &ProgramInfo) -> Outcome {
    let result = bpf::prog_by_id(program.id)
        .map_err(|error| error.to_string())
        .and_then(|fd| {
            detach_legacy(&fd, program, point, place).map_err(|error| error.to_string())
        });
    match result {
        Ok(()) => Outcome::Detached,
        Err(reason) => Outcome::Failed(reason),
    }
}

/// The programs that some living process has open: an engine holds its own as long as it lives.
fn held_programs(proc_root: &Path) -> HashSet<u32> {
    let mut held = HashSet::new();
    let Ok(processes) = fs::read_dir(proc_root) else {
        return held;
    };
    for process in processes.flatten() {
        let is_process = process
            .file_name()
            .to_string_lossy()
            .bytes()
            .all(|b| b.is_ascii_digit());
        let Ok(descriptors) = fs::read_dir(process.path().join("fd")) else {
            continue;
        };
        for descriptor in descriptors.flatten().filter(|_| is_process) {
            let is_program = fs::read_link(descriptor.path())
                .is_ok_and(|target| target.as_os_str() == "anon_inode:bpf-prog");
            if is_program {
                let info = process.path().join("fdinfo").join(descriptor.file_name());
                held.extend(
                    fs::read_to_string(info)
                        .ok()
                        .as_deref()
                        .and_then(program_id),
                );
            }
        }
    }
    held
}

/// The id in the fdinfo of a program (`bpf_prog_show_fdinfo`).
fn program_id(fdinfo: &str) -> Option<u32> {
    fdinfo
        .lines()
        .find_map(|line| line.strip_prefix("prog_id:"))
        .and_then(|id| id.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_is_read_from_fdinfo() {
        let fdinfo = "pos:\t0\nflags:\t02000002\nprog_type:\t8\nprog_jited:\t1\n\
                      prog_tag:\t9bc1f6acb4c84807\nmemlock:\t4096\nprog_id:\t107\n";
        assert_eq!(program_id(fdinfo), Some(107));
        assert_eq!(program_id("map_id:\t107\n"), None);
    }

    #[test]
    fn a_leftover_is_described_without_its_escape_sequences() {
        let leftover = Leftover {
            cgroup: "/sys/fs/cgroup".into(),
            place: AttachType::Egress,
            program: ProgramInfo {
                id: 7,
                tag: [0xab; 8],
                name: "chadthrottle_\u{1b}c".into(),
            },
            outcome: Outcome::Failed("no".into()),
        };
        assert_eq!(
            leftover.to_string(),
            "could not detach chadthrottle_\\u{1b}c (program 7, tag abababababababab) \
             from /sys/fs/cgroup (cgroup_inet_egress): no"
        );
    }
}
