//! Which process: its id alone is used again, so the start time belongs to it.

use serde::{Deserialize, Serialize};

/// Identity of a process on this machine since boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ProcessKey {
    /// Process id in the namespace of /proc.
    pub pid: u32,
    /// Start time in clock ticks since boot, as in field 22 of /proc/PID/stat.
    pub start_ticks: u64,
}
