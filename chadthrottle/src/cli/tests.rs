use std::path::PathBuf;

use chadthrottle_common::scope::Scope;
use clap::{CommandFactory, Parser, error::ErrorKind};

use super::*;
use crate::units::Rate;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split(' '))
}

#[test]
fn the_definition_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn everything_behind_the_program_belongs_to_it() {
    let cli = parse("chadthrottle run --down 1MB/s wget -q --down x").unwrap();
    let Some(Command::Run(run)) = cli.command else {
        panic!()
    };
    assert_eq!(run.command, ["wget", "-q", "--down", "x"]);
    let cli = parse("chadthrottle run --up 8Mbit -- -odd").unwrap();
    let Some(Command::Run(run)) = cli.command else {
        panic!()
    };
    assert_eq!(run.command, ["-odd"]);
    assert_eq!(
        run.limits.limit().up.map(Rate::bytes_per_second),
        Some(1_000_000)
    );
}

#[test]
fn an_unknown_option_before_the_program_is_refused() {
    for (line, option) in [
        (
            "chadthrottle run --down 1MB/s --for 3s -- sleep 1",
            "'--for'",
        ),
        ("chadthrottle run -x wget", "'-x'"),
    ] {
        let error = parse(line).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnknownArgument, "{line}: {error}");
        assert_eq!(error.exit_code(), 2);
        let said = error.to_string();
        assert!(said.contains(option) && said.contains("Usage:"), "{said}");
    }
}

#[test]
fn global_options_stand_before_or_behind_the_command() {
    for line in [
        "chadthrottle --attach legacy --state-dir /x limit 7 --down 1MB",
        "chadthrottle limit 7 --down 1MB --attach legacy --state-dir /x",
    ] {
        let cli = parse(line).unwrap();
        assert_eq!(cli.global.attach, AttachMode::Legacy, "{line}");
        assert_eq!(cli.global.state_dir, PathBuf::from("/x"), "{line}");
    }
}

#[test]
fn the_help_of_a_command_knows_its_options_from_those_of_all() {
    let mut cli = Cli::command();
    cli.build();
    for command in ["limit", "run", "list", "cleanup", "doctor"] {
        let help = cli.find_subcommand_mut(command).unwrap().render_long_help();
        let help = help.to_string();
        assert!(!help.contains("Options of the screen"), "{help}");
        let (own, of_all) = help.split_once("Options of every command:").unwrap();
        assert!(of_all.contains("--state-dir") && !own.contains("--state-dir"));
    }
    let help = cli.render_long_help().to_string();
    let (_, of_screen) = help.split_once("Options of the screen:").unwrap();
    let (of_screen, _) = of_screen.split_once("Options of every command:").unwrap();
    assert!(of_screen.contains("--theme"), "{help}");
}

/// The terminal that a help is shown on, in columns and lines.
const TERMINAL: (usize, usize) = (80, 24);

#[test]
fn the_short_help_of_every_command_fits_a_terminal() {
    fn each(command: &mut clap::Command) {
        let help = command
            .clone()
            .term_width(TERMINAL.0)
            .render_help()
            .to_string();
        let lines = help.lines().count();
        assert!(lines < TERMINAL.1, "{lines} lines:\n{help}");
        command.get_subcommands_mut().for_each(each);
    }
    let mut cli = Cli::command();
    cli.build();
    each(&mut cli);
}

#[test]
fn a_wrong_command_or_option_is_answered_with_the_right_one() {
    for (line, meant) in [
        ("chadthrottle lmit 7 --down 1MB", "'limit'"),
        ("chadthrottle unlimt 7", "'unlimit'"),
        ("chadthrottle rules", "'rule'"),
        ("chadthrottle rule lst", "'list'"),
        ("chadthrottle docter", "'doctor'"),
        ("chadthrottle limit 7 --dwon 1MB", "'--down'"),
    ] {
        let said = parse(line).unwrap_err().to_string();
        assert!(said.contains(meant), "{line}: {said}");
    }
}

#[test]
fn rates_that_are_refused_end_with_the_accepted_forms() {
    for rate in ["0", "-1", "12", "5kbps", "1e400MB", "١MB"] {
        let error = parse(&format!("chadthrottle run --down {rate} -- true")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ValueValidation, "{rate}");
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("1.5MB/s"), "{error}");
    }
}

#[test]
fn a_list_has_one_sample_at_least() {
    let error = parse("chadthrottle list --count 0").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ValueValidation);
    assert!(error.to_string().contains("must be at least 1"), "{error}");
    assert!(parse("chadthrottle list --count x").is_err());
}

#[test]
fn what_is_blocked_is_refused_where_that_is_said() {
    let resets = |line: &str| match parse(line).unwrap().command {
        Some(Command::Block(block)) => block.limit().limits.limit().resets(),
        other => panic!("{other:?}"),
    };
    assert!(resets("chadthrottle block --reject 7"));
    assert!(resets("chadthrottle block --reject --direction up 7"));
    assert!(!resets("chadthrottle block 7"));
    let add = |more: &str| parse(&format!("chadthrottle rule add x name:x {more} --reject"));
    assert!(add("--block both").is_ok());
    let error = add("--down 1MB").unwrap_err();
    assert!(error.to_string().contains("--block"), "{error}");
}

#[test]
fn scopes_and_their_default() {
    let scope = |line: &str| match parse(line).unwrap().command {
        Some(Command::Limit(limit)) => limit.limits.limit().scope,
        other => panic!("{other:?}"),
    };
    assert_eq!(scope("chadthrottle limit 7 --down 1MB"), Scope::DEFAULT);
    assert_eq!(
        scope("chadthrottle limit 7 --down 1MB --scope internet"),
        Scope::INTERNET
    );
    assert_eq!(
        scope("chadthrottle limit 7 --down 1MB --scope all"),
        Scope::ALL
    );
}
