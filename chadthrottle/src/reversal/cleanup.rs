//! What earlier runs left: programs, found in the kernel rather than in our own records, and sockets that levers
//! have changed, which are put back (`remains`).

use std::{
    collections::HashSet,
    fmt, fs,
    os::fd::AsFd,
    path::{Path, PathBuf},
};

use chadthrottle_common::abi::names;

use super::{
    EngineLock, journal,
    journal::{Journal, JournalError, Record},
    remains,
    state_dir::StateDir,
};

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

/// All that earlier runs left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leftovers {
    /// Programs that were attached.
    pub programs: Vec<Leftover>,
    /// How many sockets had options that a limit had set, and have their own again; `None`: there may be some,
    /// and nothing was done.
    pub sockets: Option<usize>,
}

/// Who has the state directory, and so whose its journals are. Only the lock tells: an engine may be
/// out of sight, in another PID namespace.
#[derive(Clone, Copy, Debug)]
pub enum State<'a> {
    /// There is none, so there is no journal either.
    Missing,
    /// We have: the journals are of engines that are gone.
    Ours(&'a EngineLock),
    /// An engine that lives.
    Living(&'a StateDir),
}

/// Detaches every program named `chadthrottle_*` in the cgroup tree below `mount`, and what the
/// journal in the state directory knows beside, unless a living process holds it, or a living
/// engine has it in its journal; and puts socket options back. With `dry_run` only says which.
/// Programs of other names are never touched.
///
/// # Errors
/// Where there is a journal that cannot be read.
pub fn run(mount: &Path, state: State<'_>, dry_run: bool) -> Result<Leftovers, JournalError> {
    // The programs first: they set options of new connections.
    let programs = detach_programs(mount, state, dry_run)?;
    let sockets = match state {
        State::Ours(lock) => remains::recover(lock.directory(), dry_run),
        State::Missing | State::Living(_) => Some(0),
    };
    Ok(Leftovers { programs, sockets })
}

fn detach_programs(
    mount: &Path,
    state: State<'_>,
    dry_run: bool,
) -> Result<Vec<Leftover>, JournalError> {
    let (records, living) = match state {
        State::Missing => (Vec::new(), Vec::new()),
        State::Ours(lock) => {
            let mut records = journal::unfinished(lock.directory())?;
            // An engine that takes over has attached its own by now.
            records.retain(|record| record.engine_pid != std::process::id());
            (records, Vec::new())
        }
        State::Living(directory) => (Vec::new(), journal::unfinished(directory)?),
    };
    let mut found = attached(cgroup::tree(mount));
    // A cgroup may be out of our sight: in another mount, or moved.
    let elsewhere = records.iter().map(|record| record.cgroup.clone());
    let known: HashSet<PathBuf> = found
        .iter()
        .map(|found| found.0.path().to_owned())
        .collect();
    found.extend(attached(
        elsewhere.filter(|path| !known.contains(path)).collect(),
    ));
    if found.is_empty() {
        forget(state, &records, dry_run);
        return Ok(Vec::new());
    }
    let mut held = held_programs(Path::new("/proc"));
    held.extend(living.iter().map(|record| record.program_id));
    let leftovers: Vec<Leftover> = found
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
        .collect();
    if leftovers
        .iter()
        .all(|leftover| leftover.outcome == Outcome::Detached)
    {
        forget(state, &records, dry_run);
    }
    Ok(leftovers)
}

/// Takes off the journal what is not attached any more.
fn forget(state: State<'_>, records: &[Record], dry_run: bool) {
    let State::Ours(lock) = state else {
        return;
    };
    if records.is_empty() || dry_run {
        return;
    }
    // Should this fail, the next look finds the same records, and nothing attached.
    let result = Journal::open(lock.directory())
        .and_then(|mut journal| records.iter().try_for_each(|record| journal.gone(record)));
    if let Err(error) = result {
        log::warn!("{error}");
    }
}

/// Every attachment of a program of ours, whoever made it.
fn attached(cgroups: Vec<PathBuf>) -> Vec<(AttachPoint, AttachType, ProgramInfo)> {
    let mut found = Vec::new();
    for path in cgroups {
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
                run_count: 0,
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
