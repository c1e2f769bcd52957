//! Limits from the keyboard: whom they are for, and what is asked of the engine.

use std::collections::HashSet;

use super::{
    dialog::{LimitDialog, Present, Subject, stepped},
    effect::Effect,
    keep::{self, KeepDialog},
    rows::{Row, RowKey, RowLimit},
    state::{Message, Mode, Question, State},
};
use crate::{
    model::{Limit, LimitId, ProcessKey, ProcessSample},
    process::Targets,
    text::{escape, name_of_process},
    units::Rate,
};

/// Opens the dialog for the chosen rows, or says why not.
pub fn open_dialog(state: &mut State) {
    match subject(state) {
        Ok(subject) => state.mode = Mode::Dialog(LimitDialog::new(subject)),
        Err(why) => state.message = Some(Message::error(why)),
    }
}

fn subject(state: &State) -> Result<Subject, String> {
    let chosen = state.chosen();
    let living: Vec<&Row> = chosen
        .iter()
        .map(AsRef::as_ref)
        .filter(|row: &&Row| !row.ended)
        .collect();
    let Some(first) = living.first() else {
        return Err(match chosen.first() {
            Some(row) => format!("{} has ended", who(state, row)),
            None => state.no_row(),
        });
    };
    let same = living.iter().all(|row| row.limit == first.limit);
    let present = match first.limit {
        RowLimit::One(id, _) if same => present(state, first, id),
        _ => None,
    };
    let limit = match first.limit {
        RowLimit::One(_, limit) if same => Some(limit),
        _ => None,
    };
    Ok(Subject {
        rows: living.iter().flat_map(|row| members(state, row)).collect(),
        who: match living.as_slice() {
            [one] => who(state, one),
            several => format!("{} rows together", several.len()),
        },
        limit,
        held_by: match first.limit {
            RowLimit::One(id, _) if same => state.origin(id).and_then(|origin| origin.rule.clone()),
            _ => None,
        },
        rule: None,
        // Of several rows a limit that they share already is changed, with all its members.
        present,
    })
}

/// The row, or where nothing but its processes tells whom it means, those that it has now.
fn members(state: &State, row: &Row) -> Vec<RowKey> {
    match &row.key {
        RowKey::Group(group) if group.selector().is_none() => {
            let living = state.processes_of(&row.key).filter(|it| !it.ended);
            living.map(|it| RowKey::Process(it.key)).collect()
        }
        key => vec![key.clone()],
    }
}

/// The limit to change; `None` where a new one takes its place: a group's limit takes in what
/// starts later, which that of a process does not.
fn present(state: &State, row: &Row, id: LimitId) -> Option<Present> {
    let limit = state.limit(id)?;
    // One that is set by hand stands above a rule's.
    if state.is_of_rule(id) {
        return None;
    }
    let takes_in_more = matches!(&row.key, RowKey::Group(group) if group.selector().is_some());
    (!takes_in_more || limit.open_ended).then_some(Present {
        id,
        children: limit.children,
        members: limit.members,
    })
}

/// Does what a dialog's limit asks for; where that blocks what the machine or this screen needs, asks first.
pub fn apply(state: &mut State, dialog: &LimitDialog, limit: Limit) -> Vec<Effect> {
    let effects = effects(dialog, limit);
    let is_block = [limit.down, limit.up]
        .into_iter()
        .flatten()
        .any(Rate::is_blocked);
    if is_block && let Some(why) = risk_of_blocking(state, &dialog.subject) {
        let who = dialog.subject.who.clone();
        state.mode = Mode::Confirm(Question::Block { who, why, effects });
        return Vec::new();
    }
    state.tagged.clear();
    effects
}

/// What a dialog's limit asks for: two empty fields remove it.
fn effects(dialog: &LimitDialog, limit: Limit) -> Vec<Effect> {
    let who = dialog.subject.who.clone();
    let unlimited = limit.down.is_none() && limit.up.is_none();
    if let Some(rule) = &dialog.subject.rule {
        return match unlimited {
            // A rule that limits nothing is none.
            true => vec![Effect::Say(Message::error(
                "a rule limits something: x removes it",
            ))],
            false => vec![Effect::EditRules {
                edit: keep::change(rule, limit),
                words: format!("{who}: {limit}"),
            }],
        };
    }
    match dialog.subject.present {
        Some(Present { id, .. }) if unlimited => vec![Effect::RemoveLimits {
            ids: vec![id],
            who,
            are_blocks: dialog.subject.limit.is_some_and(Limit::is_block),
        }],
        Some(Present { id, children, .. }) => vec![Effect::ChangeLimit {
            id,
            limit,
            children: (children != dialog.children).then_some(dialog.children),
            who,
        }],
        // What a rule holds has a limit in its fields.
        None if unlimited && dialog.subject.limit.is_some() => {
            let words = format!("a rule holds {who}: R shows rules");
            vec![Effect::Say(Message::error(words))]
        }
        None if unlimited => Vec::new(),
        None => {
            let mut targets = Targets {
                children: dialog.children,
                ..Targets::default()
            };
            for row in &dialog.subject.rows {
                match row {
                    RowKey::Process(key) | RowKey::Connection(key, _) => {
                        targets.processes.push(*key);
                    }
                    RowKey::Group(group) => targets.selectors.extend(group.selector()),
                }
            }
            vec![Effect::SetLimit {
                targets,
                limit,
                who,
            }]
        }
    }
}

/// Blocks the chosen rows, or ends the block that they have.
pub fn block(state: &mut State) -> Vec<Effect> {
    let subject = match subject(state) {
        Ok(subject) => subject,
        Err(why) => {
            state.message = Some(Message::error(why));
            return Vec::new();
        }
    };
    let is_blocked = |limit: Limit| limit.down.is_some_and(Rate::is_blocked);
    if let (Some(present), Some(limit)) = (subject.present, subject.limit)
        && is_blocked(limit)
    {
        let ids = vec![present.id];
        let who = with_others(state, &ids, subject.who);
        return vec![Effect::RemoveLimits {
            ids,
            who,
            are_blocks: true,
        }];
    }
    let mut dialog = LimitDialog::new(subject);
    // One that they have stays with those who share it.
    dialog.subject.present = None;
    let blocked = Limit {
        down: Some(Rate::BLOCKED),
        up: Some(Rate::BLOCKED),
        ..Limit::NONE
    };
    apply(state, &dialog, blocked)
}

/// What a block of these rows, and of all who share the limit or rule that it changes, would cut off that the machine or
/// this screen needs.
fn risk_of_blocking(state: &State, subject: &Subject) -> Option<String> {
    /// What starts all threads of the kernel.
    const KTHREADD: u32 = 2;
    let of_session = ancestors(state, state.pid);
    let rule = subject.rule.as_ref().and_then(|name| state.rule(name));
    let mut shared: Vec<LimitId> = rule.map(|rule| rule.limits.clone()).unwrap_or_default();
    shared.extend(subject.present.map(|present| present.id));
    let shares =
        |process: &&ProcessSample| process.limit.is_some_and(|(id, _)| shared.contains(&id));
    let of_rows = subject.rows.iter().flat_map(|row| state.processes_of(row));
    let sharing = state.snapshot.processes.iter().filter(shares);
    let mut risks = of_rows
        .chain(sharing)
        .filter(|process| !process.ended)
        .filter_map(|process| {
            let pid = process.key.pid;
            let name = name_of_process(&process.name, &process.exe);
            if pid == 1 {
                Some(format!("{name} (1) is what the machine was started with."))
            } else if pid == KTHREADD || process.parent == KTHREADD {
                Some(format!("{name} ({pid}) is part of the kernel."))
            } else if of_session.contains(&pid) {
                Some(format!("This screen runs below {name} ({pid})."))
            } else {
                None
            }
        });
    risks.next()
}

/// The process with that id, and those that it was started by.
fn ancestors(state: &State, pid: u32) -> Vec<u32> {
    let processes = &state.snapshot.processes;
    let mut pids = vec![pid];
    let mut at = pid;
    while let Some(process) = processes.iter().find(|it| it.key.pid == at && !it.ended)
        && !pids.contains(&process.parent)
    {
        at = process.parent;
        pids.push(at);
    }
    pids
}

/// Opens the dialog that makes a rule of the limit of the selected row, or says why not.
pub fn open_keep(state: &mut State) {
    let dialog = match state.chosen().as_slice() {
        [row] => KeepDialog::of(state, row),
        [] => Err(state.no_row()),
        _ => Err("a rule is made of one row: U untags".to_owned()),
    };
    match dialog {
        Ok(dialog) => state.mode = Mode::Keep(dialog),
        Err(why) => state.message = Some(Message::error(why)),
    }
}

/// Removes the limits of the chosen rows.
pub fn remove(state: &mut State) -> Vec<Effect> {
    let ids = chosen_limits(state);
    let who = chosen_in_words(state);
    if let Some(message) = of_rule(state, &ids) {
        state.message = Some(message);
        return Vec::new();
    }
    if ids.is_empty() {
        state.message = Some(without_limit(state, ""));
        return Vec::new();
    }
    let who = with_others(state, &ids, who);
    let is_block = |id: &LimitId| state.limit(*id).is_some_and(|it| it.limit.is_block());
    vec![Effect::RemoveLimits {
        are_blocks: ids.iter().all(is_block),
        ids,
        who,
    }]
}

/// The chosen rows in words, with how many others share these limits.
fn with_others(state: &State, ids: &[LimitId], who: String) -> String {
    let has = |process: &&ProcessSample| process.limit.is_some_and(|(id, _)| ids.contains(&id));
    let all = state.snapshot.processes.iter().filter(has).count();
    let chosen = state.chosen();
    let of_chosen: HashSet<ProcessKey> = chosen
        .iter()
        .flat_map(|row| state.processes_of(&row.key))
        .filter(has)
        .map(|process| process.key)
        .collect();
    match all - of_chosen.len() {
        0 => who,
        1 => format!("{who} and 1 more process that shared it"),
        others => format!("{who} and {others} more processes that shared it"),
    }
}

/// Makes the limits of the chosen rows a step slower or faster.
pub fn step(state: &mut State, faster: bool) -> Vec<Effect> {
    let ids = chosen_limits(state);
    if ids.is_empty() {
        state.message = Some(without_limit(state, ": Enter sets one"));
    }
    if let Some(message) = of_rule(state, &ids) {
        state.message = Some(message);
        return Vec::new();
    }
    let who = chosen_in_words(state);
    let step = |rate: Rate| stepped(rate, faster);
    ids.into_iter()
        .filter_map(|id| {
            let limit = state.limit(id)?.limit;
            Some(Effect::ChangeLimit {
                id,
                limit: Limit {
                    down: limit.down.map(step),
                    up: limit.up.map(step),
                    ..limit
                },
                children: None,
                who: who.clone(),
            })
        })
        .collect()
}

/// That a rule holds one of them, and what to do.
fn of_rule(state: &State, ids: &[LimitId]) -> Option<Message> {
    let rule = ids.iter().find_map(|id| state.origin(*id)?.rule.clone())?;
    let rule = escape(&rule).into_owned();
    Some(Message::error(format!(
        "rule '{rule}' holds it: R shows rules, Enter sets a limit above it"
    )))
}

/// The limits of the chosen rows, each once.
fn chosen_limits(state: &State) -> Vec<LimitId> {
    let mut ids: Vec<LimitId> = state
        .chosen()
        .into_iter()
        .flat_map(|row| state.limits_of(&row))
        .collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// That none of the chosen rows has a limit, and what to do.
fn without_limit(state: &State, then: &str) -> Message {
    let who = chosen_in_words(state);
    Message::error(match state.chosen().len() {
        0 => state.no_row(),
        1 => format!("{who} has no limit{then}"),
        _ => format!("{who} have no limit{then}"),
    })
}

fn chosen_in_words(state: &State) -> String {
    match state.chosen().as_slice() {
        [] => "nothing".to_owned(),
        [one] => who(state, one),
        several => format!("{} rows", several.len()),
    }
}

/// Whom an action on a row is for, in words, safe to show: of a group all, which a filter shows only some of.
pub fn who(state: &State, row: &Row) -> String {
    let name = state.name_of(row);
    let all = state.processes_of(&row.key).count();
    match &row.key {
        RowKey::Process(key) | RowKey::Connection(key, _) => format!("{name} ({})", key.pid),
        RowKey::Group(_) if row.count < all => {
            format!("{name} (all {all} processes, filtered or not)")
        }
        RowKey::Group(_) if all == 1 => format!("{name} (1 process)"),
        RowKey::Group(_) => format!("{name} ({all} processes)"),
    }
}

#[cfg(test)]
#[path = "act_tests.rs"]
mod tests;
