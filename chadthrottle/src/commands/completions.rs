//! `completions` and `man`: made from the definition of the command line.

use std::io;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::{cli::Cli, error::Error};

/// Prints completions for the shell.
pub fn completions(shell: Shell) -> u8 {
    clap_complete::generate(
        shell,
        &mut Cli::command(),
        "chadthrottle",
        &mut io::stdout(),
    );
    0
}

/// Prints the manual page.
pub fn man() -> Result<u8, Error> {
    clap_mangen::Man::new(Cli::command())
        .render(&mut io::stdout())
        .map_err(|error| Error::io("writing the manual page", error))?;
    Ok(0)
}
