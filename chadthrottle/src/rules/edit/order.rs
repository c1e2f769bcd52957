//! The order of rules in a file, and what stands above each.

use toml_edit::{DocumentMut, Table};

use super::{
    EditError,
    document::{place_of, rules},
};

/// Puts a rule into another place. What stands above a rule, its comments, moves with it.
pub(super) fn reorder(document: &mut DocumentMut, name: &str, to: usize) -> Result<(), EditError> {
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
pub(super) fn split(table: &Table) -> (String, String) {
    let prefix = table.decor().prefix().and_then(|prefix| prefix.as_str());
    let prefix = prefix.unwrap_or_default();
    match prefix.rfind("\n\n") {
        Some(at) => (prefix[..at + 2].to_owned(), prefix[at + 2..].to_owned()),
        None => (String::new(), prefix.to_owned()),
    }
}
