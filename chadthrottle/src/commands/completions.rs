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
    let text = with_commands(&String::from_utf8_lossy(&text)) + HOW_IT_WORKS;
    super::print(text.as_bytes())?;
    Ok(0)
}

/// The page with its commands as they are typed, where it would name a page of each.
fn with_commands(page: &str) -> String {
    let commands = Cli::command();
    let names = commands.get_subcommands().map(clap::Command::get_name);
    names.chain(["help"]).fold(page.to_owned(), |page, name| {
        let of_its_own = format!("chadthrottle\\-{name}(1)");
        page.replace(&of_its_own, &format!("chadthrottle {name}"))
    })
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
`chadthrottle COMMAND \-\-help` says what each command can do.
.PP
The first command starts the engine, which ends with its last client and its last detached limit. Where systemd runs it,
by chadthrottle.socket, it stays, nobody needs to be root, and limits hold across its restarts.
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_no_page_that_is_not_printed() {
        let page = with_commands("x\n.TP\nchadthrottle\\-limits(1)\nchadthrottle\\-help(1)\n");
        assert_eq!(page, "x\n.TP\nchadthrottle limits\nchadthrottle help\n");
    }
}
