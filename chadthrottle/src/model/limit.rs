//! A limit, as users set it.

use std::fmt;

use chadthrottle_common::scope::Scope;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::Direction;
use crate::units::Rate;

/// A limit as the user set it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// Download; `None`: not limited.
    pub down: Option<Rate>,
    /// Upload; `None`: not limited.
    pub up: Option<Rate>,
    /// The remote addresses it covers.
    #[serde(
        default = "default_scope",
        serialize_with = "write_scope",
        deserialize_with = "read_scope"
    )]
    pub scope: Scope,
    /// Whether what is blocked is refused rather than kept waiting: TCP connections are reset, and new ones fail.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reject: bool,
}

impl Limit {
    /// No limit in either direction, with the scope that a new limit starts from.
    pub const NONE: Self = Self {
        down: None,
        up: None,
        scope: Scope::DEFAULT,
        reject: false,
    };

    /// The same without a limit where nothing is to pass at all.
    pub fn without_blocks(self) -> Self {
        let limited = |rate: Option<Rate>| rate.filter(|rate| !rate.is_blocked());
        Self {
            down: limited(self.down),
            up: limited(self.up),
            ..self
        }
    }

    /// Whether nothing is to pass that it covers, and it limits nothing else.
    pub fn is_block(self) -> bool {
        let rest = self.without_blocks();
        self != rest && rest.down.is_none() && rest.up.is_none()
    }

    /// Whether TCP connections are reset: of one of which either direction is blocked, the other is of no use.
    pub fn resets(&self) -> bool {
        let rates = [self.down, self.up];
        self.reject && rates.into_iter().flatten().any(Rate::is_blocked)
    }

    /// Of one direction; `None`: not limited.
    pub fn rate(&self, direction: Direction) -> Option<Rate> {
        match direction {
            Direction::Down => self.down,
            Direction::Up => self.up,
        }
    }
}

/// Names a limit that has been set. Several processes may share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LimitId(pub u32);

impl fmt::Display for Limit {
    /// In words: `down 1 MB/s (8 Mbit/s), up unlimited`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate =
            |rate: Option<Rate>| rate.map_or("unlimited".to_owned(), |rate| rate.to_string());
        write!(f, "down {}, up {}", rate(self.down), rate(self.up))?;
        match self.scope {
            Scope::DEFAULT => {}
            scope => write!(f, ", scope {}", scope_name(scope))?,
        }
        match self.resets() {
            true => f.write_str(", connections are reset"),
            false => Ok(()),
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

const SCOPES: [Scope; 4] = [Scope::DEFAULT, Scope::INTERNET, Scope::LOCAL, Scope::ALL];

/// The scope of that word.
pub fn scope_of(name: &str) -> Option<Scope> {
    SCOPES.into_iter().find(|scope| scope_name(*scope) == name)
}

fn default_scope() -> Scope {
    Scope::DEFAULT
}

// serde has it by reference.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn write_scope<S: Serializer>(scope: &Scope, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(scope_name(*scope))
}

fn read_scope<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Scope, D::Error> {
    let name = String::deserialize(deserializer)?;
    scope_of(&name).ok_or_else(|| D::Error::custom("a scope is default, internet, local or all"))
}
