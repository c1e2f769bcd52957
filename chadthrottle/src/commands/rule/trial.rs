//! `rule test`: which rule would hold a process now, and why others do not.

use std::{
    collections::BTreeSet,
    fmt::Write,
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::ZonedDateTime;

use super::{NO_ENGINE, networks, say_problems};
use crate::{
    cli::Global,
    error::Error,
    model::{Limit, ProcessKey, RuleSample},
    output,
    process::{
        ByProcess, ProcessInfo, ProcessReader, Reread, Selector, Target, interfaces_of,
        may_see_sockets_of,
    },
    protocol::{Field, RequestError},
    rules::{OnNetworks, Rule, Why},
    session::{self, Settings},
    text,
};

/// Says which rule would hold each process that matches.
pub(super) async fn test(global: &Global, target: &Target) -> Result<u8, Error> {
    const PATIENCE: Duration = Duration::from_secs(2);
    let rules = global.places().load();
    say_problems(&rules);
    let failed = |error| Error::io("reading /proc", error);
    let mut processes = ProcessReader::new(PathBuf::from("/proc"), false).map_err(failed)?;
    processes
        .refresh(Reread::InTurn, PATIENCE)
        .map_err(failed)?;
    let is_meant = |process: &ProcessInfo| match target {
        Target::Pid(pid) => process.key.pid == *pid,
        Target::Selector(selector) => selector.matches(process, &processes),
    };
    let (now, networks) = (ZonedDateTime::now(), networks(&rules.rules).await);
    let (by_hand, in_force) = held_by_hand(global).await?;
    let differ = (in_force.as_ref()).is_some_and(|samples| super::differ(&rules, samples));
    let (is_running, samples) = (in_force.is_some(), in_force.unwrap_or_default());
    let of_units = of_units(&samples);
    let rules: Vec<(&Rule, Why)> = (rules.rules.iter())
        .map(|rule| (rule, rule.why(&now, &networks, rules.profile.as_deref())))
        .collect();
    let meant: Vec<&ProcessInfo> = processes.iter().filter(|it| is_meant(it)).collect();
    let ways = ways(&rules, &meant)?;
    if !is_running && !meant.is_empty() {
        output::say(NO_ENGINE);
    }
    if differ {
        output::say(
            "the files say other things than the rules in force, which 'chadthrottle rule list' shows; this goes by the \
             files",
        );
    }
    let mut words = String::new();
    for process in meant {
        let name = text::name_of_process(&process.name, &process.exe);
        let _ = writeln!(words, "{} {name}", process.key.pid);
        let hand = by_hand.iter().find(|(key, _)| *key == process.key);
        if let Some((_, limit)) = hand {
            let _ = writeln!(
                words,
                "  a limit set by hand holds it: {limit}; no rule does until that ends"
            );
        }
        let mut before = Before {
            is_running: is_running && !differ,
            by_hand: hand.is_some(),
            ..Before::default()
        };
        for (rule, why) in &rules {
            let mut targets = rule.targets.iter();
            let Some(by) = targets.find(|selector| selector.matches(process, &processes)) else {
                continue;
            };
            before.any_matches = true;
            let (is_on, what) = match (why, ways.get(&process.key)) {
                (Why::On, _) => (true, String::new()),
                (Why::Connections(_), Some(names)) => by_connections(&rule.on, why, names),
                (Why::Connections(_), None) => {
                    before.is_unknown |= !before.is_held;
                    let words = format!("matches, and is {why}, which only root may see");
                    (false, words)
                }
                _ => (false, format!("matches, but is off now ({why})")),
            };
            let what = match is_on {
                true => before.next(&rule.limit, &what),
                false => what,
            };
            let line = format!(
                "  rule '{}' {what} (for {by}, in {}:{})",
                rule.name,
                rule.file.display(),
                rule.line
            );
            let _ = writeln!(words, "{}", text::escape(&line));
        }
        for (rule, by) in &of_units {
            if by.matches(process, &processes) {
                before.any_matches = true;
                let what = before.next(&rule.limit, "");
                let RuleSample {
                    name, file, line, ..
                } = rule;
                let line = format!("  rule '{name}' {what} (for {by}, in {file}:{line})");
                let _ = writeln!(words, "{}", text::escape(&line));
            }
        }
        if let Some(none) = before.none() {
            let _ = writeln!(words, "  {none}");
        }
    }
    if words.is_empty() {
        return Err(Error::NoTarget(match target {
            Target::Pid(pid) => format!("there is no process {pid}"),
            Target::Selector(selector) => selector.nothing_matches(processes.iter()),
        }));
    }
    crate::commands::print(words.as_bytes())?;
    Ok(0)
}

/// What is known of a process before the next rule that matches it.
#[derive(Clone, Copy, Debug, Default)]
struct Before {
    is_running: bool,
    by_hand: bool,
    any_matches: bool,
    is_held: bool,
    /// Whether a rule that comes first may hold it, which this user may not see.
    is_unknown: bool,
}

impl Before {
    /// What is said of the next rule that is on for it; `by` says how it comes to that.
    fn next(&mut self, limit: &Limit, by: &str) -> String {
        if self.is_held {
            return "matches too, but one before it comes first".to_owned();
        }
        self.is_held = true;
        if self.by_hand {
            format!("would hold it then: {limit}{by}")
        } else if self.is_unknown {
            format!("holds it if none before does: {limit}")
        } else if self.is_running {
            format!("holds it: {limit}{by}")
        } else {
            format!("would hold it: {limit}{by}")
        }
    }

    /// What is said after the last rule, where none holds it.
    fn none(self) -> Option<&'static str> {
        let is_said = self.is_held || self.is_unknown || self.by_hand;
        (!is_said).then_some(match self.any_matches {
            true => "none of them is on for it now",
            false => "no rule matches it",
        })
    }
}

/// By which interfaces of rules that are on for connections those of these processes go, as far as this user may see.
fn ways(rules: &[(&Rule, Why)], processes: &[&ProcessInfo]) -> Result<ByProcess, Error> {
    let root = Path::new("/proc");
    let by_connections = rules
        .iter()
        .filter(|(_, why)| matches!(why, Why::Connections(_)));
    let globs: Vec<_> = by_connections
        .flat_map(|(rule, _)| rule.on.interfaces())
        .collect();
    if globs.is_empty() {
        return Ok(ByProcess::new());
    }
    let keys = processes.iter().map(|process| process.key);
    let keys: Vec<ProcessKey> = keys.filter(|it| may_see_sockets_of(root, it.pid)).collect();
    interfaces_of(root, &keys, &globs)
        .map_err(|error| Error::io("finding by which interfaces connections go", error.source))
}

/// Whether a rule for connections is on for a process that has some by these interfaces, and what to say of that.
fn by_connections(on: &OnNetworks, why: &Why, names: &BTreeSet<String>) -> (bool, String) {
    let globs = on.interfaces();
    let matching = names
        .iter()
        .filter(|name| globs.iter().any(|glob| glob.matches(name)));
    let matching: Vec<&str> = matching.map(String::as_str).collect();
    match matching.is_empty() {
        true => (
            false,
            format!("matches, but is only {why}, and the process has none"),
        ),
        false => (
            true,
            format!(", as it has a connection by {}", matching.join(", ")),
        ),
    }
}

/// The rules that units have in their own files, which only the engine reads.
fn of_units(samples: &[RuleSample]) -> Vec<(&RuleSample, Selector)> {
    let of_units = samples.iter().filter(|rule| super::is_of_unit(rule));
    of_units
        .flat_map(|rule| rule.targets.iter().map(move |target| (rule, target)))
        .filter_map(|(rule, target)| Some((rule, target.parse().ok()?)))
        .collect()
}

/// The processes that limits hold which somebody has set.
type ByHand = Vec<(ProcessKey, Limit)>;

/// Those, and the rules that an engine goes by, where one runs.
async fn held_by_hand(global: &Global) -> Result<(ByHand, Option<Vec<RuleSample>>), Error> {
    let settings = Settings {
        fields: Some(vec![Field::Processes, Field::Origins, Field::Rules]),
        ..global.settings(session::AT_ONCE)
    };
    let Some(mut session) = session::open_running(settings).await? else {
        return Ok((Vec::new(), None));
    };
    let snapshot = session.engine.next_snapshot().await;
    let _clean = session.close().await;
    let snapshot = snapshot.ok_or(RequestError::Gone)?;
    let held = snapshot.processes.iter().filter_map(|process| {
        let (id, limit) = process.limit?;
        let mut origins = snapshot.origins.iter();
        let is_of_rule = origins.any(|origin| origin.id == id && origin.rule.is_some());
        (!is_of_rule).then_some((process.key, limit))
    });
    Ok((held.collect(), Some(snapshot.rules.clone())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_that_is_on_holds_it_or_would() {
        let running = Before {
            is_running: true,
            any_matches: true,
            ..Before::default()
        };
        let by_hand = Before {
            by_hand: true,
            ..running
        };
        let unseen = Before {
            is_unknown: true,
            ..running
        };
        let limit = Limit::NONE;
        for (mut before, words) in [
            (running, "holds it: "),
            (Before::default(), "would hold it: "),
            (by_hand, "would hold it then: "),
            (unseen, "holds it if none before does: "),
        ] {
            let said = before.next(&limit, "");
            assert!(said.starts_with(words), "{said}");
            assert!(before.next(&limit, "").starts_with("matches too, but"));
            assert_eq!(before.none(), None);
        }
        assert_eq!(running.none(), Some("none of them is on for it now"));
        assert_eq!(Before::default().none(), Some("no rule matches it"));
        assert_eq!((by_hand.none(), unseen.none()), (None, None));
    }

    #[test]
    fn what_units_say_of_themselves_is_tried_too() {
        use crate::commands::rule::tests::{of_unit, rule};
        let samples = [rule("unit:y", "on"), of_unit("cgroup:/x.service")];
        let found: Vec<(String, String)> = (of_units(&samples).into_iter())
            .map(|(rule, selector)| (rule.file.clone(), selector.to_string()))
            .collect();
        let expected = ("/x.service".to_owned(), "cgroup:/x.service".to_owned());
        assert_eq!(found, [expected]);
    }

    #[test]
    fn a_process_learns_by_which_of_the_rules_interfaces_it_has_a_connection() {
        let mut on = OnNetworks::default();
        on.add("interface:tun*").unwrap();
        let why = Why::Connections("tun*".to_owned());
        let none = "matches, but is only on for connections by tun*, and the process has none";
        for (names, expected) in [
            (&[][..], (false, none)),
            (&["eth0"], (false, none)),
            (
                &["eth0", "tun7"],
                (true, ", as it has a connection by tun7"),
            ),
            (
                &["tun0", "tun7"],
                (true, ", as it has a connection by tun0, tun7"),
            ),
        ] {
            let names = names.iter().map(|&name| name.to_owned()).collect();
            let (is_on, words) = by_connections(&on, &why, &names);
            assert_eq!((is_on, words.as_str()), expected);
        }
    }
}
