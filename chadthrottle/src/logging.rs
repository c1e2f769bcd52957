//! The log: to a file, or to standard error where no screen is open.

use std::fs::File;

use env_logger::{Builder, Target};
use log::LevelFilter;

use crate::{cli::Global, error::Error};

/// Starts logging. While a screen is open nothing may be printed over it, so without a file
/// nothing is logged then.
///
/// # Errors
/// Where the file cannot be written.
pub fn start(global: &Global, screen: bool) -> Result<(), Error> {
    let level = match global.verbose {
        0 => LevelFilter::Warn,
        1 => LevelFilter::Info,
        _ => LevelFilter::Trace,
    };
    let mut builder = Builder::new();
    builder.filter_level(level);
    match &global.log_file {
        Some(path) => {
            let file = File::options()
                .create(true)
                .append(true)
                .open(path)
                .map_err(|error| Error::io(path.display().to_string(), error))?;
            builder.target(Target::Pipe(Box::new(file)));
        }
        None if screen => return Ok(()),
        None => {
            builder
                .target(Target::Stderr)
                .format_timestamp(None)
                .format_target(false);
        }
    }
    builder.init();
    Ok(())
}
