//! Throttle backends: one a direction, over programs attached to a cgroup.
//!
//! Architecture invariant: the direction-specific files say only which program, which place and
//! which counters; loading, attaching and detaching is `linux_ebpf_utils` for both.

pub mod below;
pub mod cgroup;
pub mod doubts;
pub mod download;
pub mod kernel_offsets;
pub mod linux_ebpf_utils;
pub mod manager;
pub mod maps;
pub mod passes;
pub mod resets;
mod self_test;
pub mod upload;

use std::{io, path::PathBuf};

use aya::{EbpfError, maps::MapError, programs::ProgramError};
use chadthrottle_common::abi::{Meter, ProcessSlot};
use std::fmt;

use clap::{ValueEnum, builder::PossibleValue};
use linux_ebpf_utils::Attachment;

use crate::sys::{SyscallError, bpf::AttachType};

/// How programs are attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum AttachMode {
    /// A link, and legacy where that fails.
    #[default]
    Auto,
    /// A link or nothing.
    Link,
    /// BPF_PROG_ATTACH, as on kernels before 5.7.
    Legacy,
}

impl fmt::Display for AttachMode {
    /// As it is typed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.to_possible_value();
        f.write_str(name.as_ref().map_or("auto", PossibleValue::get_name))
    }
}

/// One direction: a program that counts and polices.
pub trait ThrottleBackend {
    /// The direction's counters and rule of a process.
    fn meter(slot: &ProcessSlot) -> &Meter;
    /// How the program is attached.
    fn attachment(&self) -> &Attachment;
    /// The same, to detach it.
    fn attachment_mut(&mut self) -> &mut Attachment;
}

/// What can go wrong between us and the kernel.
#[derive(Debug, thiserror::Error)]
pub enum ThrottleError {
    /// Nowhere to attach.
    #[error("no cgroup2 file system is mounted, and the programs attach to its root: {0}")]
    NoCgroup2(NoCgroup2),
    /// The mount table cannot be read.
    #[error("reading /proc/self/mountinfo: {0}")]
    MountInfo(#[source] procfs::ProcError),
    /// `--cgroup` names something else.
    #[error("{path} is not a directory of the cgroup2 file system: {reason}")]
    NotACgroup {
        /// What was named.
        path: PathBuf,
        /// What it is instead.
        reason: String,
    },
    /// Capabilities are missing.
    #[error(
        "not enough privilege: run it with sudo ({} missing). Where root keeps an engine running, as the service does, \
         nobody needs that: it serves users for their own processes, and members of the group chadthrottle for all \
         (sudo usermod -aG chadthrottle NAME, and log in again)",
        .0.join(", ")
    )]
    Privilege(Vec<&'static str>),
    /// The ids of processes that are seen here are not those that programs see.
    #[error(
        "{0}: the kernel programs know processes by other ids or times than are seen here, so that limits \
         would hold for nobody. Run it on the host, or in a container that shares the host's \
         processes (--pid=host)"
    )]
    PidNamespace(&'static str),
    /// A limit of open files was reached on the way.
    #[error("loading and attaching the BPF programs: {0}")]
    OutOfFiles(&'static str),
    /// The object was refused: no BPF, no memory, a map type this kernel does not know.
    #[error("this kernel does not take the BPF maps: {0}")]
    Object(#[source] Box<EbpfError>),
    /// A program was refused.
    #[error("this kernel does not take the BPF program {program}: {source}")]
    Load {
        /// Its name.
        program: &'static str,
        /// What the verifier or the kernel said.
        source: Box<ProgramError>,
    },
    /// A program could not be attached to its tracepoint.
    #[error("this kernel does not let the BPF program {program} trace: {source}")]
    Trace {
        /// Its name.
        program: &'static str,
        /// What the kernel said.
        source: SyscallError,
    },
    /// The kernel does not describe a program of ours.
    #[error("asking the kernel about {program}: {source}")]
    ProgramInfo {
        /// Its name.
        program: &'static str,
        /// What the kernel said.
        source: SyscallError,
    },
    /// The loaded policer is not the one we know.
    #[error("the policer does not work as it should on this kernel, so nothing was attached: {0}")]
    SelfTest(String),
    /// The object lacks something, which a test of ours should have seen.
    #[error("the embedded BPF object has no {0}")]
    Missing(&'static str),
    /// A map was refused an operation.
    #[error("BPF map {map}: {source}")]
    Map {
        /// Its name.
        map: &'static str,
        /// What the kernel said.
        source: MapError,
    },
    /// A map could not be mapped.
    #[error("BPF map {map}: {source}")]
    Mapping {
        /// Its name.
        map: &'static str,
        /// What the kernel said.
        source: SyscallError,
    },
    /// No record of a legacy attachment could be made, so it was not made either.
    #[error("{program} was not attached, since no record of it could be made: {reason}")]
    NoRecord {
        /// The program's name.
        program: String,
        /// What failed.
        reason: String,
    },
    /// Neither way of attaching worked.
    #[error("{program} could not be attached to {cgroup} ({place}): {}", causes.join("; "))]
    Attach {
        /// The program's name.
        program: &'static str,
        /// The cgroup's path.
        cgroup: PathBuf,
        /// Where in the cgroup.
        place: AttachType,
        /// What each way said.
        causes: Vec<String>,
    },
    /// Another program holds the place for itself.
    #[error(
        "{program} could not be attached to {cgroup} ({place}): program {id} ('{name}') holds it \
         exclusively, without BPF_F_ALLOW_MULTI. It has been left alone; stop the tool that it \
         belongs to, or attach below it with --cgroup"
    )]
    Exclusive {
        /// Our program's name.
        program: &'static str,
        /// The cgroup's path.
        cgroup: PathBuf,
        /// Where in the cgroup.
        place: AttachType,
        /// The other program's id.
        id: u32,
        /// The other program's name.
        name: String,
    },
    /// A program could not be detached.
    #[error("program {id} could not be detached from {cgroup} ({place}): {source}")]
    Detach {
        /// Its id.
        id: u32,
        /// The cgroup's path.
        cgroup: PathBuf,
        /// Where in the cgroup.
        place: AttachType,
        /// What the kernel said.
        source: SyscallError,
    },
    /// There is no legacy attachment of the program, and the kernel still lists it.
    #[error("program {id} is still attached to {cgroup} ({place}): a link holds it")]
    StillAttached {
        /// Its id.
        id: u32,
        /// The cgroup's path.
        cgroup: PathBuf,
        /// Where in the cgroup.
        place: AttachType,
    },
}

/// Why no cgroup2 is seen, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum NoCgroup2 {
    /// There is none.
    #[error("mount one with 'mount -t cgroup2 none /sys/fs/cgroup/unified'")]
    NotMounted,
    /// We are in the network namespace of that name, as ip(8) enters one.
    #[error(
        "'ip netns exec' puts another /sys in its place, without it; \
         'nsenter --net=/run/netns/{0} chadthrottle …' enters the same network namespace and keeps /sys"
    )]
    HiddenByIp(String),
}

impl ThrottleError {
    /// The exit code of the contract.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NotACgroup { .. } => 2,
            Self::Privilege(_) => 3,
            Self::OutOfFiles(_)
            | Self::NoRecord { .. }
            | Self::Detach { .. }
            | Self::StillAttached { .. } => 1,
            Self::NoCgroup2(_)
            | Self::MountInfo(_)
            | Self::PidNamespace(_)
            | Self::Object(_)
            | Self::Load { .. }
            | Self::Trace { .. }
            | Self::ProgramInfo { .. }
            | Self::SelfTest(_)
            | Self::Missing(_)
            | Self::Map { .. }
            | Self::Mapping { .. }
            | Self::Attach { .. }
            | Self::Exclusive { .. } => 4,
        }
    }

    /// Why `path` is no cgroup: an input or output error.
    fn not_a_cgroup(path: impl Into<PathBuf>, error: &io::Error) -> Self {
        Self::NotACgroup {
            path: path.into(),
            reason: error.to_string(),
        }
    }
}
