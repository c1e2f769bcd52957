//! Reads the text of a rules file.

#[cfg(test)]
mod tests;
mod values;

use std::{collections::HashSet, path::Path, sync::Arc};

use toml_edit::{Document, Item, Key, TableLike, TomlError};

use super::{Calendar, Mistake, OnNetworks, Rule, Share};
use crate::{
    model::{Both, Limit, scope_of},
    process::Accounts,
    units::Rate,
};

/// What a file says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct File {
    /// Its rules, in order.
    pub rules: Vec<Rule>,
    /// Profiles with the names of their rules, and where those stand.
    pub profiles: Vec<(String, Vec<Named>)>,
    /// The profile that is chosen.
    pub profile: Option<Named>,
    /// Whether units may have rules of their own.
    pub units: bool,
}

/// A name, and where it stands in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The name.
    pub name: String,
    /// In bytes.
    pub span: Option<std::ops::Range<usize>>,
}

/// So many rules has a file at most, and so many all files together.
pub const MOST_RULES: usize = 2_000;

/// So many mistakes are told at a time: of a file that is none of ours each line is one.
const MOST_MISTAKES: usize = 100;

const SECTIONS: &str = "[[rule]], [profile.NAME], [policy]";

const KEYS: &str = "name, match, down, up, block, reject, scope, share, when, on, enabled";

/// Reads a rules file; `path` is noted in its rules, and `accounts` looks up users and groups.
///
/// # Errors
/// The mistakes that are in it, in the order of their lines; the first hundred, where there are more.
pub fn read(text: &str, path: &Arc<Path>, accounts: &mut Accounts) -> Result<File, Vec<Mistake>> {
    let document = Document::parse(text).map_err(|error| vec![syntax(text, &error)])?;
    let mut reader = Reader {
        text,
        line_ends: text.match_indices('\n').map(|(at, _)| at).collect(),
        path,
        accounts,
        file: File {
            units: true,
            ..File::default()
        },
        mistakes: Vec::new(),
    };
    reader.document(document.as_table());
    if reader.mistakes.is_empty() {
        return Ok(reader.file);
    }
    reader
        .mistakes
        .sort_by_key(|mistake| (mistake.line, mistake.column));
    Err(reader.mistakes)
}

fn syntax(text: &str, error: &TomlError) -> Mistake {
    Mistake::at(text, error.span(), error.message(), "TOML")
}

struct Reader<'a> {
    text: &'a str,
    /// Where its lines end, in bytes.
    line_ends: Vec<usize>,
    path: &'a Arc<Path>,
    accounts: &'a mut Accounts,
    file: File,
    mistakes: Vec<Mistake>,
}

type Span = Option<std::ops::Range<usize>>;

impl Reader<'_> {
    fn mistake(&mut self, span: Span, what: &str, allowed: &str) {
        if self.mistakes.len() < MOST_MISTAKES {
            let mistake = Mistake::at(self.text, span, what, allowed);
            self.mistakes.push(mistake);
        }
    }

    fn unknown(&mut self, key: &Key, of: &str, allowed: &str) {
        let what = format!("'{}' is not a {of}", key.get());
        self.mistake(key.span(), &what, allowed);
    }

    fn document(&mut self, table: &dyn TableLike) {
        for (key, item) in entries(table) {
            match key.get() {
                "rule" => self.rules(key, item),
                "profile" => self.profiles(key, item),
                "policy" => self.policy(key, item),
                _ => self.unknown(key, "section of a rules file", SECTIONS),
            }
        }
    }

    fn rules(&mut self, key: &Key, item: &Item) {
        let Some(tables) = item.as_array_of_tables() else {
            self.mistake(key.span(), "rules are written as [[rule]]", SECTIONS);
            return;
        };
        let mut names = HashSet::new();
        for table in tables {
            let before = self.mistakes.len();
            let rule = self.rule(table, table.span());
            if self.mistakes.len() > before {
                continue;
            }
            if !names.insert(Arc::clone(&rule.name)) {
                let span = table.get("name").and_then(Item::span);
                let what = format!("another rule is named '{}'", rule.name);
                self.mistake(span, &what, "a name of its own for each rule");
                continue;
            }
            if self.file.rules.len() == MOST_RULES {
                let what = format!("there are more than {MOST_RULES} rules");
                self.mistake(table.span(), &what, "fewer");
                return;
            }
            self.file.rules.push(rule);
        }
    }

    fn rule(&mut self, table: &dyn TableLike, span: Span) -> Rule {
        let start = span.as_ref().map_or(0, |span| span.start);
        let mut rule = Rule {
            name: "".into(),
            targets: Vec::new(),
            limit: Limit::NONE,
            share: Share::All,
            when: Calendar::default(),
            on: OnNetworks::default(),
            enabled: true,
            profiles: Vec::new(),
            file: Arc::clone(self.path),
            line: self.line_ends.partition_point(|end| *end < start) + 1,
        };
        let mut blocked = None;
        let before = self.mistakes.len();
        for (key, item) in entries(table) {
            match key.get() {
                "name" => {
                    if let Some(name) = self.text_of(item) {
                        match check_name(&name) {
                            Ok(()) => rule.name = name.into(),
                            Err(what) => self.mistake(item.span(), &what, NAMES),
                        }
                    }
                }
                "match" => rule.targets = self.targets(item),
                "down" => rule.limit.down = self.parsed::<Rate>(item),
                "up" => rule.limit.up = self.parsed::<Rate>(item),
                "block" => blocked = self.word(item, &BLOCKS).map(|block| (block, key)),
                "reject" => match item.as_bool() {
                    Some(reject) => rule.limit.reject = reject,
                    None => self.mistake(item.span(), "this is not a truth value", "true, false"),
                },
                "scope" => {
                    let words = SCOPES.map(|word| (word, scope_of(word)));
                    if let Some(Some(scope)) = self.word(item, &words) {
                        rule.limit.scope = scope;
                    }
                }
                "share" => {
                    if let Some(share) = self.word(item, &Share::WORDS) {
                        rule.share = share;
                    }
                }
                "when" => rule.when = self.calendar(item),
                "on" => rule.on = self.networks(item),
                "enabled" => match item.as_bool() {
                    Some(enabled) => rule.enabled = enabled,
                    None => self.mistake(item.span(), "this is not a truth value", "true, false"),
                },
                _ => self.unknown(key, "key of a rule", KEYS),
            }
        }
        if let Some((block, key)) = blocked {
            for (is_blocked, rate) in [
                (block.down, &mut rule.limit.down),
                (block.up, &mut rule.limit.up),
            ] {
                if is_blocked && rate.is_some() {
                    let what = "a direction is blocked or limited, and not both";
                    self.mistake(key.span(), what, "");
                }
                if is_blocked {
                    *rate = Some(Rate::BLOCKED);
                }
            }
        }
        if rule.limit.reject && !rule.limit.resets() {
            let what = "'reject' is for what is blocked";
            let span = table.get("reject").and_then(Item::span);
            self.mistake(span, what, "block = \"down\", \"up\" or \"both\"");
        }
        if self.mistakes.len() > before {
            // What is missing may be what was written wrong.
            return rule;
        }
        for (is_missing, key) in [
            (table.get("name").is_none(), "name"),
            (table.get("match").is_none(), "match"),
        ] {
            if is_missing {
                let what = format!("this rule has no '{key}'");
                self.mistake(span.clone(), &what, KEYS);
            }
        }
        let limits = ["down", "up", "block"];
        if limits.iter().all(|key| table.get(key).is_none()) {
            let what = "this rule limits nothing";
            self.mistake(
                span,
                what,
                "down = \"RATE\", up = \"RATE\", block = \"down\", \"up\" or \"both\"",
            );
        }
        rule
    }

    fn profiles(&mut self, key: &Key, item: &Item) {
        let Some(table) = item.as_table_like() else {
            self.mistake(
                key.span(),
                "profiles are written as [profile.NAME]",
                SECTIONS,
            );
            return;
        };
        for (name, profile) in entries(table) {
            let Some(profile) = profile.as_table_like() else {
                self.mistake(
                    name.span(),
                    "profiles are written as [profile.NAME]",
                    SECTIONS,
                );
                continue;
            };
            if let Err(what) = check_name(name.get()) {
                self.mistake(name.span(), &what, NAMES);
            }
            if name.get() == "off" {
                let what = "'off' is no name of a profile: it is what chooses none";
                self.mistake(name.span(), what, "another name");
            }
            let mut rules = Vec::new();
            for (key, item) in entries(profile) {
                match key.get() {
                    "rules" => rules = self.texts_of(item),
                    _ => self.unknown(key, "key of a profile", "rules"),
                }
            }
            self.file.profiles.push((name.get().to_owned(), rules));
        }
    }

    fn policy(&mut self, key: &Key, item: &Item) {
        let Some(table) = item.as_table_like() else {
            self.mistake(key.span(), "the policy is written as [policy]", SECTIONS);
            return;
        };
        for (key, item) in entries(table) {
            match key.get() {
                "profile" => {
                    self.file.profile = self.text_of(item).map(|name| Named {
                        name,
                        span: item.span(),
                    });
                }
                "units" => match item.as_bool() {
                    Some(units) => self.file.units = units,
                    None => self.mistake(item.span(), "this is not a truth value", "true, false"),
                },
                _ => self.unknown(key, "key of the policy", "profile, units"),
            }
        }
    }
}

fn entries(table: &dyn TableLike) -> Vec<(&Key, &Item)> {
    let keys = table.iter().map(|(key, _)| key);
    keys.filter_map(|key| table.get_key_value(key)).collect()
}
/// What may be a name.
pub const NAMES: &str = "1 to 64 characters without control characters, no dash at the beginning and no space at its ends";

const BLOCKS: [(&str, Both<bool>); 3] = [
    (
        "down",
        Both {
            down: true,
            up: false,
        },
    ),
    (
        "up",
        Both {
            down: false,
            up: true,
        },
    ),
    (
        "both",
        Both {
            down: true,
            up: true,
        },
    ),
];

const SCOPES: [&str; 4] = ["default", "internet", "local", "all"];
/// Names are typed in shells and shown in tables.
pub fn check_name(name: &str) -> Result<(), String> {
    const LONGEST: usize = 64;
    let fits = (1..=LONGEST).contains(&name.chars().count());
    if !fits || name.contains(char::is_control) || name.starts_with('-') || name.trim() != name {
        return Err(format!("'{name}' cannot be a name"));
    }
    Ok(())
}
