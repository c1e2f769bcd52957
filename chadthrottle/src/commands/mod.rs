//! The commands, one file each.

pub mod cleanup;
pub mod completions;
pub mod doctor;
pub mod limit;
pub mod list;
mod output;
pub mod run;
pub mod tui;

pub use output::describe;
