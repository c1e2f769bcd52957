//! What sets limits by hand: `run`, `limit` and `block`.

use std::{ffi::OsString, time::Duration};

use chadthrottle_common::scope::Scope;
use clap::{Args, ValueEnum};

use super::candidates;
use crate::{
    model::Limit,
    process::Target,
    units::{Rate, parse_duration},
};

/// LIMITS of the contract.
#[derive(Clone, Copy, Debug, Args)]
pub struct Limits {
    /// Download limit, such as 1.5MB/s or 8Mbit
    #[arg(long, value_name = "RATE", allow_hyphen_values = true)]
    pub down: Option<Rate>,
    /// Upload limit, such as 500KB/s or 300kbit
    #[arg(long, value_name = "RATE", allow_hyphen_values = true)]
    pub up: Option<Rate>,
    /// Which remote addresses the limit covers; everything but loopback unless given
    #[arg(long, value_enum)]
    pub scope: Option<ScopeArg>,
    /// Whether what is blocked is refused
    #[arg(skip)]
    pub reject: bool,
}

impl Limits {
    /// The limit meant.
    pub fn limit(self) -> Limit {
        let scope = self.scope.map_or(Scope::DEFAULT, ScopeArg::scope);
        Limit {
            down: self.down,
            up: self.up,
            scope,
            reject: self.reject,
        }
    }

    /// Whether there is any.
    pub fn is_some(self) -> bool {
        self.down.is_some() || self.up.is_some()
    }
}

/// Values of `--scope`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ScopeArg {
    /// Only Internet addresses
    Internet,
    /// Only addresses of the local network
    Local,
    /// Everything, loopback too
    All,
}

impl ScopeArg {
    /// The scope meant.
    pub fn scope(self) -> Scope {
        match self {
            Self::Internet => Scope::INTERNET,
            Self::Local => Scope::LOCAL,
            Self::All => Scope::ALL,
        }
    }
}

/// `run`
#[derive(Debug, Args)]
pub struct Run {
    /// How much
    #[command(flatten)]
    pub limits: Limits,
    /// Run it as root, not as the user who called sudo, doas or pkexec
    #[arg(long)]
    pub root: bool,
    /// End when CMD does, though processes that it started live on: without a limit from then on
    #[arg(long)]
    pub no_wait: bool,
    /// The program and its arguments
    #[arg(value_name = "CMD", required = true, trailing_var_arg = true)]
    pub command: Vec<OsString>,
}

/// `limit`
#[derive(Debug, Args)]
pub struct LimitArgs {
    /// PID, name:GLOB, exe:GLOB, unit:GLOB and others: see --help
    ///
    /// PID, name:GLOB, exe:GLOB, command:GLOB, user:NAME, group:NAME, cgroup:PATH, unit:GLOB, container:NAME or
    /// parent:TARGET; ! before one is for all others, + joins several that must all hold. Several TARGETs share the
    /// limit. A process that another limit holds leaves that one
    #[arg(value_name = "TARGET", required = true, add = candidates::targets())]
    pub targets: Vec<Target>,
    /// How much
    #[command(flatten)]
    pub limits: Limits,
    /// For whom else, and how long
    #[command(flatten)]
    pub extent: Extent,
}

/// Whom a limit or a block is for beside its targets, and how long it lasts.
#[derive(Clone, Copy, Debug, Args)]
pub struct Extent {
    /// For the processes that they started, and will start, too
    #[arg(long)]
    pub children: bool,
    /// How long: 500ms, 30s, 5m, 2h
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration)]
    pub duration: Option<Duration>,
    /// Return at once, and have it go on
    ///
    /// It goes on until 'chadthrottle unlimit', as long as --for says, or until all that it is for have ended. It ends
    /// with the engine, but goes on where the service is restarted
    #[arg(long)]
    pub detach: bool,
}

/// `block`
#[derive(Debug, Args)]
pub struct BlockArgs {
    /// As with 'limit'
    #[arg(value_name = "TARGET", required = true, add = candidates::targets())]
    pub targets: Vec<Target>,
    /// Which direction; both unless given
    #[arg(long, value_enum, default_value_t = BlockArg::Both)]
    pub direction: BlockArg,
    /// Reset TCP connections, and have new ones fail, rather than keep them waiting
    #[arg(long)]
    pub reject: bool,
    /// Which remote addresses are blocked; everything but loopback unless given
    #[arg(long, value_enum)]
    pub scope: Option<ScopeArg>,
    /// For whom else, and how long
    #[command(flatten)]
    pub extent: Extent,
}

impl BlockArgs {
    /// The limit that it is.
    pub fn limit(self) -> LimitArgs {
        let blocked = |is: bool| is.then_some(Rate::BLOCKED);
        LimitArgs {
            targets: self.targets,
            limits: Limits {
                down: blocked(self.direction != BlockArg::Up),
                up: blocked(self.direction != BlockArg::Down),
                scope: self.scope,
                reject: self.reject,
            },
            extent: self.extent,
        }
    }
}

/// What is blocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BlockArg {
    /// What arrives
    Down,
    /// What is sent
    Up,
    /// Both
    Both,
}
