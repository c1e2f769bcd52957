//! What the outside tells the engine.

use std::{os::fd::OwnedFd, time::Duration};

use tokio::sync::oneshot;

use crate::{
    engine::{EngineError, InForce},
    model::{Carried, Limit, LimitId},
    process::Targets,
};

/// A command, with the channel for its answer.
#[derive(Debug)]
pub enum Command {
    /// Sets a limit. A process that is a member of another limit leaves that one.
    SetLimit {
        /// For whom.
        targets: Targets,
        /// How much.
        limit: Limit,
        /// The limit's name.
        answer: oneshot::Sender<Result<LimitId, EngineError>>,
    },
    /// Changes rates and scope of a limit, for all its members at once.
    ChangeLimit {
        /// Which.
        id: LimitId,
        /// How much from now on.
        limit: Limit,
        /// Whether it was there.
        answer: oneshot::Sender<Result<(), EngineError>>,
    },
    /// Has rules hold, in place of those before.
    SetRules {
        /// Those that are on, in the order in which they are tried.
        rules: Vec<InForce>,
        /// Done.
        answer: oneshot::Sender<Result<(), EngineError>>,
    },
    /// Asks which of a limit's selectors match nothing.
    Unmatched {
        /// Which.
        id: LimitId,
        /// What to say of them, in words.
        answer: oneshot::Sender<Result<Vec<String>, EngineError>>,
    },
    /// Has a limit hold for what its members start too, or no longer.
    SetChildren {
        /// Which.
        id: LimitId,
        /// Whether it is to.
        children: bool,
        /// The limit's name from now on.
        answer: oneshot::Sender<Result<LimitId, EngineError>>,
    },
    /// Asks what a limit's members have carried.
    Carried {
        /// Which.
        id: LimitId,
        /// The sums.
        answer: oneshot::Sender<Result<Carried, EngineError>>,
    },
    /// Takes samples at another interval from now on.
    SetInterval {
        /// Time between them.
        interval: Duration,
    },
    /// Asks for duplicates of the links that keep its programs attached.
    Links {
        /// All of them.
        answer: oneshot::Sender<Result<Vec<OwnedFd>, EngineError>>,
    },
    /// The programs of the engine before are gone.
    TakeOver {
        /// Done.
        answer: oneshot::Sender<Result<(), EngineError>>,
    },
    /// Asks whether its thread does its work.
    Ping {
        /// It does.
        answer: oneshot::Sender<Result<(), EngineError>>,
    },
    /// Removes a limit from all its members.
    RemoveLimit {
        /// Which.
        id: LimitId,
        /// Whether it was there.
        answer: oneshot::Sender<Result<(), EngineError>>,
    },
}
