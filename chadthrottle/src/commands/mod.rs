//! The commands, one file each.

pub mod cleanup;
pub mod completions;
pub mod doctor;
pub mod limit;
pub mod list;
pub mod run;
pub mod tui;
