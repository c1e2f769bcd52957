//! Whoever reads us has seen enough and gone, as `head` does.

use std::{
    io::pipe,
    process::{Command, Output, Stdio},
};

use chadthrottle::cli::Cli;
use clap::CommandFactory;

use crate::{audit::assert_nothing_left, program::Chadthrottle};

/// Runs it with a standard output, or a standard error, that nobody reads any more.
fn output(program: &Chadthrottle, arguments: &str, of_errors: bool) -> Output {
    let (reader, writer) = pipe().expect("a pipe");
    drop(reader);
    let mut command = program.command(arguments);
    if of_errors {
        command.stdout(Stdio::piped()).stderr(writer);
    } else {
        command.stdout(writer).stderr(Stdio::piped());
    }
    let child = command.stdin(Stdio::null()).spawn();
    let child = child.expect("chadthrottle");
    // With it goes our own copy of the writing end.
    drop(command);
    child.wait_with_output().expect("its end")
}

#[test]
fn every_command_ends_quietly() {
    let program = Chadthrottle::new();
    let me = std::process::id();
    let root = tempfile::tempdir().expect("a directory");
    let rule = |words: &str| format!("--rules-root {} {words}", root.path().display());
    let rows = [
        ("completions bash", 0),
        ("completions zsh", 0),
        ("man", 0),
        ("man rule add", 0),
        ("--help", 0),
        ("help limit", 0),
        ("limit --help", 0),
        ("--version", 0),
        ("--version --verbose", 0),
        ("cleanup", 0),
        ("cleanup --json", 0),
        ("doctor", 0),
        ("doctor --json", 0),
        ("engine --until-idle", 0),
        ("limits", 0),
        ("limits --json", 0),
        ("list --interval 100ms", 0),
        ("list --json --interval 100ms", 0),
        (&format!("limit {me} --down 900GB --for 1s"), 0),
        (
            &format!("block {me} --direction up --scope internet --for 1s"),
            0,
        ),
        ("unlimit 4194999", 5),
        (&rule("rule add r name:ct-nobody --up 1MB"), 0),
        (&rule("rule list"), 0),
        (&rule("rule list --json"), 0),
        (&rule("rule show r"), 0),
        (&rule("rule move r 1"), 0),
        (&rule("rule disable r"), 0),
        (&rule("rule enable r"), 0),
        (&rule("rule check"), 0),
        (&rule(&format!("rule test {me}")), 0),
        (&rule("rule reload"), 5),
        (&rule("rule remove r"), 0),
        (&rule("profile"), 0),
        ("run --root --down 1MB -- true", 0),
        ("run --root --down 1MB -- no-such-program", 127),
        ("limit 4194999 --down 1MB", 5),
        ("list --cgroup /no/such", 2),
        ("no-such-command", 2),
    ];
    for command in leaves(&Cli::command(), "") {
        let tried = |(arguments, _): &(&str, _)| arguments.contains(&command);
        assert!(rows.iter().any(tried), "{command} is not tried");
    }
    for of_errors in [false, true] {
        for (arguments, code) in rows {
            // A list ends when nobody reads what it lists.
            if of_errors && arguments.starts_with("list") && code == 0 {
                continue;
            }
            let output = output(&program, arguments, of_errors);
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(code), "{arguments}: {said}");
            for word in ["panicked", "roken pipe"] {
                assert!(!said.contains(word), "{arguments}: {said}");
            }
            assert_nothing_left();
        }
    }
}

/// All commands that have none below them, as they are typed.
fn leaves(command: &clap::Command, path: &str) -> Vec<String> {
    let below = command.get_subcommands();
    below
        .flat_map(|command| {
            let path = format!("{path}{}", command.get_name());
            match command.has_subcommands() {
                true => leaves(command, &format!("{path} ")),
                false => vec![path],
            }
        })
        .collect()
}

#[test]
fn what_cannot_be_written_is_said() {
    let program = Chadthrottle::new();
    for arguments in ["man", "completions fish", "cleanup", "doctor", "list"] {
        let full = std::fs::File::options().write(true).open("/dev/full");
        let mut command: Command = program.command(arguments);
        let output = command.stdout(full.expect("/dev/full")).output();
        let output = output.expect("chadthrottle");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments}: {said}");
        assert!(said.contains("standard output: No space left"), "{said}");
        assert!(!said.contains("panicked"), "{said}");
    }
    assert_nothing_left();
}
