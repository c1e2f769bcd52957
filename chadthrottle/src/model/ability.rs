//! Which levers this kernel has.

use serde::{Deserialize, Serialize};

/// What works here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ability {
    /// Uploads can be paced, and the windows of downloads made smaller (kernel 5.15).
    pub levers: bool,
    /// Connections that were made before their limit are held at every packet too, rather than a few times
    /// a second (kernel 6.12).
    pub hears_of_packets: bool,
    /// What downloads were offered before a limit can be taken back (kernel 6.5).
    pub shrinking: bool,
}

impl Ability {
    /// The levers in words, the policer first.
    pub fn describe(self) -> Vec<&'static str> {
        let policer = "policer: a hard cap on every packet, both directions, all protocols";
        if !self.levers {
            return vec![
                policer,
                "pacing, window: not on this kernel (5.15 has them, with BTF), so TCP is held by the policer",
            ];
        }
        let mut lines = vec![
            policer,
            "pacing: TCP uploads are sent at the pace of the limit, and nothing is refused",
            if self.shrinking {
                "window: TCP downloads are asked for at the pace of the limit, and what they were \
                 offered before it is taken back"
            } else {
                "window: TCP downloads are asked for at the pace of the limit; what they were \
                 offered before it is refused (kernel 6.5 takes it back)"
            },
        ];
        if !self.hears_of_packets {
            lines.push(
                "connections that were there before their limit are held four times a second \
                 (kernel 6.12: at every packet)",
            );
        }
        lines
    }
}
