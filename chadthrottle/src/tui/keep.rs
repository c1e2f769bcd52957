//! The dialog that makes a rule of a limit: whom it is to match, and its name.

use crossterm::event::{KeyCode, KeyEvent};

use super::{
    field::Field,
    filter::is_selected,
    rows::{Group, Row, RowKey, RowLimit},
    state::State,
};
use crate::{
    model::{Both, Limit, LimitId, ProcessSample, RuleSample, scope_name},
    process::{Selector, container_of, unit_of, unit_path},
    rules::edit::{Edit, NewRule},
    units::{Rate, written},
};

/// The dialog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeepDialog {
    /// How much.
    pub limit: Limit,
    /// Whom the rule may match.
    pub matches: Vec<Match>,
    /// Which of them.
    pub chosen: usize,
    /// Whether each process has a limit of its own, instead of one that all share.
    pub is_of_each: bool,
    /// The rule's name.
    pub name: Field,
    /// The limit that it is made of, which ends when the rule is there.
    pub of: LimitId,
    /// Whom that is about, in words.
    pub who: String,
    /// Names that are taken.
    taken: Vec<String>,
}

/// Whom a rule may match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match {
    /// What that is, in a word.
    pub word: &'static str,
    /// As targets are typed.
    pub target: String,
    /// How many processes it matches now.
    pub processes: usize,
}

/// What a key did to the dialog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It stays open.
    Stay,
    /// No rule is to be made.
    Cancel,
    /// This one is.
    Add(Box<Edit>),
}

impl KeepDialog {
    /// For the limit of a row.
    ///
    /// # Errors
    /// Where it has none: what to do.
    pub fn of(state: &State, row: &Row) -> Result<Self, String> {
        let who = super::act::who(state, row);
        let (of, limit) = match row.limit {
            RowLimit::One(id, limit) => match state.origin(id).and_then(|it| it.rule.clone()) {
                Some(rule) => return Err(format!("{who} is held by rule '{rule}' already")),
                None => (id, limit),
            },
            RowLimit::None => {
                return Err(format!("{who} has no limit to keep: Enter sets one"));
            }
            RowLimit::Several => {
                return Err(format!("{who} has several limits: keep those of one row"));
            }
        };
        let lead = state.lead(row).ok_or("there is no process")?;
        let taken = state.snapshot.rules.iter();
        let taken: Vec<String> = taken.map(|rule| rule.name.to_string()).collect();
        let matches = matches_of(lead, &state.snapshot.processes);
        // What the row is of.
        let wanted: &[&str] = match &row.key {
            RowKey::Group(Group::User(_)) => &["user"],
            RowKey::Group(Group::Unit(_)) => &["unit", "container"],
            _ => &[],
        };
        let chosen = matches.iter().position(|it| wanted.contains(&it.word));
        Ok(Self {
            limit,
            of,
            who,
            matches,
            chosen: chosen.unwrap_or(0),
            is_of_each: false,
            name: Field::filled_in(free_name(&lead.name, &taken)),
            taken,
        })
    }

    /// Takes a key: up and down choose whom it matches, Tab whether they share it, all else goes into the name.
    pub fn key(&mut self, key: KeyEvent) -> Kept {
        match key.code {
            KeyCode::Esc => return Kept::Cancel,
            KeyCode::Enter if self.mistake().is_none() => {
                return Kept::Add(Box::new(Edit::Add {
                    rule: self.rule(),
                    first: true,
                }));
            }
            KeyCode::Enter => {}
            KeyCode::Up => self.chosen = self.chosen.saturating_sub(1),
            KeyCode::Down => self.chosen = (self.chosen + 1).min(self.matches.len() - 1),
            KeyCode::Tab | KeyCode::BackTab => self.is_of_each = !self.is_of_each,
            _ => self.name.key(key),
        }
        Kept::Stay
    }

    /// What is wrong with the name.
    pub fn mistake(&self) -> Option<&'static str> {
        let name = self.name.text.trim();
        if name.is_empty() {
            Some("a rule has a name")
        } else if self.taken.iter().any(|taken| taken == name) {
            Some("there is a rule of that name")
        } else if name.starts_with('-') {
            Some("a name does not begin with a dash")
        } else {
            None
        }
    }

    fn rule(&self) -> NewRule {
        let target = self.matches.get(self.chosen);
        let words = in_words(self.limit);
        NewRule {
            name: self.name.text.trim().to_owned(),
            targets: target.iter().map(|it| it.target.clone()).collect(),
            down: words.rates.down,
            up: words.rates.up,
            block: words.block.map(str::to_owned),
            reject: words.reject,
            scope: words.scope.map(str::to_owned),
            share: self.is_of_each.then(|| "process".to_owned()),
            ..NewRule::default()
        }
    }
}

/// A limit in the words of a rules file.
pub struct InWords {
    /// Rates of the directions that are limited and not blocked.
    pub rates: Both<Option<String>>,
    /// The directions that are blocked.
    pub block: Option<&'static str>,
    /// Whether what is blocked is refused.
    pub reject: bool,
    /// The scope, where it is not the usual one.
    pub scope: Option<&'static str>,
}

/// Puts a limit into the words of a rules file.
pub fn in_words(limit: Limit) -> InWords {
    let rate = |rate: Option<Rate>| rate.filter(|rate| !rate.is_blocked()).map(written);
    let is_blocked = |rate: Option<Rate>| rate.is_some_and(Rate::is_blocked);
    InWords {
        rates: Both {
            down: rate(limit.down),
            up: rate(limit.up),
        },
        block: match (is_blocked(limit.down), is_blocked(limit.up)) {
            (true, true) => Some("both"),
            (true, false) => Some("down"),
            (false, true) => Some("up"),
            (false, false) => None,
        },
        reject: limit.resets(),
        scope: Some(scope_name(limit.scope)).filter(|scope| *scope != "default"),
    }
}

/// A change of a rule's limit.
pub fn change(rule: &str, limit: Limit) -> Edit {
    let words = in_words(limit);
    Edit::Change {
        name: rule.to_owned(),
        down: words.rates.down,
        up: words.rates.up,
        block: words.block.map(str::to_owned),
        reject: words.reject,
        scope: words.scope.map(str::to_owned),
    }
}

/// Whom a rule for that process may match: nothing that is another's after its next start.
fn matches_of(process: &ProcessSample, all: &[ProcessSample]) -> Vec<Match> {
    let mut matches: Vec<(&'static str, String)> = Vec::new();
    if !process.exe.is_empty() {
        matches.push(("program", String::from(Selector::of_exe(&process.exe))));
    }
    // Which a process may have empty.
    if !process.name.is_empty() {
        matches.push(("name", String::from(Selector::of_name(&process.name))));
    }
    if let Some(container) = container_of(&process.cgroup) {
        let id = container.id.and_then(|id| id.get(..12)).map(str::to_owned);
        if let Some(name) = container.name.or(id) {
            matches.push(("container", format!("container:{name}")));
        }
    } else if let Some(unit) = unit_of(&process.cgroup) {
        let unit = unit.strip_prefix("unit ").unwrap_or(&unit).to_owned();
        matches.push(("unit", format!("unit:{}", glob::Pattern::escape(&unit))));
    }
    matches.push(("user", format!("user:{}", process.user)));
    let of = |(word, target): (&'static str, String)| {
        let selectors: Vec<Selector> = Selector::unasked(&target).into_iter().collect();
        let is_matched = |other: &&ProcessSample| match word {
            // Samples know of users by number, and of containers by cgroup.
            "user" => other.uid == process.uid,
            "container" => unit_path(&other.cgroup) == unit_path(&process.cgroup),
            _ => is_selected(other, &selectors),
        };
        let living = all.iter().filter(|other| !other.ended);
        Match {
            word,
            processes: living.filter(is_matched).count(),
            target,
        }
    };
    matches.into_iter().map(of).collect()
}

/// The process's name, or that with a number, as it may be in a file.
fn free_name(name: &str, taken: &[String]) -> String {
    let name: String = name.chars().filter(|c| !c.is_control()).collect();
    let name = name.trim().trim_start_matches('-');
    let name = if name.is_empty() { "rule" } else { name };
    let is_free = |name: &String| !taken.contains(name);
    let numbered = (2..).map(|number| format!("{name}-{number}"));
    let mut names = std::iter::once(name.to_owned()).chain(numbered);
    names.find(is_free).unwrap_or_default()
}

/// A rule in a few words, for messages.
pub fn shown(rule: &RuleSample) -> String {
    format!("rule '{}'", crate::text::escape(&rule.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::{
        changes::Answer,
        effect::Effect,
        fixtures::{limit, press, process, said, snapshot, state},
        state::Message,
        update::{Action, update},
    };
    use std::sync::Arc;

    #[test]
    fn the_limit_at_hand_becomes_a_rule_for_what_is_there_after_the_next_start_too() {
        let mut wget = process(7, "wget", 1.0, 1.0);
        wget.limit = Some((LimitId(1), limit(Some(2_000_000), None)));
        wget.exe = "/usr/bin/wget".into();
        wget.cgroup = "/system.slice/a-b.service".into();
        let mut curl = process(8, "curl", 0.0, 0.0);
        curl.uid = 0;
        let sample = snapshot(vec![wget, curl]);
        let mut state = state(80, 24, Arc::clone(&sample));
        let effects = press(
            &mut state,
            &["K", "<Down>", "<Down>", "<Ctrl-U>", "night", "<Enter>"],
        );
        let [Effect::Keep { edit, ids, .. }] = &effects[..] else {
            panic!("{effects:?}")
        };
        let Edit::Add { rule, first: true } = edit else {
            panic!("{edit:?}")
        };
        assert_eq!(ids, &[LimitId(1)]);
        assert_eq!(rule.name, "night");
        assert_eq!(rule.targets, ["unit:a-b.service"]);
        assert_eq!(
            (rule.down.as_deref(), &rule.up, &rule.block),
            (Some("2MB/s"), &None, &None)
        );
        // The engine says no: the limit stays.
        let answer = Answer::of(Message::error("no"));
        update(&mut state, Action::Answered(answer));
        update(&mut state, Action::Snapshot(sample));
        // In the other views, what their rows are of is proposed.
        for (view, proposed) in [
            ("5", "unit:a-b.service"),
            ("6", "user:ada"),
            ("1", "/usr/bin/wget"),
        ] {
            press(&mut state, &["g", view, "K"]);
            let crate::tui::state::Mode::Keep(dialog) = &state.mode else {
                panic!("{}", said(&state))
            };
            let target = &dialog.matches[dialog.chosen].target;
            assert!(target.ends_with(proposed), "{target}");
            press(&mut state, &["<Esc>"]);
        }
        press(&mut state, &["g", "<Down>", "K"]);
        assert!(
            said(&state).contains("no limit to keep"),
            "{}",
            said(&state)
        );
    }

    #[test]
    fn names_are_free_ones_and_matches_are_patterns_for_themselves_alone() {
        let taken = ["wget", "wget-2"].map(str::to_owned);
        assert_eq!(free_name("wget", &taken), "wget-3");
        assert_eq!(free_name("-\u{1b}x", &taken), "x");
        assert_eq!(free_name("\u{1b}", &taken), "rule");
        let mut odd = process(7, "a*+user:x", 0.0, 0.0);
        odd.exe = "".into();
        odd.cgroup = format!("/machine.slice/libpod-{}.scope", "ab".repeat(32)).into();
        let matches = matches_of(&odd, &[]).into_iter();
        let targets: Vec<String> = matches.map(|it| it.target).collect();
        assert_eq!(targets[0], "name:a[*][+]user:x");
        assert_eq!(targets[1], "container:abababababab");
        // A rule shows them as they were written.
        for target in targets.iter().filter(|it| !it.starts_with("user:")) {
            let read: Selector = target.parse().unwrap();
            assert_eq!(String::from(read), *target);
        }
        odd.name = "".into();
        let words = matches_of(&odd, &[]).into_iter().map(|it| it.word);
        assert_eq!(words.collect::<Vec<_>>(), ["container", "user"]);
    }

    #[test]
    fn blocks_and_scopes_come_back_as_they_were() {
        use chadthrottle_common::scope::Scope;
        let words = in_words(Limit {
            down: Some(Rate::BLOCKED),
            up: Some(Rate::clamped(1_500)),
            scope: Scope::INTERNET,
            reject: true,
        });
        assert_eq!((words.block, words.reject), (Some("down"), true));
        assert_eq!(
            (words.rates.down, words.rates.up.as_deref()),
            (None, Some("1500B/s"))
        );
        assert_eq!(words.scope, Some("internet"));
        assert_eq!("1500B/s".parse::<Rate>().unwrap(), Rate::clamped(1_500));
    }
}
