//! What the doctor itself finds wrong; all else is the error of what it has tried.

use super::probe::Runs;

/// What keeps limits from working, though nothing has failed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The programs did not see what was sent.
    #[error(
        "the programs are attached, but of {packets} packets they saw {} arrive and {} leave. {why}",
        counted.ingress,
        counted.egress
    )]
    Unseen {
        /// How many were sent.
        packets: u64,
        /// How many they saw.
        counted: Runs,
        /// The likely cause.
        why: Why,
    },
    /// So many processes are kept from the programs by a cgroup namespace.
    #[error(
        "limits will work for processes in this container, but {0} that /proc shows are outside of the cgroup namespace \
         that this runs in, and cannot be limited. Run it on the host"
    )]
    CutOff(usize),
}

/// Why programs see nothing of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// They are attached elsewhere.
    #[error(
        "This process is not in the cgroup given with --cgroup, whose programs see only the sockets of processes in it"
    )]
    Outside,
    /// Nobody's packets reach them.
    #[error(
        "The kernel never ran them: its cgroup2 hierarchy is probably not the one that sockets belong to (net_cls or \
         net_prio in use before kernel 5.15, or a cgroup namespace)"
    )]
    NeverRan,
    /// They know processes by other ids.
    #[error(
        "They ran for others, so the owners of sockets are not known: probably this runs in a PID namespace of its own; \
         run it on the host"
    )]
    Unknown,
}

impl Problem {
    /// The exit code that goes with it.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Unseen { .. } => 1,
            Self::CutOff(_) => 4,
        }
    }
}
