//! What the engine cannot do.

use crate::{backends::throttle::ThrottleError, sys::files::limit_reached};

/// Why a command to the engine failed, or the engine did not start.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The programs could not be loaded, attached or detached.
    #[error(transparent)]
    Throttle(#[from] ThrottleError),
    /// No such process.
    #[error("{0}")]
    NoTarget(String),
    /// A process that nothing can limit from where this runs.
    #[error("{0}")]
    OutOfReach(String),
    /// Not the caller's to do.
    #[error("{0}")]
    NotAllowed(String),
    /// A limit that was removed meanwhile.
    #[error("this limit is no longer set")]
    NoLimit,
    /// A limit that would be set again at once.
    #[error(
        "this limit comes from rule '{0}': change that, or 'chadthrottle rule disable {0}'. A limit that is set for a \
         process by hand stands above it"
    )]
    OfRule(String),
    /// All rules are in use.
    #[error("there are {0} limits already, which is as many as there can be: remove one first")]
    TooManyLimits(u32),
    /// All process slots are in use.
    #[error("no room to note one more process: {0} are known already")]
    TooManyProcesses(u32),
    /// A map could not be read or written.
    #[error("BPF map {map}: {source}")]
    Map {
        /// Its name.
        map: &'static str,
        /// What the kernel said.
        source: aya::maps::MapError,
    },
    /// The engine's thread is gone.
    #[error("the engine has stopped")]
    Stopped,
    /// An input or output error of ours.
    #[error("{what}: {source}")]
    Io {
        /// What was being done, on what.
        what: String,
        /// How it failed.
        source: std::io::Error,
    },
}

impl EngineError {
    /// An input or output error while doing `what`.
    pub fn io(what: impl Into<String>, source: std::io::Error) -> Self {
        let source = limit_reached(&source).map_or(source, std::io::Error::other);
        Self::Io {
            what: what.into(),
            source,
        }
    }

    /// Whether something took too long, and may go better the next time.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == std::io::ErrorKind::TimedOut)
    }

    /// The exit code of the contract.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Throttle(error) => error.exit_code(),
            Self::NotAllowed(_) => 3,
            Self::OutOfReach(_) => 4,
            Self::NoTarget(_) => 5,
            Self::OfRule(_) => 2,
            Self::NoLimit
            | Self::TooManyLimits(_)
            | Self::TooManyProcesses(_)
            | Self::Map { .. }
            | Self::Stopped
            | Self::Io { .. } => 1,
        }
    }
}
