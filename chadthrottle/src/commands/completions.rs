//! `completions` and `man`: made from the definition of the command line.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::{cli::Cli, error::Error};

/// Prints completions for the shell.
pub fn completions(shell: Shell) -> Result<u8, Error> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "chadthrottle", &mut text);
    super::print(&text)?;
    Ok(0)
}

/// Prints the manual page.
pub fn man() -> Result<u8, Error> {
    let mut text = Vec::new();
    clap_mangen::Man::new(Cli::command())
        .render(&mut text)
        .map_err(|error| Error::io("making the manual page", error))?;
    super::print(&text)?;
    Ok(0)
}
