//! A change that was made, taken back: to the byte where nobody has changed the file since, and else of what it was about
//! only, where that is still as the change has left it.

use std::sync::Arc;

use toml_edit::{ArrayOfTables, DocumentMut, Item, Table};

use super::{
    Edit, EditError,
    document::{choose, place_of, remove, rule_mut, rules},
    line_ends::LineEnds,
    order::{reorder, split},
    parsed,
    profiles::{name_again, place_in, profiles},
};

/// A change that was made in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What was asked for.
    pub edit: Edit,
    /// The text before it.
    pub before: Arc<str>,
    /// The text that it has left.
    pub after: Arc<str>,
}

impl Change {
    /// The text of the file without the change.
    ///
    /// # Errors
    /// Where somebody else has changed what it was about.
    pub fn taken_back(&self, now: &str) -> Result<String, EditError> {
        if *now == *self.after {
            return Ok((*self.before).to_owned());
        }
        let (line_ends, now) = LineEnds::of(now);
        let [before, after] = [&self.before, &self.after].map(|text| {
            let (_, text) = LineEnds::of(text);
            parsed(&text)
        });
        let (mut before, mut after, mut now) = (before?, after?, parsed(&now)?);
        match self.edit.rule() {
            Some(name) => self.rule_back(name, &mut before, &mut after, &mut now)?,
            None if chosen(&now) == chosen(&after) => {
                choose(&mut now, chosen(&before))?;
                // With the comment beside it.
                let mut policy = now.get_mut("policy").and_then(Item::as_table_like_mut);
                let is = policy.as_mut().and_then(|policy| policy.get_mut("profile"));
                if let (Some(is), Some(was)) = (is, profile(&before)) {
                    *is = was.clone();
                }
            }
            None => return Err(EditError::Since("the profile".to_owned())),
        }
        Ok(line_ends.put_back(&now.to_string()))
    }

    fn rule_back(
        &self,
        name: &str,
        before: &mut DocumentMut,
        after: &mut DocumentMut,
        now: &mut DocumentMut,
    ) -> Result<(), EditError> {
        let is_changed = said(now, name)? != said(after, name)?;
        let (of_now, of_after) = (names(rules(now)?), names(rules(after)?));
        let is_moved = above(name, &of_now, &of_after) != above(name, &of_after, &of_after);
        if is_changed || is_moved && matches!(self.edit, Edit::Move { .. }) {
            let name = crate::text::escape(name);
            return Err(EditError::Since(format!("rule '{name}'")));
        }
        match &self.edit {
            Edit::Add { .. } => return remove(now, name),
            Edit::Remove { .. } => {
                let mut table = rule_mut(before, name)?.clone();
                // What stands apart above it has stayed.
                let (_, own) = split(&table);
                table.decor_mut().set_prefix(own);
                table.set_position(None);
                rules(now)?.push(table);
            }
            Edit::Change { .. } | Edit::Enable { .. } => {
                let mut table = rule_mut(before, name)?.clone();
                let present = rule_mut(now, name)?;
                *table.decor_mut() = present.decor().clone();
                table.set_position(present.position());
                *present = table;
                return Ok(());
            }
            Edit::Move { .. } | Edit::Profile { .. } => {}
        }
        let to = place_again(name, &names(rules(before)?), &names(rules(now)?));
        reorder(now, name, to)?;
        for (profile, named) in profiles(before) {
            let same = profiles(now).find(|(other, _)| *other == profile);
            if let (Some(place), Some((_, named))) = (place_in(named, name), same)
                && place_in(named, name).is_none()
            {
                name_again(named, name, place);
            }
        }
        Ok(())
    }
}

/// What a file says of a rule: its text, and the profiles that name it. Its place and what stands above it may be others.
fn said(
    document: &mut DocumentMut,
    name: &str,
) -> Result<(Option<String>, Vec<String>), EditError> {
    let rules = rules(document)?;
    let table = place_of(rules, name).and_then(|place| rules.get(place));
    let text = table.map(Table::to_string);
    let naming = profiles(document).filter(|(_, named)| place_in(named, name).is_some());
    Ok((text, naming.map(|(profile, _)| profile).collect()))
}

fn names(rules: &ArrayOfTables) -> Vec<String> {
    let names = rules.iter().filter_map(|rule| rule.get("name")?.as_str());
    names.map(str::to_owned).collect()
}

/// Of the rules before that one, those that are among these.
fn above<'a>(name: &str, rules: &'a [String], among: &[String]) -> Vec<&'a String> {
    let above = rules.iter().take_while(|other| *other != name);
    above.filter(|other| among.contains(other)).collect()
}

/// The place of a rule, counted from 1, behind the nearest of those that were before it.
fn place_again(name: &str, before: &[String], now: &[String]) -> usize {
    let nearest = above(name, before, now).pop();
    let others = now.iter().filter(|other| *other != name);
    let place = nearest.and_then(|nearest| others.into_iter().position(|other| other == nearest));
    place.map_or(1, |place| place + 2)
}

/// The profile that a file chooses.
fn chosen(document: &DocumentMut) -> Option<&str> {
    profile(document)?.as_str()
}

fn profile(document: &DocumentMut) -> Option<&Item> {
    let policy = document.get("policy").and_then(Item::as_table_like)?;
    policy.get("profile")
}

#[cfg(test)]
#[path = "back_tests.rs"]
mod tests;
