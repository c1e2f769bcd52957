//! The commands, one file each.

pub mod cleanup;
pub mod completions;
pub mod doctor;
pub mod engine;
pub mod limit;
pub mod limits;
pub mod list;
pub mod run;
pub mod tui;
pub mod unlimit;

use crate::{error::Error, output};

/// Writes what a command without an engine has to say to standard output.
fn print(text: &[u8]) -> Result<(), Error> {
    output::print(text).map_err(|error| Error::io("writing to standard output", error))
}
