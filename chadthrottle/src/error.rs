//! The errors that reach a user, and the exit code of each.

use crate::{
    backends::throttle::ThrottleError,
    config::ConfigError,
    engine::EngineError,
    process::SelectorError,
    process::UserError,
    protocol::RequestError,
    reversal::{GuardError, JournalError, LockError},
    rules::WriteError,
    sys::files::limit_reached,
};

/// Anything that ends a command or refuses a wish.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command line made sense to the parser, but not to us.
    #[error("{0}")]
    Usage(String),
    /// A target that cannot be read.
    #[error(transparent)]
    Selector(#[from] SelectorError),
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The programs could not be loaded, attached or detached.
    #[error(transparent)]
    Throttle(#[from] ThrottleError),
    /// Rules could not be changed.
    #[error(transparent)]
    Rules(#[from] WriteError),
    /// The engine cannot do it.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The engine has refused it.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The engine of this machine is not ours.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The journal cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The guard cannot do its work.
    #[error(transparent)]
    Guard(#[from] GuardError),
    /// The user to run a command as is unknown.
    #[error(transparent)]
    User(#[from] UserError),
    /// No such process.
    #[error("{0}")]
    NoTarget(String),
    /// An input or output error of ours.
    #[error("{what}: {source}")]
    Io {
        /// What was being done, on what.
        what: String,
        /// How it failed.
        source: std::io::Error,
    },
}

impl Error {
    /// An input or output error while doing `what`.
    pub fn io(what: impl Into<String>, source: std::io::Error) -> Self {
        let source = limit_reached(&source).map_or(source, std::io::Error::other);
        Self::Io {
            what: what.into(),
            source,
        }
    }

    /// The exit code of the contract: 1 failed while running, 2 usage, 3 not enough privilege,
    /// 4 kernel or system cannot do it, 5 no such target.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Selector(_) | Self::User(_) | Self::Config(_) => 2,
            Self::Throttle(error) => error.exit_code(),
            Self::Rules(error) => error.exit_code(),
            Self::Engine(error) => error.exit_code(),
            Self::Request(error) => error.exit_code(),
            Self::NoTarget(_) => 5,
            Self::Lock(_) | Self::Journal(_) | Self::Guard(_) | Self::Io { .. } => 1,
        }
    }
}
