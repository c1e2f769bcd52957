//! Putting back what an engine has changed, whoever is still there to do it: the engine itself, its guard, or
//! the next start.
//!
//! Architecture invariant: below the engine. Nothing here knows limits; it knows attachments, the pass over
//! sockets, a setting of network namespaces, and a terminal.

pub mod cleanup;
mod custody;
mod guard;
pub mod guarding;
mod heir;
mod journal;
mod ledger;
mod lines;
mod lock;
mod message;
mod remains;
mod shrink_window;
mod state_dir;
mod taken_terminal;
#[cfg(test)]
mod testing;

pub use guard::{Guard, GuardError};
pub use heir::Heir;
pub use journal::JournalError;
pub use ledger::Ledger;
pub use lock::{EngineLock, LockError, lives};
pub use shrink_window::ShrinkWindow;
pub use state_dir::{StateDir, StateDirError};
pub use taken_terminal::leave_screen;
