//! Changes to the rules file, which leave comments, order and all else in it as they are.

use serde::{Deserialize, Serialize};
use toml_edit::{Array, ArrayOfTables, DocumentMut, Item, Table, value};

use super::read::check_name;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Edit {
    /// Another rule, the last one or, with `first`, the first.
    Add {
        /// What it is.
        rule: NewRule,
        /// Whether it comes before all others.
        #[serde(default)]
        first: bool,
    },
    /// One rule less.
    Remove {
        /// Which.
        name: String,
    },
    /// Other limits for a rule, whatever else it says.
    Change {
        /// Which.
        name: String,
        /// Download, as a rate is written; `None`: not limited.
        down: Option<String>,
        /// Upload.
        up: Option<String>,
        /// What is blocked: `down`, `up` or `both`.
        block: Option<String>,
        /// Whether what is blocked is refused.
        #[serde(default)]
        reject: bool,
        /// The scope's word; `None`: the usual one.
        scope: Option<String>,
    },
    /// A rule that may be on, or may not.
    Enable {
        /// Which.
        name: String,
        /// Whether it may.
        enabled: bool,
    },
    /// A rule in another place.
    Move {
        /// Which.
        name: String,
        /// Which place among the rules of its file, counted from 1.
        to: usize,
    },
    /// Another profile, or none.
    Profile {
        /// Which.
        name: Option<String>,
    },
}

/// A rule to be written, in the words of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NewRule {
    /// Its name.
    pub name: String,
    /// For whom.
    pub targets: Vec<String>,
    /// Download rate.
    pub down: Option<String>,
    /// Upload rate.
    pub up: Option<String>,
    /// `down`, `up` or `both`.
    pub block: Option<String>,
    /// Whether what is blocked is refused rather than kept waiting.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub reject: bool,
    /// Scope.
    pub scope: Option<String>,
    /// Who shares it.
    pub share: Option<String>,
    /// When it is on.
    pub when: Vec<String>,
    /// On which networks.
    pub on: Vec<String>,
}

/// Why a change was not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// It is not there to be changed.
    #[error("there is no rule '{0}' in this file")]
    NoRule(String),
    /// Its name is taken.
    #[error("there is a rule '{0}' already")]
    Exists(String),
    /// There is no such place.
    #[error("give a place from 1 to {0}, which is how many rules this file has")]
    NoPlace(usize),
    /// Not a name.
    #[error("{0}")]
    Name(String),
    /// The file as it is cannot be read.
    #[error("the file has a mistake, and is left as it is: {0}")]
    Broken(String),
}

impl Edit {
    /// The text of a file with the change in it.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub fn apply(&self, text: &str) -> Result<String, EditError> {
        let mut document: DocumentMut = text
            .parse()
            .map_err(|error: toml_edit::TomlError| EditError::Broken(error.message().to_owned()))?;
        match self {
            Self::Add { rule, first } => add(&mut document, rule, *first)?,
            Self::Remove { name } => remove(&mut document, name)?,
            Self::Change {
                name,
                down,
                up,
                block,
                reject,
                scope,
            } => {
                let table = rule_mut(&mut document, name)?;
                let texts = [
                    ("down", down),
                    ("up", up),
                    ("block", block),
                    ("scope", scope),
                ];
                for (key, to) in texts {
                    set(table, key, to.as_deref());
                }
                // It says nothing without a block.
                match *reject && block.is_some() {
                    true => put(table, "reject", value(true)),
                    false => _ = table.remove("reject"),
                }
            }
            Self::Enable { name, enabled } => {
                let table = rule_mut(&mut document, name)?;
                let has_comment = table
                    .get("enabled")
                    .and_then(Item::as_value)
                    .is_some_and(|it| {
                        let suffix = it.decor().suffix().and_then(|suffix| suffix.as_str());
                        suffix.is_some_and(|suffix| suffix.contains('#'))
                    });
                if *enabled && has_comment {
                    put(table, "enabled", value(true));
                } else if *enabled {
                    table.remove("enabled");
                } else {
                    put(table, "enabled", value(false));
                }
            }
            Self::Move { name, to } => reorder(&mut document, name, *to)?,
            Self::Profile { name } => choose(&mut document, name.as_deref())?,
        }
        Ok(document.to_string())
    }
}

/// The rules of the file; none where it has none.
fn rules(document: &mut DocumentMut) -> Result<&mut ArrayOfTables, EditError> {
    let rules = document
        .entry("rule")
        .or_insert_with(|| Item::ArrayOfTables(ArrayOfTables::new()));
    rules
        .as_array_of_tables_mut()
        .ok_or_else(|| EditError::Broken("rules are written as [[rule]]".to_owned()))
}

fn place_of(rules: &ArrayOfTables, name: &str) -> Option<usize> {
    rules
        .iter()
        .position(|table| table.get("name").and_then(Item::as_str) == Some(name))
}

fn rule_mut<'a>(document: &'a mut DocumentMut, name: &str) -> Result<&'a mut Table, EditError> {
    let rules = rules(document)?;
    let missing = || EditError::NoRule(crate::text::escape(name).into_owned());
    let place = place_of(rules, name).ok_or_else(missing)?;
    rules.get_mut(place).ok_or_else(missing)
}

fn add(document: &mut DocumentMut, rule: &NewRule, first: bool) -> Result<(), EditError> {
    check_name(&rule.name).map_err(EditError::Name)?;
    let is_empty = document.is_empty();
    let rules = rules(document)?;
    if place_of(rules, &rule.name).is_some() {
        return Err(EditError::Exists(rule.name.clone()));
    }
    let mut table = Table::new();
    table.insert("name", value(&rule.name));
    put(&mut table, "match", list(&rule.targets));
    let texts = [
        ("down", &rule.down),
        ("up", &rule.up),
        ("block", &rule.block),
        ("scope", &rule.scope),
        ("share", &rule.share),
    ];
    for (key, text) in texts {
        set(&mut table, key, text.as_deref());
    }
    if rule.reject {
        put(&mut table, "reject", value(true));
    }
    if !rule.when.is_empty() {
        put(&mut table, "when", list(&rule.when));
    }
    if !rule.on.is_empty() {
        put(&mut table, "on", list(&rule.on));
    }
    if !is_empty {
        table.decor_mut().set_prefix("\n");
    }
    let last = rules.len();
    rules.push(table);
    if first && last > 0 {
        reorder(document, &rule.name, 1)?;
    }
    Ok(())
}

fn remove(document: &mut DocumentMut, name: &str) -> Result<(), EditError> {
    let rules = rules(document)?;
    let missing = || EditError::NoRule(crate::text::escape(name).into_owned());
    let place = place_of(rules, name).ok_or_else(missing)?;
    let removed = rules.remove(place);
    // What stands apart above it, as the words at the head of a file, is about more than this rule.
    let (apart, _) = split(&removed);
    let next = rules.iter_mut().nth(place);
    if !apart.is_empty() {
        match next {
            Some(next) => {
                let (before, own) = split(next);
                next.decor_mut().set_prefix(format!("{apart}{before}{own}"));
            }
            None => {
                let trailing = document.trailing().as_str().unwrap_or_default().to_owned();
                document.set_trailing(format!("{apart}{trailing}"));
            }
        }
    }
    let rules = self::rules(document)?;
    if rules.is_empty() {
        document.remove("rule");
    }
    // A profile that names it would name nobody.
    let profiles = document
        .get_mut("profile")
        .and_then(Item::as_table_like_mut);
    for (_, profile) in profiles.into_iter().flat_map(|table| table.iter_mut()) {
        let named = profile.get_mut("rules").and_then(Item::as_array_mut);
        if let Some(named) = named {
            let before = named.len();
            named.retain(|rule| rule.as_str() != Some(name));
            if named.len() < before {
                named.fmt();
            }
        }
    }
    Ok(())
}

/// Puts a rule into another place. What stands above a rule, its comments, moves with it.
fn reorder(document: &mut DocumentMut, name: &str, to: usize) -> Result<(), EditError> {
    let rules = rules(document)?;
    let missing = || EditError::NoRule(crate::text::escape(name).into_owned());
    let from = place_of(rules, name).ok_or_else(missing)?;
    let count = rules.len();
    if !(1..=count).contains(&to) {
        return Err(EditError::NoPlace(count));
    }
    // The places in the file stay, which other sections may stand between.
    let mut places: Vec<Option<isize>> = rules.iter().map(Table::position).collect();
    places.sort_by_key(|place| place.unwrap_or(isize::MAX));
    let mut tables: Vec<Table> = rules.iter().cloned().collect();
    let head = tables.first().map(split).unwrap_or_default().0;
    // What stands apart at the head of the file stays there, and an empty line where one was.
    let mut lead = "";
    if let Some(first) = tables.first_mut() {
        let (_, own) = split(first);
        lead = if own.starts_with('\n') { "\n" } else { "" };
        first.decor_mut().set_prefix(own);
    }
    let table = tables.remove(from);
    tables.insert(to - 1, table);
    for (at, table) in tables.iter_mut().enumerate() {
        let (apart, own) = split(table);
        let prefix = match at {
            0 => format!("{head}{lead}{}", own.trim_start_matches('\n')),
            _ if apart.is_empty() && !own.starts_with('\n') => format!("\n{own}"),
            _ => format!("{apart}{own}"),
        };
        table.decor_mut().set_prefix(prefix);
    }
    rules.clear();
    for (mut table, place) in tables.into_iter().zip(places) {
        table.set_position(place);
        rules.push(table);
    }
    Ok(())
}

/// What stands above a table: apart from it, with an empty line between, and at it.
fn split(table: &Table) -> (String, String) {
    let prefix = table.decor().prefix().and_then(|prefix| prefix.as_str());
    let prefix = prefix.unwrap_or_default();
    match prefix.rfind("\n\n") {
        Some(at) => (prefix[..at + 2].to_owned(), prefix[at + 2..].to_owned()),
        None => (String::new(), prefix.to_owned()),
    }
}

fn choose(document: &mut DocumentMut, name: Option<&str>) -> Result<(), EditError> {
    let broken = || EditError::Broken("the policy is written as [policy]".to_owned());
    let Some(name) = name else {
        let policy = document.get_mut("policy");
        if let Some(policy) = policy {
            policy
                .as_table_like_mut()
                .ok_or_else(broken)?
                .remove("profile");
        }
        return Ok(());
    };
    let is_empty = document.is_empty();
    let policy = document.entry("policy").or_insert_with(|| {
        let mut table = Table::new();
        if !is_empty {
            table.decor_mut().set_prefix("\n");
        }
        Item::Table(table)
    });
    let policy = policy.as_table_like_mut().ok_or_else(broken)?;
    match policy.get_mut("profile") {
        Some(profile) => replace(profile, value(name)),
        None => {
            policy.insert("profile", value(name));
        }
    }
    Ok(())
}

/// Has a key say that, or not be there.
fn set(table: &mut Table, key: &str, text: Option<&str>) {
    match text {
        Some(text) => put(table, key, value(text)),
        None => {
            table.remove(key);
        }
    }
}

fn put(table: &mut Table, key: &str, new: Item) {
    match table.get_mut(key) {
        Some(item) => replace(item, new),
        None => {
            table.insert(key, new);
        }
    }
}

/// Puts a value in the place of another, with the comment that stands beside it.
fn replace(item: &mut Item, new: Item) {
    let decor = item.as_value().map(|value| value.decor().clone());
    *item = new;
    if let (Some(decor), Some(value)) = (decor, item.as_value_mut()) {
        *value.decor_mut() = decor;
    }
}

/// One text, or a list of several.
fn list(texts: &[String]) -> Item {
    match texts {
        [text] => value(text),
        texts => value(texts.iter().collect::<Array>()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{process::Accounts, rules::read};
    use std::{path::Path, sync::Arc};

    const FILE: &str = "\
# Ours.
[policy]
profile = \"hotel\" # at night

# The backup is slow.
[[rule]]
name = \"backup\"   # of all
match = [ \"name:restic\" ]
down = \"5MB/s\" # megabytes

[profile.hotel]
rules = [\"backup\", \"b\"]

# Second.
[[rule]]
name = 'b'
match = 'name:b'
block = 'both'
# The end.
";

    fn name(name: &str) -> String {
        name.to_owned()
    }

    #[test]
    fn a_change_leaves_the_rest_of_the_file_as_it_is() {
        let enable = |enabled| Edit::Enable {
            name: name("backup"),
            enabled,
        };
        let disabled = enable(false).apply(FILE).unwrap();
        let expected = FILE.replace("# megabytes\n", "# megabytes\nenabled = false\n");
        assert_eq!(disabled, expected);
        assert_eq!(enable(true).apply(&disabled).unwrap(), FILE);
        let change = Edit::Change {
            name: name("backup"),
            down: Some(name("1MB/s")),
            up: None,
            block: None,
            reject: true,
            scope: None,
        };
        let changed = change.apply(FILE).unwrap();
        assert_eq!(changed, FILE.replace("5MB/s", "1MB/s"));
        // Where nothing is blocked any more, nothing is refused.
        let refusing = FILE.replace("down = \"5MB/s\"", "block = \"down\"\nreject = true");
        let changed = change.apply(&refusing).unwrap();
        assert!(!changed.contains("reject"), "{changed}");
        let change = Edit::Change {
            name: name("backup"),
            down: None,
            up: None,
            block: Some(name("down")),
            reject: true,
            scope: None,
        };
        assert_eq!(change.apply(&refusing).unwrap(), refusing);
        let profile = |to: Option<&str>| {
            let name = to.map(str::to_owned);
            Edit::Profile { name }.apply(FILE).unwrap()
        };
        assert_eq!(
            profile(Some("train")),
            FILE.replace("\"hotel\" #", "\"train\" #")
        );
        assert_eq!(
            profile(None),
            FILE.replace("profile = \"hotel\" # at night\n", "")
        );
    }

    #[test]
    fn rules_move_with_their_comments_and_go_with_what_names_them() {
        let moved = Edit::Move {
            name: name("b"),
            to: 1,
        };
        let moved = moved.apply(FILE).unwrap();
        let order: Vec<usize> = [
            "# Ours.",
            "# Second.",
            "name = 'b'",
            "# The backup",
            "[profile.hotel]",
            "# The end.",
        ]
        .iter()
        .map(|text| {
            moved
                .find(text)
                .unwrap_or_else(|| panic!("{text}: {moved}"))
        })
        .collect();
        assert!(order[1] < order[2] && order[2] < order[3], "{moved}");
        assert_eq!(moved.len(), FILE.len(), "{moved}");
        let back = Edit::Move {
            name: name("b"),
            to: 2,
        };
        assert_eq!(back.apply(&moved).unwrap(), FILE);
        let removed = Edit::Remove { name: name("b") }.apply(FILE).unwrap();
        assert!(
            !removed.contains("name:b") && removed.contains("rules = [\"backup\"]"),
            "{removed}"
        );
    }

    #[test]
    fn the_head_of_a_file_stays_where_it_is() {
        let text = "# Ours.\n\n# Of a.\n[[rule]]\nname = 'a'\n\n# Of b.\n[[rule]]\nname = 'b'\n";
        let edited = |edit: Edit| edit.apply(text).unwrap();
        let removed = edited(Edit::Remove { name: name("a") });
        assert!(removed.starts_with("# Ours.\n\n"), "{removed}");
        assert!(
            !removed.contains("Of a") && removed.contains("# Of b.\n[[rule]]"),
            "{removed}"
        );
        let moved = edited(Edit::Move {
            name: name("b"),
            to: 1,
        });
        let expected =
            "# Ours.\n\n# Of b.\n[[rule]]\nname = 'b'\n\n# Of a.\n[[rule]]\nname = 'a'\n";
        assert_eq!(moved, expected);
        let switched = "[[rule]]\nname = 'a'\nenabled = false # until Monday\n";
        let enable = Edit::Enable {
            name: name("a"),
            enabled: true,
        };
        let enabled = enable.apply(switched).unwrap();
        assert_eq!(enabled, switched.replace("false", "true"));
    }

    #[test]
    fn what_is_added_is_read_the_same() {
        let new = NewRule {
            name: name("a \u{e4}\"'#"),
            targets: vec![name("name:a*+!user:0"), name("exe:/a \\ b")],
            down: Some(name("5MB/s")),
            up: None,
            block: Some(name("up")),
            reject: true,
            scope: Some(name("internet")),
            share: Some(name("process")),
            when: vec![name("Mon-Fri 08:00-18:00")],
            on: vec![name("interface:tun*"), name("interface:wlan[0-9]")],
        };
        for (before, first) in [
            ("", false),
            (FILE, false),
            (FILE, true),
            ("# only words", true),
        ] {
            let add = Edit::Add {
                rule: new.clone(),
                first,
            };
            let text = add.apply(before).unwrap();
            for line in before.lines() {
                assert!(text.contains(line), "{text}");
            }
            let file =
                read::read(&text, &Arc::from(Path::new("x")), &mut Accounts::default()).unwrap();
            let place = if first { 0 } else { file.rules.len() - 1 };
            let rule = &file.rules[place];
            assert_eq!(&*rule.name, new.name);
            let targets: Vec<String> = rule.targets.iter().cloned().map(Into::into).collect();
            assert_eq!(targets, new.targets);
            assert!(rule.limit.resets());
            assert_eq!(rule.when.texts().collect::<Vec<_>>(), new.when);
            assert_eq!(rule.on.texts().collect::<Vec<_>>(), new.on);
            assert_eq!(
                add.apply(&text).unwrap_err(),
                EditError::Exists(new.name.clone())
            );
        }
    }

    #[test]
    fn what_cannot_be_done_changes_nothing() {
        let missing = name("none");
        for edit in [
            Edit::Remove {
                name: missing.clone(),
            },
            Edit::Enable {
                name: missing.clone(),
                enabled: true,
            },
            Edit::Move {
                name: missing,
                to: 1,
            },
            Edit::Move {
                name: name("b"),
                to: 3,
            },
            Edit::Move {
                name: name("b"),
                to: 0,
            },
            Edit::Add {
                rule: NewRule::default(),
                first: false,
            },
        ] {
            assert!(edit.apply(FILE).is_err(), "{edit:?}");
        }
        let edit = Edit::Profile { name: None };
        assert!(matches!(edit.apply("= 1"), Err(EditError::Broken(_))));
        assert!(edit.apply("policy = 1").is_err());
    }
}
