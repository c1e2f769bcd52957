//! The screen: what `chadthrottle` without a command opens.

use crate::{cli::Global, error::Error};

/// Opens the screen and gives the exit code.
pub async fn run(_global: &Global) -> Result<u8, Error> {
    Ok(0)
}
