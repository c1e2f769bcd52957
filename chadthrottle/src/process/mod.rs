//! Processes as /proc shows them.
//!
//! Architecture invariant: everything here takes the root of the file system to read from, so
//! that tests use made-up trees; and everything expects a process to vanish between two reads.

mod key;
mod selector;
mod sockets;
mod table;
pub mod user;

pub use key::ProcessKey;
pub use selector::{Selector, SelectorError, Target};
pub use sockets::{SocketFd, sockets_of};
pub use table::{ProcessInfo, ProcessTable, key_of};
