//! Reads the text of a rules file.

use std::{collections::HashSet, path::Path, sync::Arc};

use toml_edit::{Document, Item, Key, TableLike, TomlError};

use super::{Calendar, Mistake, OnNetworks, Rule, Share};
use crate::{
    model::{Both, Limit, scope_of},
    process::{Accounts, Condition, Selector},
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

/// So many targets has a rule at most.
const MOST_TARGETS: usize = crate::process::MOST_SELECTORS;

/// And so many times.
const MOST_TIMES: usize = 64;

const SECTIONS: &str = "[[rule]], [profile.NAME], [policy]";

const KEYS: &str = "name, match, down, up, block, reject, scope, share, when, on, enabled";

/// Reads a rules file; `path` is noted in its rules, and `accounts` looks up users and groups.
///
/// # Errors
/// All mistakes that are in it, in the order of their lines.
pub fn read(text: &str, path: &Arc<Path>, accounts: &mut Accounts) -> Result<File, Vec<Mistake>> {
    let document = Document::parse(text).map_err(|error| vec![syntax(text, &error)])?;
    let mut reader = Reader {
        text,
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
    path: &'a Arc<Path>,
    accounts: &'a mut Accounts,
    file: File,
    mistakes: Vec<Mistake>,
}

type Span = Option<std::ops::Range<usize>>;

impl Reader<'_> {
    fn mistake(&mut self, span: Span, what: &str, allowed: &str) {
        self.mistakes
            .push(Mistake::at(self.text, span, what, allowed));
    }

    fn unknown(&mut self, key: &Key, of: &str, allowed: &str) {
        let what = format!("'{}' is no {of}", key.get());
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
            line: self
                .text
                .get(..start)
                .map_or(1, |before| before.matches('\n').count() + 1),
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
                    self.mistakes
                        .push(Mistake::at(self.text, key.span(), what, ""));
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

    fn targets(&mut self, item: &Item) -> Vec<Selector> {
        let texts = self.texts_of(item);
        if texts.is_empty() || texts.len() > MOST_TARGETS {
            let what = format!("a rule has 1 to {MOST_TARGETS} targets");
            self.mistake(item.span(), &what, TARGETS);
        }
        let mut targets = Vec::new();
        for Named { name, span } in texts {
            match Selector::read(&name, self.accounts) {
                Ok(selector) if names_an_id(&selector) => {
                    let what = "a process id is another process's after each start";
                    self.mistake(span, what, TARGETS);
                }
                Ok(selector) => targets.push(selector),
                Err(_) if name.parse::<u32>().is_ok() => {
                    let what = "a process id is another process's after each start";
                    self.mistake(span, what, TARGETS);
                }
                Err(error) => self.mistake(span, &error.to_string(), TARGETS),
            }
        }
        targets
    }

    fn calendar(&mut self, item: &Item) -> Calendar {
        let mut calendar = Calendar::default();
        let texts = self.texts_of(item);
        if texts.len() > MOST_TIMES {
            let what = format!("a rule has at most {MOST_TIMES} times");
            self.mistake(item.span(), &what, TIMES);
        }
        for Named { name, span } in texts {
            if let Err(error) = calendar.add(&name) {
                self.mistake(span, &error.to_string(), TIMES);
            }
        }
        calendar
    }

    fn networks(&mut self, item: &Item) -> OnNetworks {
        let mut networks = OnNetworks::default();
        let texts = self.texts_of(item);
        if texts.len() > MOST_TIMES {
            let what = format!("a rule has at most {MOST_TIMES} networks");
            self.mistake(item.span(), &what, NETWORKS);
        }
        for Named { name, span } in texts {
            if let Err(error) = networks.add(&name) {
                self.mistake(span, &error.to_string(), NETWORKS);
            }
        }
        networks
    }

    fn text_of(&mut self, item: &Item) -> Option<String> {
        let text = item.as_str().map(str::to_owned);
        if text.is_none() {
            self.mistake(item.span(), "this is not a text", "\"...\"");
        }
        text
    }

    /// One text, or several.
    fn texts_of(&mut self, item: &Item) -> Vec<Named> {
        let named = |text: &str, span| Named {
            name: text.to_owned(),
            span,
        };
        if let Some(text) = item.as_str() {
            return vec![named(text, item.span())];
        }
        let Some(array) = item.as_array() else {
            self.mistake(
                item.span(),
                "this is not a list of texts",
                "[\"...\", \"...\"]",
            );
            return Vec::new();
        };
        let mut texts = Vec::new();
        for value in array {
            match value.as_str() {
                Some(text) => texts.push(named(text, value.span())),
                None => self.mistake(value.span(), "this is not a text", "\"...\""),
            }
        }
        texts
    }

    fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(&mut self, item: &Item) -> Option<T> {
        match self.text_of(item)?.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.mistake(item.span(), &error.to_string(), "");
                None
            }
        }
    }

    fn word<T: Copy>(&mut self, item: &Item, words: &[(&str, T)]) -> Option<T> {
        let text = self.text_of(item)?;
        let found = words.iter().find(|(word, _)| *word == text);
        if found.is_none() {
            let allowed: Vec<String> = words
                .iter()
                .map(|(word, _)| format!("\"{word}\""))
                .collect();
            let what = format!("'{text}' is not known here");
            self.mistake(item.span(), &what, &allowed.join(", "));
        }
        found.map(|(_, value)| *value)
    }
}

fn entries(table: &dyn TableLike) -> Vec<(&Key, &Item)> {
    let keys = table.iter().map(|(key, _)| key);
    keys.filter_map(|key| table.get_key_value(key)).collect()
}

/// Whether a selector is about a process id, which a file cannot know.
fn names_an_id(selector: &Selector) -> bool {
    let mut terms = selector.terms().iter();
    terms.any(|term| match &term.condition {
        Condition::Pid(_) => true,
        Condition::Parent(condition) => matches!(**condition, Condition::Pid(_)),
        _ => false,
    })
}

const TARGETS: &str = "name:GLOB, exe:GLOB, command:GLOB, user:NAME, group:NAME, cgroup:PATH, unit:GLOB, container:NAME, \
     parent:TARGET, with ! and +";

const TIMES: &str = "\"Mon-Fri 08:00-18:00\", \"Sat,Sun\", \"22:00-06:00\"";

const NETWORKS: &str = "interface:GLOB, metered, ssid:GLOB";

const NAMES: &str =
    "1 to 64 characters without control characters, none of them a dash at the beginning";

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

#[cfg(test)]
mod tests {
    use super::*;
    use chadthrottle_common::scope::Scope;

    fn file(text: &str) -> Result<File, Vec<Mistake>> {
        let path = Arc::from(Path::new("/etc/chadthrottle/rules.toml"));
        read(text, &path, &mut Accounts::default())
    }

    #[test]
    fn a_file_with_everything_in_it() {
        let text = "\
[policy]
profile = \"hotel\"
units = false
[[rule]]
name = \"backup\"
match = [\"exe:/usr/bin/restic\", \"name:borg*\"]
up = \"2MB/s\"
down = \"5MB/s\"
scope = \"internet\"
share = \"process\"
when = [\"Mon-Fri 08:00-18:00\", \"Sat 22:00-06:00\"]
[[rule]]
name = \"updates\"
match = \"unit:apt-daily*.service\"
block = \"down\"
reject = true
up = \"1MB\"
enabled = false
[profile.hotel]
rules = [\"updates\"]
";
        let file = file(text).unwrap();
        let [backup, updates] = &file.rules[..] else {
            panic!("{file:?}")
        };
        assert_eq!(
            (&*backup.name, backup.line, backup.targets.len()),
            ("backup", 4, 2)
        );
        assert_eq!(backup.limit.down, Some(Rate::clamped(5_000_000)));
        assert_eq!(backup.limit.scope, Scope::INTERNET);
        assert_eq!((backup.share, backup.enabled), (Share::Process, true));
        assert_eq!(backup.when.texts().count(), 2);
        assert_eq!(updates.limit.down, Some(Rate::BLOCKED));
        assert_eq!(updates.limit.up, Some(Rate::clamped(1_000_000)));
        assert!(updates.limit.resets() && !backup.limit.resets());
        assert!(!updates.enabled && updates.when.is_always());
        assert_eq!(file.profiles[0].0, "hotel");
        assert_eq!(file.profiles[0].1[0].name, "updates");
        assert_eq!(file.profile.unwrap().name, "hotel");
        assert!(!file.units);
    }

    #[test]
    fn each_mistake_is_told_with_its_place_and_what_is_allowed() {
        let rule = "[[rule]]\nname = 'a'\nmatch = 'name:x'\ndown = '1MB'\n";
        for (text, line, column, what, allowed) in [
            ("= 1", 1, 1, "", "TOML"),
            ("\n[rules]", 2, 2, "'rules' is no section", "[[rule]]"),
            ("rule = 1", 1, 1, "[[rule]]", ""),
            (
                &format!("{rule}speed = 1"),
                5,
                1,
                "'speed' is no key",
                "match",
            ),
            (&format!("{rule}up = '5kbps'"), 5, 6, "ambiguous", ""),
            (&format!("{rule}up = 5"), 5, 6, "not a text", ""),
            (
                &format!("{rule}scope = 'moon'"),
                5,
                9,
                "'moon'",
                "\"internet\"",
            ),
            (
                &format!("{rule}when = ['Mon', 'Moon']"),
                5,
                16,
                "'Moon' is not a time",
                "Mon-Fri",
            ),
            (
                &format!("{rule}on = ['interface:a', 'wifi:x']"),
                5,
                22,
                "'wifi:x' is no network",
                "ssid:GLOB",
            ),
            (
                &format!("{rule}enabled = 'no'"),
                5,
                11,
                "truth value",
                "false",
            ),
            (&format!("{rule}block = 'down'"), 5, 1, "not both", ""),
            (
                &format!("{rule}reject = 'no'"),
                5,
                10,
                "truth value",
                "true",
            ),
            (
                &format!("{rule}reject = true"),
                5,
                10,
                "for what is blocked",
                "block = ",
            ),
            (
                &format!("{rule}{rule}"),
                6,
                8,
                "another rule is named 'a'",
                "",
            ),
            (
                "[[rule]]\nmatch = 'name:x'\nup = '1MB'",
                1,
                1,
                "no 'name'",
                "name",
            ),
            (
                "[[rule]]\nname = 'a'\nup = '1MB'",
                1,
                1,
                "no 'match'",
                "match",
            ),
            (
                "[[rule]]\nname = 'a'\nmatch = 'name:x'",
                1,
                1,
                "limits nothing",
                "block",
            ),
            (
                "[[rule]]\nname = '-a'\nmatch = 'name:x'\nup = '1MB'",
                2,
                8,
                "'-a'",
                "64",
            ),
            (
                "[[rule]]\nname = 'a'\nmatch = []\nup = '1MB'",
                3,
                9,
                "1 to 64",
                "unit:",
            ),
            (
                "[[rule]]\nname = 'a'\nmatch = '7'\nup = '1MB'",
                3,
                9,
                "process id",
                "exe:",
            ),
            (
                "[[rule]]\nname = 'a'\nmatch = 'parent:7'\nup = '1MB'",
                3,
                9,
                "process id",
                "",
            ),
            (
                "[[rule]]\nname = 'a'\nmatch = ['name:x', 'wget']\nup = '1MB'",
                3,
                20,
                "name:wget",
                "",
            ),
            (
                "[[rule]]\nname = 'a'\nmatch = 'user:0+user:1'\nup = '1MB'",
                3,
                9,
                "can never match",
                "",
            ),
            (
                "[profile.x]\nrule = ['a']",
                2,
                1,
                "'rule' is no key of a profile",
                "rules",
            ),
            ("[policy]\nunit = 1", 2, 1, "'unit'", "profile"),
        ] {
            let mistakes = file(text).expect_err(text);
            let first = &mistakes[0];
            assert_eq!(
                (first.line, first.column),
                (line, column),
                "{text}: {first}"
            );
            assert!(first.what.contains(what), "{text}: {first}");
            assert!(first.allowed.contains(allowed), "{text}: {first}");
        }
        // All of them, in the order of lines.
        let both = file("[[rule]]\nname = 1\nup = 2\n[other]").unwrap_err();
        let lines: Vec<usize> = both.iter().map(|mistake| mistake.line).collect();
        assert_eq!(lines, [2, 3, 4]);
    }

    #[test]
    fn nonsense_is_refused_and_never_a_panic() {
        for text in [
            "\u{0}",
            "[[rule]]\nname = \"\u{202e}\"",
            "[[",
            "\u{feff}[[rule]]",
            "a.b.c = [{x = 1}]",
        ] {
            let _ = file(text);
        }
    }
}
