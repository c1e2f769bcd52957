//! A limit, as users set it.

use std::fmt;

use chadthrottle_common::scope::Scope;

use super::Direction;
use crate::units::Rate;

/// A limit as the user set it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Download; `None`: not limited.
    pub down: Option<Rate>,
    /// Upload; `None`: not limited.
    pub up: Option<Rate>,
    /// The remote addresses it covers.
    pub scope: Scope,
}

impl Limit {
    /// No limit in either direction, with the scope that a new limit starts from.
    pub const NONE: Self = Self {
        down: None,
        up: None,
        scope: Scope::DEFAULT,
    };

    /// Of one direction; `None`: not limited.
    pub fn rate(&self, direction: Direction) -> Option<Rate> {
        match direction {
            Direction::Down => self.down,
            Direction::Up => self.up,
        }
    }
}

/// Names a limit that has been set. Several processes may share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LimitId(pub u32);

impl fmt::Display for Limit {
    /// In words: `down 1 MB/s (8 Mbit/s), up unlimited`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate =
            |rate: Option<Rate>| rate.map_or("unlimited".to_owned(), |rate| rate.to_string());
        write!(f, "down {}, up {}", rate(self.down), rate(self.up))?;
        match self.scope {
            Scope::DEFAULT => Ok(()),
            scope => write!(f, ", scope {}", scope_name(scope)),
        }
    }
}

/// The scope's word in JSON and on the command line.
pub fn scope_name(scope: Scope) -> &'static str {
    match scope {
        Scope::INTERNET => "internet",
        Scope::LOCAL => "local",
        Scope::ALL => "all",
        _ => "default",
    }
}
