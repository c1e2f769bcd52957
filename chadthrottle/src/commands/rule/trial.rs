//! `rule test`: which rule would hold a process now, and why others do not.

use std::{
    collections::BTreeSet,
    fmt::Write,
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::ZonedDateTime;

use super::{networks, say_problems};
use crate::{
    cli::Global,
    error::Error,
    model::{Limit, ProcessKey},
    output,
    process::{
        ByProcess, ProcessInfo, ProcessReader, Reread, Target, interfaces_of, may_see_sockets_of,
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
    let (by_hand, is_running) = held_by_hand(global).await?;
    if !is_running {
        output::say("no engine is running: this is what would hold if one were");
    }
    let rules: Vec<(&Rule, Why)> = (rules.rules.iter())
        .map(|rule| (rule, rule.why(&now, &networks, rules.profile.as_deref())))
        .collect();
    let meant: Vec<&ProcessInfo> = processes.iter().filter(|it| is_meant(it)).collect();
    let ways = ways(&rules, &meant)?;
    let mut words = String::new();
    for process in meant {
        let name = text::name_of_process(&process.name, &process.exe);
        let _ = writeln!(words, "{} {name}", process.key.pid);
        // Whether a rule that comes first may hold it, which this user may not see.
        let (mut is_held, mut is_unknown) = (false, false);
        let hand = by_hand.iter().find(|(key, _)| *key == process.key);
        if let Some((_, limit)) = hand {
            let _ = writeln!(
                words,
                "  a limit set by hand holds it: {limit}. Rules hold when that ends"
            );
        }
        for (rule, why) in &rules {
            let mut targets = rule.targets.iter();
            let Some(by) = targets.find(|selector| selector.matches(process, &processes)) else {
                continue;
            };
            let (is_on, what) = match (why, ways.get(&process.key)) {
                (Why::On, _) => (true, String::new()),
                (Why::Connections(_), Some(names)) => by_connections(&rule.on, why, names),
                (Why::Connections(_), None) => {
                    is_unknown |= !is_held;
                    let words = format!("matches, and is {why}, which only root may see");
                    (false, words)
                }
                _ => (false, format!("matches, but is off now ({why})")),
            };
            let what = match (is_on, is_held) {
                (true, false) if hand.is_some() => {
                    format!("would hold it then: {}{what}", rule.limit)
                }
                (true, false) if is_unknown => format!("holds it otherwise: {}", rule.limit),
                (true, false) => format!("holds it: {}{what}", rule.limit),
                (true, true) => "matches too, but comes later".to_owned(),
                (false, _) => what,
            };
            is_held |= is_on;
            let line = format!(
                "  rule '{}' {what} (by {by}, {}:{})",
                rule.name,
                rule.file.display(),
                rule.line
            );
            let _ = writeln!(words, "{}", text::escape(&line));
        }
        if !is_held && !is_unknown && hand.is_none() {
            words += "  no rule holds it\n";
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
            format!("matches, but is only {why}, and it has none"),
        ),
        false => (
            true,
            format!(", as it has a connection by {}", matching.join(", ")),
        ),
    }
}

/// The processes that limits hold which somebody has set, and whether an engine runs.
async fn held_by_hand(global: &Global) -> Result<(Vec<(ProcessKey, Limit)>, bool), Error> {
    let settings = Settings {
        fields: Some(vec![Field::Processes, Field::Origins]),
        ..global.settings(session::AT_ONCE)
    };
    let Some(mut session) = session::open_running(settings).await? else {
        return Ok((Vec::new(), false));
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
    Ok((held.collect(), true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_learns_by_which_of_the_rules_interfaces_it_has_a_connection() {
        let mut on = OnNetworks::default();
        on.add("interface:tun*").unwrap();
        let why = Why::Connections("tun*".to_owned());
        let none = "matches, but is only on for connections by tun*, and it has none";
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
