//! The parts of a rules file, and what is done to them.

use toml_edit::{Array, ArrayOfTables, DocumentMut, Item, Table, value};

use super::{
    EditError, NewRule,
    order::{reorder, split},
    profiles::{forget, profiles},
};
use crate::rules::read::{NAMES, check_name};

/// The rules of the file; none where it has none.
pub(super) fn rules(document: &mut DocumentMut) -> Result<&mut ArrayOfTables, EditError> {
    let rules = document
        .entry("rule")
        .or_insert_with(|| Item::ArrayOfTables(ArrayOfTables::new()));
    rules
        .as_array_of_tables_mut()
        .ok_or_else(|| EditError::Broken("rules are written as [[rule]]".to_owned()))
}

pub(super) fn place_of(rules: &ArrayOfTables, name: &str) -> Option<usize> {
    rules
        .iter()
        .position(|table| table.get("name").and_then(Item::as_str) == Some(name))
}

pub(super) fn rule_mut<'a>(
    document: &'a mut DocumentMut,
    name: &str,
) -> Result<&'a mut Table, EditError> {
    let rules = rules(document)?;
    let missing = || EditError::NoRule(crate::text::escape(name).into_owned());
    let place = place_of(rules, name).ok_or_else(missing)?;
    rules.get_mut(place).ok_or_else(missing)
}

pub(super) fn add(
    document: &mut DocumentMut,
    rule: &NewRule,
    first: bool,
) -> Result<(), EditError> {
    check_name(&rule.name).map_err(|what| {
        let what = crate::text::escape(&what);
        EditError::Name(format!("{what}; allowed: {NAMES}"))
    })?;
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

pub(super) fn remove(document: &mut DocumentMut, name: &str) -> Result<(), EditError> {
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
    for (_, named) in profiles(document) {
        forget(named, name);
    }
    Ok(())
}

pub(super) fn choose(document: &mut DocumentMut, name: Option<&str>) -> Result<(), EditError> {
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
pub(super) fn set(table: &mut Table, key: &str, text: Option<&str>) {
    match text {
        Some(text) => put(table, key, value(text)),
        None => {
            table.remove(key);
        }
    }
}

pub(super) fn put(table: &mut Table, key: &str, new: Item) {
    match table.get_mut(key) {
        Some(item) => replace(item, new),
        None => {
            table.insert(key, new);
        }
    }
}

/// Puts a value in the place of another, with the comment that stands beside it. What says the same stays as it is written.
pub(super) fn replace(item: &mut Item, new: Item) {
    if item.as_str().is_some() && item.as_str() == new.as_str() {
        return;
    }
    let decor = item.as_value().map(|value| value.decor().clone());
    *item = new;
    if let (Some(decor), Some(value)) = (decor, item.as_value_mut()) {
        *value.decor_mut() = decor;
    }
}

/// One text, or a list of several.
pub(super) fn list(texts: &[String]) -> Item {
    match texts {
        [text] => value(text),
        texts => value(texts.iter().collect::<Array>()),
    }
}
