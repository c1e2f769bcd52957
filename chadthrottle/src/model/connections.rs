//! The TCP connections that share a limit.

use serde::{Deserialize, Serialize};

/// Connections that use a good part of what they may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connections {
    /// Downloads.
    pub down: u64,
    /// Uploads.
    pub up: u64,
    /// Downloads that pause where they have used their share up.
    pub pausing: u64,
}

impl Connections {
    /// The larger count of each kind.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self {
            down: self.down.max(other.down),
            up: self.up.max(other.up),
            pausing: self.pausing.max(other.pausing),
        }
    }
}
