//! `limits`: what is limited, by whom, since when, and what it carries.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::Serialize;

use super::rows::aligned;
use crate::{
    cli::{Global, LimitsArgs},
    error::Error,
    model::{Direction, LimitSample, Origin, Snapshot, scope_name},
    protocol::{Field, RequestError},
    session::{self, Settings},
    text,
    units::{Rate, Style, format_rate},
};

/// For how long their rates are measured: those of a moment are anything between nothing and a whole burst.
const LOOK: Duration = Duration::from_secs(1);

/// Lists them and gives the exit code.
pub async fn run(global: &Global, args: &LimitsArgs) -> Result<u8, Error> {
    let settings = Settings {
        fields: Some(vec![Field::Limits, Field::Origins, Field::Processes]),
        ..global.settings(LOOK)
    };
    let session = session::open_running(settings).await?;
    let snapshot = match session {
        None => Arc::default(),
        Some(mut session) => {
            let snapshot = session.engine.sample().await;
            let _clean = session.close().await;
            snapshot.ok_or(RequestError::Gone)?
        }
    };
    let now = SystemTime::now();
    let text = if args.json {
        let report = Report::of(&snapshot);
        text::json(&report).map_err(|error| Error::io("writing the report", error.into()))?
    } else {
        let width = super::size_of_terminal().map(|(columns, _)| columns);
        table(&snapshot, now, global.style(), width).into_bytes()
    };
    super::print(&text)?;
    Ok(0)
}

/// Each limit with where it comes from; one that was set in this very moment may have no sample yet.
fn all(snapshot: &Snapshot) -> impl Iterator<Item = (&LimitSample, &Origin)> {
    snapshot.origins.iter().filter_map(|origin| {
        let mut limits = snapshot.limits.iter();
        let limit = limits.find(|limit| limit.id == origin.id)?;
        Some((limit, origin))
    })
}

fn table(snapshot: &Snapshot, now: SystemTime, style: Style, width: Option<usize>) -> String {
    let mut rows = vec![
        [
            "ID",
            "DOWN",
            "LIMIT",
            "UP",
            "LIMIT",
            "PROCESSES",
            "SET BY",
            "SINCE",
            "ENDS",
            "TARGETS",
        ]
        .map(str::to_owned),
    ];
    for (limit, origin) in all(snapshot) {
        let rate = |rate: Option<Rate>| rate.map_or("-".to_owned(), |rate| rate.shown(style));
        let carried =
            |direction: Direction| format_rate(limit.traffic[direction].bytes_per_s, style);
        let not_held = if limit.unseen_bytes > 0 {
            "NOT HELD: "
        } else {
            ""
        };
        rows.push([
            limit.id.0.to_string(),
            carried(Direction::Down),
            rate(limit.limit.down),
            carried(Direction::Up),
            rate(limit.limit.up),
            limit.members.to_string(),
            match &origin.rule {
                Some(rule) => format!("rule {}", text::escape(rule)),
                // Who detaches a limit ends, and another process may have its id by now.
                None if origin.detached => text::escape(&origin.user).into_owned(),
                None => format!("{} ({})", text::escape(&origin.user), origin.pid),
            },
            match origin.rule {
                Some(_) => "-".to_owned(),
                None => age(at(origin.since_ns), now),
            },
            ends(origin, now),
            format!(
                "{not_held}{}{}",
                text::escape(&targets(snapshot, origin)),
                if origin.children {
                    " with children"
                } else {
                    ""
                }
            ),
        ]);
    }
    if rows.len() == 1 {
        return "Nothing is limited.\n".to_owned();
    }
    // Words to the left, figures to the right.
    aligned(&rows, &[0, 1, 2, 3, 4, 5], width)
}

/// Whom it is for: where that is a process that it holds, with the name.
fn targets(snapshot: &Snapshot, origin: &Origin) -> String {
    let named = |target: &String| {
        let pid: Option<u32> = target.parse().ok();
        let mut processes = snapshot.processes.iter();
        let process = processes.find(|process| {
            Some(process.key.pid) == pid && process.limit.is_some_and(|(id, _)| id == origin.id)
        });
        process.map_or(target.clone(), |process| {
            let name = text::name_of_process(&process.name, &process.exe);
            format!("{target} {name}")
        })
    };
    let targets: Vec<String> = origin.targets.iter().map(named).collect();
    targets.join(", ")
}

fn at(ns: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(ns)
}

/// How long ago, in the two largest units.
fn age(then: SystemTime, now: SystemTime) -> String {
    let time = now.duration_since(then).unwrap_or_default();
    let words = humantime::format_duration(Duration::from_secs(time.as_secs())).to_string();
    words.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

fn ends(origin: &Origin, now: SystemTime) -> String {
    match (origin.until_ns, origin.detached) {
        _ if origin.rule.is_some() => "with the rule".to_owned(),
        (Some(until), _) => format!("in {}", age(now, at(until))),
        (None, true) => "until unlimited".to_owned(),
        (None, false) => "with the process".to_owned(),
    }
}

/// `limits --json`; the schema is a contract.
#[derive(Serialize)]
struct Report<'a> {
    schema: u32,
    limits: Vec<Item<'a>>,
}

#[derive(Serialize)]
struct Item<'a> {
    id: u32,
    targets: &'a [String],
    children: bool,
    down_bytes_per_s: Option<Rate>,
    up_bytes_per_s: Option<Rate>,
    scope: &'static str,
    processes: usize,
    carried_down_bytes_per_s: f64,
    carried_up_bytes_per_s: f64,
    dropped_down_bytes_per_s: f64,
    dropped_up_bytes_per_s: f64,
    held: bool,
    user: &'a str,
    pid: u32,
    since: String,
    until: Option<String>,
    detached: bool,
    rule: Option<&'a str>,
}

impl<'a> Report<'a> {
    fn of(snapshot: &'a Snapshot) -> Self {
        let time = |ns| humantime::format_rfc3339_millis(at(ns)).to_string();
        let items = all(snapshot).map(|(limit, origin)| Item {
            id: limit.id.0,
            targets: &origin.targets,
            children: origin.children,
            down_bytes_per_s: limit.limit.down,
            up_bytes_per_s: limit.limit.up,
            scope: scope_name(limit.limit.scope),
            processes: limit.members,
            carried_down_bytes_per_s: limit.traffic.down.bytes_per_s,
            carried_up_bytes_per_s: limit.traffic.up.bytes_per_s,
            dropped_down_bytes_per_s: limit.traffic.down.dropped_bytes_per_s,
            dropped_up_bytes_per_s: limit.traffic.up.dropped_bytes_per_s,
            held: limit.unseen_bytes == 0,
            user: &origin.user,
            pid: origin.pid,
            since: time(origin.since_ns),
            until: origin.until_ns.map(time),
            detached: origin.detached,
            rule: origin.rule.as_deref(),
        });
        Self {
            schema: 1,
            limits: items.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Limit, LimitId, ProcessSample, testing};

    #[test]
    fn a_limit_is_a_line_that_says_who_has_set_it_and_when_it_ends() {
        let now = at(100_000_000_000_000);
        assert_eq!(
            table(&Snapshot::default(), now, Style::Bytes, None),
            "Nothing is limited.\n"
        );
        let origin = |id, until_ns, detached| Origin {
            targets: ["7", "8", "name:a\u{1b}*"].map(str::to_owned).to_vec(),
            user: "anna".to_owned(),
            pid: 70,
            since_ns: 99_000_000_000_000,
            until_ns,
            detached,
            ..testing::origin(id)
        };
        let limit = |id| LimitSample {
            limit: Limit {
                down: Some("1MB".parse().unwrap()),
                ..Limit::NONE
            },
            unseen_bytes: u64::from(id - 1),
            ..testing::limit(id)
        };
        let held = ProcessSample {
            name: "iperf3".into(),
            limit: Some((LimitId(1), Limit::NONE)),
            ..testing::process(7)
        };
        let snapshot = Snapshot {
            origins: vec![
                origin(1, Some(100_090_000_000_000), true),
                origin(2, None, false),
                // Not in a sample yet.
                origin(3, None, true),
            ],
            limits: vec![limit(1), limit(2)],
            processes: vec![held],
            ..Snapshot::default()
        };
        let table = table(&snapshot, now, Style::Bytes, None);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 3, "{table}");
        assert!(
            lines[1].contains("1 MB/s") && lines[1].contains("in 1m 30s"),
            "{table}"
        );
        assert!(
            lines[1].contains("anna  ")
                && lines[2].contains("anna (70)")
                && lines[1].contains("16m 40s"),
            "{table}"
        );
        assert!(
            lines[2].contains("with the process  NOT HELD: 7, 8, name:a"),
            "{table}"
        );
        assert!(lines[1].contains("7 iperf3, 8, name:a"), "{table}");
        assert!(!table.contains('\u{1b}'));
    }
}
