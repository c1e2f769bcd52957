//! `man`: manual pages, made from the definition of the command line.

use std::{fs, path::Path};

use clap::{Command, CommandFactory, builder::Resettable};
use clap_mangen::roff::{Roff, roman};

use crate::{
    cli::{Cli, Man, examples, meant},
    error::Error,
    text,
};

/// Prints a page, or writes all of them.
///
/// # Errors
/// Where there is no such command, or a page cannot be written.
pub fn run(args: &Man) -> Result<u8, Error> {
    let program = program();
    if let Some(directory) = &args.directory {
        write_all(&program, directory)?;
        return Ok(0);
    }
    let mut command = &program;
    for name in &args.command {
        command = command
            .find_subcommand(name)
            .ok_or_else(|| Error::Usage(no_command(command, name)))?;
    }
    super::print(&page(command)?)?;
    Ok(0)
}

/// That there is no such command, and which one may have been meant.
fn no_command(command: &Command, name: &str) -> String {
    let of_others = meant::of_others(command, name).first().copied();
    let mut words = format!(
        "'{}' has no command '{}'",
        shown(command),
        text::escape(name)
    );
    if let Some(meant) = of_others.or_else(|| meant::alike(command, name).first().copied()) {
        words += &format!(": did you mean '{meant}'?");
    }
    words
}

/// The definition without `help`, which has no page.
fn program() -> Command {
    let mut program = Cli::command().disable_help_subcommand(true);
    program.build();
    program
}

fn shown(command: &Command) -> &str {
    command.get_bin_name().unwrap_or(command.get_name())
}

/// Writes the page of the command, and those of the commands below it.
fn write_all(command: &Command, directory: &Path) -> Result<(), Error> {
    let name = command.get_display_name().unwrap_or(command.get_name());
    let path = directory.join(format!("{name}.1"));
    fs::write(&path, page(command)?)
        .map_err(|error| Error::io(format!("writing {}", path.display()), error))?;
    command
        .get_subcommands()
        .try_for_each(|command| write_all(command, directory))
}

fn page(command: &Command) -> Result<Vec<u8>, Error> {
    let failed = |error| Error::io("making the manual page", error);
    let mut page = Vec::new();
    clap_mangen::Man::new(explained(command))
        .source(concat!("chadthrottle ", env!("CARGO_PKG_VERSION")))
        .render(&mut page)
        .map_err(failed)?;
    if let Some(examples) = command.get_after_long_help() {
        page.extend_from_slice(section_of_examples(&examples.to_string()).as_bytes());
    }
    if command.get_name() == "chadthrottle" {
        page.extend_from_slice(HOW_IT_WORKS.as_bytes());
    }
    Ok(page)
}

/// The command as a page shows it: its usage as `--help` has it, where options are named once, and a description of each
/// option, those that only `--help` shows too. Its examples have a section of their own.
fn explained(command: &Command) -> Command {
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ").to_owned();
    command
        .clone()
        .override_usage(usage)
        .after_long_help(Resettable::Reset)
        .mut_args(|option| option.hide_short_help(false))
}

/// Examples line by line, as they are typed.
fn section_of_examples(help: &str) -> String {
    let mut section = Roff::new();
    section.control("SH", ["EXAMPLES"]).control("nf", []);
    for line in help.lines().filter(|line| *line != examples::HEAD) {
        section.text([roman(line.trim_start())]);
    }
    section.control("fi", []);
    section.to_roff()
}

/// The last section of the program's page, in the language of man(7).
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_that_another_names_is_written() {
        let directory = tempfile::tempdir().unwrap();
        write_all(&program(), directory.path()).unwrap();
        let mut named = 0;
        for entry in fs::read_dir(directory.path()).unwrap() {
            let page = fs::read_to_string(entry.unwrap().path()).unwrap();
            for word in page.split_whitespace() {
                let Some(name) = word.strip_suffix("(1)") else {
                    continue;
                };
                let name = name.replace('\\', "");
                let file = directory.path().join(format!("{name}.1"));
                assert!(file.is_file(), "{name}");
                named += 1;
            }
        }
        assert!(named > 20, "only {named}");
    }

    #[test]
    fn a_page_that_there_is_not_is_answered_with_the_one_that_is_meant() {
        let program = program();
        for (name, meant) in [
            ("limt", "'limit'"),
            ("lmits", "'limits'"),
            ("status", "'limits'"),
            ("rm", "'rule remove'"),
        ] {
            let said = no_command(&program, name);
            let expected = format!("did you mean {meant}?");
            assert!(said.ends_with(&expected), "{said}");
        }
        assert!(no_command(&program, "xyzzy").ends_with("'xyzzy'"));
    }

    fn page_of(path: &[&str]) -> String {
        let program = program();
        let command = path.iter().fold(&program, |command, name| {
            command.find_subcommand(name).unwrap()
        });
        String::from_utf8(page(command).unwrap()).unwrap()
    }

    #[test]
    fn every_option_has_a_description_and_the_synopsis_names_none_without_its_value() {
        for path in [&[][..], &["limit"], &["rule", "add"]] {
            let page = page_of(path);
            let mut lines = page.lines();
            let mut options = 0;
            while lines.by_ref().any(|line| line == ".TP") {
                let (option, description) = (lines.next().unwrap(), lines.next().unwrap());
                let is_text = description.starts_with(char::is_alphabetic);
                assert!(is_text, "{option}: {description}");
                options += 1;
            }
            assert!(options > 10, "only {options}: {page}");
            let (_, synopsis) = page.split_once(".SH SYNOPSIS\n").unwrap();
            let (synopsis, _) = synopsis.split_once(".SH").unwrap();
            assert!(
                synopsis.contains("[OPTIONS]") && !synopsis.contains("\\-\\-"),
                "{synopsis}"
            );
        }
    }

    #[test]
    fn examples_are_shown_line_by_line() {
        for (path, line) in [
            (
                &[][..],
                "sudo chadthrottle doctor                                     # will it",
            ),
            (
                &["limit"],
                "sudo chadthrottle limit 1234 \\-\\-down 8Mbit \\-\\-for 30m\n",
            ),
            (&["completions"], "chadthrottle completions zsh > "),
        ] {
            let page = page_of(path);
            let (_, examples) = page.split_once(".SH EXAMPLES\n.nf\n").expect(&page);
            let (examples, _) = examples.split_once(".fi\n").unwrap();
            assert!(
                examples.contains(&format!("\n{line}")) || examples.starts_with(line),
                "{examples}"
            );
            assert!(
                !page.contains("EXTRA") && !page.contains("Examples:"),
                "{page}"
            );
        }
    }

    #[test]
    fn the_page_of_a_command_below_another_has_its_options() {
        let program = program();
        let command = program
            .find_subcommand("rule")
            .unwrap()
            .find_subcommand("add")
            .unwrap();
        let page = String::from_utf8(page(command).unwrap()).unwrap();
        assert!(page.contains("chadthrottle\\-rule\\-add"), "{page}");
        assert!(page.contains("\\-\\-when"), "{page}");
    }
}
