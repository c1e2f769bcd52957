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
    text.extend_from_slice(HOW_IT_WORKS.as_bytes());
    super::print(&text)?;
    Ok(0)
}

/// The last section of the manual page, in the language of man(7).
const HOW_IT_WORKS: &str = r".SH HOW IT WORKS
.nf
 screen    run    limit    list ...   clients: a limit ends with the
    |       |       |        |        one that has set it, unless it
    +-------+---+---+--------+        was detached
                | /run/chadthrottle/control.sock
             engine ------------>  kernel programs, one set for all
                |                  limits
              guard                puts everything back, should the
                                   engine be killed
.fi
.PP
The first command starts the engine, which ends with its last client and its last detached limit. Where systemd runs it,
by chadthrottle.socket, it stays, nobody needs to be root, and limits hold across its restarts.
";
