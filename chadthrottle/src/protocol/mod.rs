//! The words between the engine and its clients: Varlink (JSON objects, each with a zero byte behind it) over a Unix
//! socket.
//!
//! The interface is described in `io.chadthrottle.Engine.varlink`, of which docs/protocol.md is the reference. The
//! framing is our own, since a client must not be able to make the engine keep more than it likes, or wait:
//! docs/decisions/0008 says what was tried.

mod call;
mod frames;
mod method;

pub use call::{Call, Reply, RequestError};
pub use frames::{Frames, frame};
pub use method::{
    ChangeLimit, EditRules, Edited, Examined, Field, History, Info, Left, Limited, Method, Named,
    OfProcesses, Reloaded, Sample, SetChildren, SetLimit, TakeRulesBack, Unmatched, Watch,
};

/// The interface's name, which stands before that of each method and error.
pub const INTERFACE: &str = "io.chadthrottle.Engine";

/// Its description.
pub const DESCRIPTION: &str = include_str!("io.chadthrottle.Engine.varlink");

/// That of every service.
pub const SERVICE: &str = "org.varlink.service";

/// Longest call that an engine reads, in bytes.
pub const LONGEST_CALL: usize = 64 * 1024;

/// Longest reply that a client reads, in bytes: a sample of every process that Linux can have.
pub const LONGEST_REPLY: usize = 1 << 30;
