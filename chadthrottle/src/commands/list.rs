//! `list`: processes with their rates, for scripts and for a quick look.

use std::{
    collections::{BTreeMap, HashSet},
    io::{self, IsTerminal},
    sync::Arc,
    time::SystemTime,
};

use serde::Serialize;

use super::{Warned, size_of_terminal, table::table};
use crate::{
    cli::{Global, List, Sort},
    error::Error,
    model::{Both, ProcessKey, ProcessSample, Snapshot, scope_name},
    output::{self, Writing},
    session::{
        self,
        signals::{Ending, Signals},
    },
    text,
    units::Rate,
};

/// Prints samples and gives the exit code.
pub async fn run(global: &Global, args: List) -> Result<u8, Error> {
    if args.watch && !io::stdout().is_terminal() {
        let words = "--watch draws on a terminal, and standard output is not one";
        return Err(Error::Usage(words.to_owned()));
    }
    let mut signals = Signals::catch().map_err(|error| Error::io("catching signals", error))?;
    let opened = session::open_unless_ended(global.settings(args.interval), &mut signals).await?;
    let mut session = match opened {
        Ok(session) => session,
        Err(Ending::Interrupt | Ending::Terminate) if args.count.is_none() => return Ok(0),
        Err(ending) => return Ok(ending.exit_code()),
    };
    let failed = |error| Error::io("writing to standard output", error);
    let stdout = output::stdout().ok_or_else(|| failed(io::ErrorKind::OutOfMemory.into()))?;
    let mut left = args.count.unwrap_or(u64::MAX);
    let mut gone = Gone::default();
    let mut warned = Warned::default();
    // Who reads slowly gets the newest sample, not all of them.
    let mut newest: Option<Arc<Snapshot>> = None;
    let mut writing: Option<Writing> = None;
    let code = loop {
        if writing.is_none()
            && let Some(snapshot) = newest.take()
        {
            writing = Some(stdout.write(text_of(&snapshot, &gone, global, &args).map_err(failed)?));
        }
        tokio::select! {
            ending = signals.next() => match ending {
                Ending::Interrupt | Ending::Terminate if args.count.is_none() => break 0,
                ending => break ending.exit_code(),
            },
            snapshot = session.engine.next_snapshot() => {
                let Some(snapshot) = snapshot else {
                    session.reopen().await?;
                    continue;
                };
                for warning in warned.news(&snapshot.warnings) {
                    output::say(warning);
                }
                // The first sample has no interval behind it, so no rates.
                if snapshot.sequence == 1 {
                    continue;
                }
                gone.keep(&snapshot);
                newest = Some(snapshot);
            }
            written = output::written(&mut writing) => {
                match written {
                    Ok(()) => {}
                    // Whoever read has seen enough, as with head(1).
                    Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break 0,
                    Err(error) => return Err(failed(error)),
                }
                left -= 1;
                if left == 0 {
                    break 0;
                }
            }
        }
    };
    let clean = session.close().await;
    Ok(if clean { code } else { code.max(1) })
}

/// Processes that have ended in this run, with what they had carried by then.
#[derive(Default)]
struct Gone {
    /// By start: where there is no more room, the earliest goes.
    processes: BTreeMap<(u64, u32), ProcessSample>,
}

impl Gone {
    /// A few hundred bytes each: a build machine has a million short processes a day.
    const ROOM: usize = 65_536;

    fn keep(&mut self, snapshot: &Snapshot) {
        for process in snapshot.processes.iter().filter(|process| process.ended) {
            let mut kept = process.clone();
            kept.traffic.down.bytes_per_s = 0.0;
            kept.traffic.up.bytes_per_s = 0.0;
            kept.sockets = 0;
            kept.limit = None;
            self.processes
                .insert((kept.key.start_ticks, kept.key.pid), kept);
        }
        while self.processes.len() > Self::ROOM {
            self.processes.pop_first();
        }
    }

    /// Those that the snapshot does not show any more.
    fn not_in<'a>(&'a self, snapshot: &Snapshot) -> impl Iterator<Item = &'a ProcessSample> {
        let shown: HashSet<ProcessKey> = snapshot
            .processes
            .iter()
            .map(|process| process.key)
            .collect();
        self.processes
            .values()
            .filter(move |process| !shown.contains(&process.key))
    }
}

/// A sample as it is written.
fn text_of(snapshot: &Snapshot, gone: &Gone, global: &Global, args: &List) -> io::Result<Vec<u8>> {
    if args.json {
        let processes = chosen(snapshot.processes.iter().chain(gone.not_in(snapshot)), args);
        return Ok(text::json(&Sample::new(snapshot, &processes))?);
    }
    let processes = chosen(snapshot.processes.iter(), args);
    let size = size_of_terminal();
    let table = table(&processes, global.style(), size.map(|(columns, _)| columns));
    if args.watch
        && let Some((_, lines)) = size
    {
        return Ok(watched(&table, lines).into_bytes());
    }
    Ok((table + "\n").into_bytes())
}

/// The table over what the terminal showed before: as many lines as it has, each with what was to the right of it
/// cleared, and so all below. Nothing flickers, since nothing is cleared that is written again.
fn watched(table: &str, lines: usize) -> String {
    const HOME: &str = "\x1b[H";
    const CLEAR_TO_THE_RIGHT: &str = "\x1b[K";
    const CLEAR_BELOW: &str = "\x1b[J";
    let lines: Vec<_> = table.lines().take(lines.saturating_sub(1)).collect();
    let text = lines.join(&format!("{CLEAR_TO_THE_RIGHT}\n"));
    format!("{HOME}{text}{CLEAR_TO_THE_RIGHT}\n{CLEAR_BELOW}")
}

/// The processes to show, in order.
fn chosen<'a>(
    processes: impl Iterator<Item = &'a ProcessSample>,
    args: &List,
) -> Vec<&'a ProcessSample> {
    let talks = |process: &ProcessSample| {
        let loopback = process.loopback.down + process.loopback.up;
        process.sockets > 0
            || process.limit.is_some()
            || process.traffic.down.bytes + process.traffic.up.bytes + loopback > 0
    };
    let mut processes: Vec<_> = processes
        .filter(|process| args.all || talks(process))
        .collect();
    let highest_first = |rate: fn(&ProcessSample) -> f64| {
        move |a: &&ProcessSample, b: &&ProcessSample| rate(b).total_cmp(&rate(a))
    };
    match args.sort {
        Sort::Down => processes.sort_by(highest_first(|process| process.traffic.down.bytes_per_s)),
        Sort::Up => processes.sort_by(highest_first(|process| process.traffic.up.bytes_per_s)),
        Sort::Total => processes.sort_by(highest_first(|process| {
            process.traffic.down.bytes_per_s + process.traffic.up.bytes_per_s
        })),
        Sort::Pid => processes.sort_by_key(|process| process.key),
        Sort::Name => processes.sort_by(|a, b| a.name.cmp(&b.name)),
    }
    processes
}

/// One line of `list --json`; the schema is a contract.
#[derive(Serialize)]
struct Sample<'a> {
    schema: u32,
    time: String,
    interval_s: f64,
    processes: Vec<Process<'a>>,
    unattributed: Bytes,
    loopback: Bytes,
}

#[derive(Serialize)]
struct Process<'a> {
    pid: u32,
    name: &'a str,
    exe: &'a str,
    user: &'a str,
    cgroup: &'a str,
    sockets: u32,
    down_bytes_per_s: f64,
    up_bytes_per_s: f64,
    down_bytes: u64,
    up_bytes: u64,
    dropped_down_bytes: u64,
    dropped_up_bytes: u64,
    loopback_down_bytes: u64,
    loopback_up_bytes: u64,
    limit: Option<JsonLimit>,
    /// It has ended, and these are its last figures.
    ended: bool,
}

#[derive(Serialize)]
struct JsonLimit {
    id: u32,
    down_bytes_per_s: Option<Rate>,
    up_bytes_per_s: Option<Rate>,
    scope: &'static str,
}

#[derive(Serialize)]
struct Bytes {
    down_bytes: u64,
    up_bytes: u64,
}

impl From<Both<u64>> for Bytes {
    fn from(bytes: Both<u64>) -> Self {
        Self {
            down_bytes: bytes.down,
            up_bytes: bytes.up,
        }
    }
}

impl<'a> Sample<'a> {
    fn new(snapshot: &Snapshot, processes: &[&'a ProcessSample]) -> Self {
        Self {
            schema: 1,
            time: humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
            interval_s: snapshot.interval.as_secs_f64(),
            processes: processes
                .iter()
                .map(|process| Process::new(process))
                .collect(),
            unattributed: snapshot.unattributed.into(),
            loopback: snapshot.loopback.into(),
        }
    }
}

impl<'a> Process<'a> {
    fn new(process: &'a ProcessSample) -> Self {
        Self {
            pid: process.key.pid,
            name: &process.name,
            exe: &process.exe,
            user: &process.user,
            cgroup: &process.cgroup,
            sockets: process.sockets,
            down_bytes_per_s: process.traffic.down.bytes_per_s,
            up_bytes_per_s: process.traffic.up.bytes_per_s,
            down_bytes: process.traffic.down.bytes,
            up_bytes: process.traffic.up.bytes,
            dropped_down_bytes: process.traffic.down.dropped_bytes,
            dropped_up_bytes: process.traffic.up.dropped_bytes,
            loopback_down_bytes: process.loopback.down,
            loopback_up_bytes: process.loopback.up,
            limit: process.limit.map(|(id, limit)| JsonLimit {
                id: id.0,
                down_bytes_per_s: limit.down,
                up_bytes_per_s: limit.up,
                scope: scope_name(limit.scope),
            }),
            ended: process.ended,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_watched_scrolls_nothing_away() {
        let text = watched("a\nb\nc\nd\n", 3);
        assert_eq!(text, "\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[J");
        assert_eq!(text.matches('\n').count(), 2);
    }
}
