//! The documents say what is so: commands and rules in them are understood, links lead somewhere, and every error
//! and warning has its place in the troubleshooting.

mod sources;
mod text;

use std::{
    fmt::Display,
    fs,
    path::{Path, PathBuf},
};

use chadthrottle::{
    cli::{Cli, Command, RuleCommand},
    process::Target,
    rules::Places,
};
use clap::Parser;
use sources::sources;
use text::{blocks, words};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace")
}

/// All documents for users and for those who change the program, with their paths.
fn documents() -> Vec<(PathBuf, String)> {
    let mut paths: Vec<PathBuf> = Vec::new();
    for directory in ["", "docs", "docs/decisions"] {
        let entries = fs::read_dir(root().join(directory)).expect("a directory");
        let entries = entries.map(|entry| entry.expect("an entry").path());
        paths.extend(entries.filter(|path| path.extension().is_some_and(|it| it == "md")));
    }
    paths.sort();
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).expect("a document");
        (path, text)
    };
    paths.into_iter().map(read).collect()
}

#[test]
fn every_command_in_a_document_is_understood() {
    let mut tried = 0;
    for (path, text) in documents() {
        for line in blocks(&text).into_iter().flat_map(|(_, lines)| lines) {
            let line = line.trim();
            let line = line.strip_prefix("sudo ").unwrap_or(line);
            // Not what the program itself says.
            let Some(rest) = line.strip_prefix("chadthrottle") else {
                continue;
            };
            if !rest.is_empty() && !rest.starts_with(' ') {
                continue;
            }
            let fail = |error: &dyn Display| -> ! { panic!("{}: {line}\n{error}", path.display()) };
            let cli = match Cli::try_parse_from(words(line)) {
                Ok(cli) => cli,
                Err(error) => fail(&error),
            };
            // Those of rules are read where rules are.
            if let Some(Command::Rule(RuleCommand::Add(add))) = cli.command {
                for target in add.targets {
                    if let Err(error) = target.parse::<Target>() {
                        fail(&error);
                    }
                }
            }
            tried += 1;
        }
    }
    assert!(tried > 50, "only {tried} commands were found");
}

#[test]
fn every_rule_in_a_document_is_right() {
    let mut tried = 0;
    let directory = tempfile::tempdir().expect("a directory");
    let examples = root().join("packaging/examples/rules.toml");
    let mut files = vec![(examples.clone(), fs::read_to_string(&examples).expect("it"))];
    for (path, text) in documents() {
        let rules = blocks(&text)
            .into_iter()
            .filter(|(word, _)| *word == "toml");
        files.extend(rules.map(|(_, lines)| (path.clone(), lines.join("\n"))));
    }
    for (path, text) in files {
        // A profile alone names rules of another block.
        if !text.contains("[[rule]]") {
            continue;
        }
        let file = directory.path().join("rules.toml");
        fs::write(&file, &text).expect("a file");
        if let Err(mistakes) = Places::check(&file) {
            panic!("{}:\n{text}\n{}", path.display(), mistakes.join("\n"));
        }
        tried += 1;
    }
    assert!(tried > 8, "only {tried} files of rules were found");
}

/// What a forge makes of a heading to link to it.
fn anchor(heading: &str) -> String {
    let heading = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = heading
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn every_link_in_a_document_leads_somewhere() {
    let mut tried = 0;
    for (path, text) in documents() {
        let links = text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split_once(')'));
        for (link, _) in links.filter(|(link, _)| !link.contains("://")) {
            let (file, place) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => path.clone(),
                file => path.parent().expect("its directory").join(file),
            };
            assert!(target.exists(), "{}: {link}", path.display());
            if !place.is_empty() {
                let text = fs::read_to_string(&target).expect("a document");
                let mut headings = text
                    .lines()
                    .filter(|line| line.starts_with('#'))
                    .map(anchor);
                assert!(headings.any(|it| it == place), "{}: {link}", path.display());
            }
            tried += 1;
        }
    }
    assert!(tried > 50, "only {tried} links were found");
}

#[test]
fn every_page_and_what_it_links_to_is_in_the_book() {
    let summary = fs::read_to_string(root().join("docs/SUMMARY.md")).expect("it");
    for (path, text) in documents() {
        let Ok(name) = path.strip_prefix(root().join("docs")) else {
            continue;
        };
        if name != "SUMMARY.md" {
            let name = name.display();
            assert!(summary.contains(&format!("({name})")), "{name}");
        }
        // The book has nothing from elsewhere, and an index for each README.
        let out = if name.starts_with("decisions") {
            "](../../"
        } else {
            "](../"
        };
        for link in [out, "README.md)"] {
            assert!(
                !text.contains(link) || name == "SUMMARY.md",
                "{}: {link}",
                name.display()
            );
        }
    }
}

/// What an error says, by what `before` it stands in the sources: the first string behind each.
fn messages(before: &str) -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    sources(&root().join("chadthrottle/src"), &mut files);
    let mut found = Vec::new();
    for path in files {
        let text = fs::read_to_string(&path).expect("a source");
        let text = text
            .split("#[cfg(test)]\nmod tests")
            .next()
            .expect("a part");
        for (at, _) in text.match_indices(before) {
            let rest = text[at + before.len()..].trim_start();
            let rest = rest.strip_prefix("format!(").unwrap_or(rest).trim_start();
            let Some(literal) = rest.strip_prefix('"') else {
                continue;
            };
            let mut message = String::new();
            let mut escaped = false;
            for c in literal.chars() {
                match c {
                    '"' if !escaped => break,
                    '\\' if !escaped => escaped = true,
                    // A line that goes on.
                    '\n' if escaped => {}
                    _ => {
                        message.push(c);
                        escaped = c == '\n' && escaped;
                    }
                }
            }
            found.push((
                path.clone(),
                message.split_whitespace().collect::<Vec<_>>().join(" "),
            ));
        }
    }
    found
}

/// What a message is known by: the first of its sentences, or of their halves, that is the same each time, and the
/// longest where all are short.
fn constant(message: &str) -> &str {
    const TELLING: usize = 12;
    let parts = message
        .split('{')
        .map(|part| part.split_once('}').map_or(part, |(_, rest)| rest));
    let sentences = parts.flat_map(|part| part.split(". ").flat_map(|part| part.split(": ")));
    let mut sentences =
        sentences.map(|part| part.trim_matches([' ', '\'', ':', '.', ',', ';', '(', ')']));
    let longest = sentences.clone().max_by_key(|part| part.len());
    sentences
        .find(|part| part.len() >= TELLING)
        .or(longest)
        .unwrap_or_default()
}

#[test]
fn every_error_and_warning_has_its_place_in_the_troubleshooting() {
    let page = fs::read_to_string(root().join("docs/troubleshooting.md")).expect("it");
    let page = page.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut missing = Vec::new();
    let mut tried = 0;
    const BEFORE: [&str; 8] = [
        "#[error(",
        "Error::Usage(",
        "NoTarget(",
        "Error::io(",
        "Error::other(",
        "Err(format!(",
        "log::warn!(",
        "log::error!(",
    ];
    for before in BEFORE {
        for (path, message) in messages(before) {
            let constant = constant(&message);
            // What only passes on another's words.
            if constant.len() < 5 {
                continue;
            }
            tried += 1;
            if !page.contains(constant) {
                missing.push(format!("{}: {constant}", path.display()));
            }
        }
    }
    assert!(tried > 150, "only {tried} messages were found");
    assert!(
        missing.is_empty(),
        "not in docs/troubleshooting.md:\n{}",
        missing.join("\n")
    );
}

#[test]
fn messages_are_read_from_sources() {
    assert_eq!(
        constant("'{0}' is not a target. Give {FORMS}"),
        "is not a target"
    );
    assert_eq!(constant("{path}: {source}"), "");
    assert_eq!(anchor("## Who may do what?"), "who-may-do-what");
    assert_eq!(words("a 'b c' --d # e"), ["a", "b c", "--d"]);
}
