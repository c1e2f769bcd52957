//! Whoever reads us has seen enough and gone, as `head` does.

use std::{
    io::pipe,
    process::{Command, Output, Stdio},
};

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
    for (arguments, code) in [
        ("completions bash", 0),
        ("completions zsh", 0),
        ("man", 0),
        ("--help", 0),
        ("limit --help", 0),
        ("--version", 0),
        ("cleanup", 0),
        ("cleanup --json", 0),
        ("doctor", 0),
        ("doctor --json", 0),
        ("list --interval 100ms", 0),
        ("list --json --interval 100ms", 0),
        (&format!("limit {me} --down 900GB --for 1s"), 0),
        ("run --root --down 1MB -- true", 0),
        ("run --root --down 1MB -- no-such-program", 127),
        ("limit 4194999 --down 1MB", 5),
        ("list --cgroup /no/such", 2),
        ("no-such-command", 2),
    ] {
        for of_errors in [false, true] {
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
