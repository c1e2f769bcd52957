//! Processes as /proc shows them.
//!
//! Architecture invariant: everything here takes the root of the file system to read from, so
//! that tests use made-up trees; and everything expects a process to vanish between two reads.

mod account;
pub mod aside;
mod cgroup;
mod condition;
mod connections;
mod container;
mod executable;
mod grammar;
mod headcount;
mod identity;
mod image;
mod interfaces;
mod invoker;
pub mod namespaces;
mod near;
pub mod offspring;
pub mod proc_file;
mod reader;
mod selector;
mod sockets;
mod table;
mod targets;
#[cfg(test)]
pub mod testing;
mod turns;
mod unit;
mod user;

pub use account::{Account, LocalAccounts, UserError};
pub use cgroup::{cgroup_of, processes_in};
pub use condition::{Condition, Processes};
pub use connections::{Connection, Seen, connections_of};
pub use container::{Container, container_of};
pub use executable::Devices;
pub use grammar::{Accounts, SelectorError, Target};
pub use headcount::NewestPid;
pub use identity::{Guise, find, is_kernel_thread, key_of, owner_of, process_of_thread, user_of};
pub use interfaces::{ByProcess, interfaces_of};
pub use invoker::{Invoker, home_of_caller};
pub use reader::ProcessReader;
pub use selector::Selector;
use sockets::threads;
pub use sockets::{SocketFd, each_socket_of, holds, may_see_sockets_of, pids, sockets_of};
pub use table::{Changes, ProcessInfo, Reread};
pub use targets::{MOST_SELECTORS, Targets};
pub use unit::{of_directory, unescape, unit_of, unit_path, units_of};
