//! Which command a word may mean that is none.

use std::{cmp::Ordering, ffi::OsString};

use clap::{
    Command, CommandFactory, Error,
    builder::{StyledStr, Styles},
    error::{ContextKind, ContextValue, ErrorKind},
};

use super::Cli;

/// Words that other tools have for what a command of ours does, by the command that they are given to, and what is meant,
/// the likeliest first.
const WORDS_OF_OTHERS: [(&str, &[&str], &[&str]); 20] = [
    (PROGRAM, &["status", "show", "info"], &["limits", "doctor"]),
    (PROGRAM, &["ps", "ls"], &["list"]),
    (PROGRAM, &["top", "watch", "monitor"], &["list --watch"]),
    (PROGRAM, &["set", "throttle", "shape"], &["limit"]),
    (PROGRAM, &["stop", "unblock"], &["unlimit"]),
    (PROGRAM, &["clear", "reset"], &["unlimit --all"]),
    (PROGRAM, &["remove"], &["unlimit", "rule remove"]),
    (
        PROGRAM,
        &["delete", "del", "rm"],
        &["rule remove", "unlimit"],
    ),
    (PROGRAM, &["kill"], &["block", "unlimit"]),
    (PROGRAM, &["exec"], &["run"]),
    (PROGRAM, &["start", "daemon", "service"], &["engine"]),
    (PROGRAM, &["add"], &["rule add"]),
    (PROGRAM, &["reload"], &["rule reload"]),
    (PROGRAM, &["check"], &["rule check", "doctor"]),
    (PROGRAM, &["test"], &["rule test", "doctor"]),
    (RULE, &["delete", "del", "rm"], &["rule remove"]),
    (RULE, &["edit", "info"], &["rule show"]),
    (RULE, &["ls", "status"], &["rule list"]),
    (RULE, &["new", "set"], &["rule add"]),
    (RULE, &["on", "off"], &["rule enable", "rule disable"]),
];

const PROGRAM: &str = "chadthrottle";
const RULE: &str = "rule";
const PROFILE: &str = "profile";

/// From this likeness on a command may be meant; that of `clap`.
const LIKE: f64 = 0.7;

/// What other tools call so, as lines of commands; empty where nobody does.
pub fn of_others(command: &Command, word: &str) -> &'static [&'static str] {
    let mut all = WORDS_OF_OTHERS.iter();
    let found = all.find(|(of, words, _)| *of == command.get_name() && words.contains(&word));
    found.map_or(&[], |(_, _, meant)| meant)
}

/// The commands below this one whose names are like that word, the most alike first.
pub fn alike<'a>(command: &'a Command, word: &str) -> Vec<&'a str> {
    let names = command.get_subcommands().map(Command::get_name);
    let scored = names.map(|name| (strsim::jaro(word, name), name));
    let mut scored: Vec<_> = scored.filter(|(score, _)| *score > LIKE).collect();
    scored.sort_by(|(a, _), (b, _)| b.partial_cmp(a).unwrap_or(Ordering::Equal));
    scored.into_iter().map(|(_, name)| name).collect()
}

/// The error of a command line, with what was meant where a command is none.
pub fn explained(mut error: Error, line: impl IntoIterator<Item = OsString>) -> Error {
    let program = Cli::command();
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand) else {
        return of_profile(error, &program, line);
    };
    let word = word.clone();
    let command = named(&program, line, &word);
    let (meant, alike) = (of_others(command, &word), alike(command, &word));
    error.remove(ContextKind::SuggestedSubcommand);
    if meant.is_empty() && !alike.is_empty() {
        let alike = alike.into_iter().map(str::to_owned).collect();
        error.insert(
            ContextKind::SuggestedSubcommand,
            ContextValue::Strings(alike),
        );
    } else if !meant.is_empty() {
        let tips = meant.iter().map(|line| tip(&program, line)).collect();
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(tips));
    }
    error
}

/// The same where the name of a profile has a word before it, as others would have it: `profile use NAME`.
fn of_profile(
    mut error: Error,
    program: &Command,
    line: impl IntoIterator<Item = OsString>,
) -> Error {
    let Some(ContextValue::String(name)) = error.get(ContextKind::InvalidArg) else {
        return error;
    };
    let mut from_profile = line.into_iter().skip_while(|it| it != PROFILE);
    if error.kind() == ErrorKind::UnknownArgument
        && from_profile
            .nth(2)
            .is_some_and(|word| word == name.as_str())
    {
        let tips = vec![tip(program, &format!("{PROFILE} {name}"))];
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(tips));
    }
    error
}

/// The command of that line which the word was given to.
fn named<'a>(
    program: &'a Command,
    line: impl IntoIterator<Item = OsString>,
    word: &str,
) -> &'a Command {
    let before = line.into_iter().skip(1);
    before
        .take_while(|it| it != word)
        .fold(program, |command, it| {
            command.find_subcommand(it).unwrap_or(command)
        })
}

/// What to try, and what that does.
fn tip(program: &Command, line: &str) -> StyledStr {
    let command = line.split(' ').fold(program, |command, word| {
        command.find_subcommand(word).unwrap_or(command)
    });
    let does = command
        .get_about()
        .map(ToString::to_string)
        .unwrap_or_default();
    // What follows says how.
    let does = does.split([':', ';']).next().unwrap_or_default();
    let valid = Styles::styled();
    let valid = valid.get_valid();
    format!("try '{valid}{PROGRAM} {line}{valid:#}': {does}").into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn said(line: &str) -> String {
        let words = || line.split(' ').map(OsString::from);
        let error = Cli::try_parse_from(words()).unwrap_err();
        let error = explained(error, words());
        assert_eq!(error.exit_code(), 2, "{line}");
        error.to_string()
    }

    #[test]
    fn words_of_other_tools_lead_to_ours() {
        for (line, first) in [
            ("status", "limits"),
            ("stop", "unlimit"),
            ("remove 7", "unlimit"),
            ("delete backup", "rule remove"),
            ("rm backup", "rule remove"),
            ("rule delete backup", "rule remove"),
            ("rule rm backup", "rule remove"),
            ("rule edit", "rule show"),
            ("check", "rule check"),
            ("test name:x", "rule test"),
            ("rule ls", "rule list"),
            ("--state-dir /x rule ls", "rule list"),
            ("ps", "list"),
            ("top", "list --watch"),
            ("kill 7", "block"),
            ("unblock 7", "unlimit"),
            ("set 7 --down 1MB", "limit"),
            ("profile use night", "profile night"),
        ] {
            let said = said(&format!("chadthrottle {line}"));
            let tip = said.split("tip: ").nth(1).expect(&said);
            let expected = format!("try 'chadthrottle {first}': ");
            assert!(tip.starts_with(&expected), "{line}: {said}");
            assert!(!said.contains("similar"), "{line}: {said}");
        }
    }

    #[test]
    fn every_word_of_others_is_no_command_and_leads_to_one() {
        let program = Cli::command();
        for (of, words, meant) in WORDS_OF_OTHERS {
            let command = program.find_subcommand(of).unwrap_or(&program);
            for word in words {
                assert!(command.find_subcommand(word).is_none(), "{of} {word}");
            }
            for line in meant {
                let first = line.split(' ').next().unwrap();
                let command = program.find_subcommand(first).expect(line);
                if let Some(name) = line.strip_prefix("rule ") {
                    assert!(command.find_subcommand(name).is_some(), "{line}");
                }
            }
        }
    }

    #[test]
    fn the_command_that_is_most_alike_stands_first() {
        for (line, all) in [
            ("limt", "similar subcommands exist: 'limit', 'limits', "),
            ("lmits", "similar subcommands exist: 'limits', 'limit', "),
            ("rule lst", "similar subcommands exist: 'list', "),
            ("rules", "a similar subcommand exists: 'rule'"),
        ] {
            let said = said(&format!("chadthrottle {line}"));
            assert!(said.contains(all), "{line}: {said}");
        }
        for line in ["chadthrottle xyzzy", "chadthrottle help staus"] {
            let said = said(line);
            assert!(!said.contains("tip:") && !said.contains("\n\n\n"), "{said}");
        }
    }
}
