//! `limit`: running processes under a limit, until Ctrl-C or for a while.

use std::{collections::HashSet, io::IsTerminal, path::Path, sync::Arc, time::Duration};

use humantime::format_duration;
use tokio::time::timeout;

use super::{Warned, log_carried, taken::taken};
use crate::{
    cli::{Global, LimitArgs},
    error::Error,
    model::{Limit, LimitId, ProcessKey, ProcessSample, Snapshot, Unmatched},
    output::{self, Outlet},
    process::{Target, Targets, find, key_of},
    protocol::{Field, Limited, SetLimit},
    session::{
        self, Opened, Settings,
        signals::{Ending, Signals},
    },
    tui::only_ascii,
    units::{Rate, format_rate},
};

/// Why the waiting ended.
enum End {
    TimeIsUp,
    Removed,
    TargetsAreGone,
    EngineStopped(Error),
    Signal(Ending),
}

/// How long a limit waits for a look at what holds its processes before: to say so is not worth more.
const BEFORE: Duration = Duration::from_millis(250);

/// How long a detached limit waits for the sample that shows whom it holds.
const AFTER: Duration = Duration::from_secs(2);

/// Holds the limit and gives the exit code.
pub async fn run(global: &Global, args: LimitArgs) -> Result<u8, Error> {
    if !args.limits.is_some() {
        return Err(Error::Usage(
            "nothing to limit: give --down RATE, --up RATE or both".to_owned(),
        ));
    }
    let targets = targets(&args)?;
    let named = targets.processes.clone();
    let waits_for_others = !targets.selectors.is_empty();
    let mut signals = Signals::catch().map_err(|error| Error::io("catching signals", error))?;
    let interval = match args.extent.detach {
        true => session::AT_ONCE,
        false => Duration::from_secs(1),
    };
    let opened = session::open_unless_ended(global.settings(interval), &mut signals).await?;
    let mut session = match opened {
        Ok(session) => session,
        Err(Ending::Interrupt | Ending::Terminate) if args.extent.duration.is_none() => {
            return Ok(0);
        }
        Err(ending) => return Ok(ending.exit_code()),
    };
    let limit = args.limits.limit();
    let word = Word::of(&limit);
    let mut before = timeout(BEFORE, look(global)).await.ok().flatten();
    let set = SetLimit {
        targets,
        limit,
        for_ns: args.extent.duration.map(nanoseconds),
        detach: args.extent.detach,
    };
    let Limited {
        mut id,
        mut sequence,
    } = session.engine.requests().set(set).await?;
    let until = match (args.extent.duration, args.extent.detach) {
        (Some(duration), true) => {
            format!(
                "for {}, or until 'chadthrottle unlimit {}'",
                format_duration(duration),
                id.0
            )
        }
        (None, true) => format!("until 'chadthrottle unlimit {}'", id.0),
        (Some(duration), false) => format!("for {}", format_duration(duration)),
        (None, false) => "until Ctrl-C".to_owned(),
    };
    output::say(format_args!("{limit}, {until}"));
    let unmatched = session.engine.requests().unmatched(id).await?;
    for words in &unmatched {
        output::say(words);
    }
    // Without a word it looks as if it hung or, detached, as if nothing had been set.
    if !unmatched.is_empty() {
        output::say(word.whoever_comes(&until));
    }

    let mut status = Status::new(global, word);
    if args.extent.detach {
        let first = timeout(AFTER, first_after(&mut session, sequence)).await;
        if let Ok(Some(snapshot)) = first {
            status.say_taken(&mut before, &snapshot, id);
            status.show(&snapshot, id);
            status.clear();
        }
        return Ok(u8::from(!session.close().await));
    }
    let over = async {
        match args.extent.duration {
            Some(duration) => tokio::time::sleep(duration).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(over);
    let end = loop {
        tokio::select! {
            () = &mut over => break End::TimeIsUp,
            ending = signals.next() => break End::Signal(ending),
            snapshot = session.engine.next_snapshot() => match snapshot {
                None => {
                    let again = tokio::select! {
                        again = again(&mut session, &mut status, id) => again,
                        () = &mut over => break End::TimeIsUp,
                        ending = signals.next() => break End::Signal(ending),
                    };
                    match again {
                        Ok(Some(again)) => Limited { id, sequence } = again,
                        Ok(None) => break End::TargetsAreGone,
                        Err(error) => break End::EngineStopped(error),
                    }
                }
                Some(snapshot) => {
                    status.warn(&snapshot);
                    let mut is_set = snapshot.limits.iter().any(|limit| limit.id == id);
                    if !is_set && let Some(now) = snapshot.own_limit(std::process::id()) {
                        (id, is_set) = (now, true);
                    }
                    if snapshot.sequence > sequence {
                        status.say_taken(&mut before, &snapshot, id);
                    }
                    if log::log_enabled!(log::Level::Info) {
                        status.clear();
                        log_carried(session.engine.requests(), id).await;
                    }
                    let members = status.show(&snapshot, id);
                    // Somebody else may have ended it, or the engine, whose clock is another one.
                    let lives = |key: &ProcessKey| key_of(Path::new("/proc"), key.pid) == Some(*key);
                    let is_wanted = waits_for_others || named.iter().any(lives);
                    if !is_set && is_wanted && snapshot.sequence > sequence {
                        break End::Removed;
                    }
                    // One may have been taken before the limit was set.
                    if members == 0 && !waits_for_others && snapshot.sequence > sequence {
                        break End::TargetsAreGone;
                    }
                }
            },
        }
    };
    status.finish();
    log_carried(session.engine.requests(), id).await;
    let clean = session.close().await;
    let code = match end {
        End::TimeIsUp | End::Removed if args.extent.duration.is_some() => 0,
        End::TimeIsUp | End::Removed => {
            output::say(format_args!(
                "somebody has ended the {}, or set another one in its place: see 'chadthrottle limits'",
                word.noun
            ));
            1
        }
        End::TargetsAreGone => {
            output::say(format_args!("the {} processes have ended", word.done));
            0
        }
        End::EngineStopped(error) => return Err(error),
        // Without a duration, Ctrl-C is how it is meant to end.
        End::Signal(Ending::Interrupt | Ending::Terminate) if args.extent.duration.is_none() => 0,
        End::Signal(ending) => ending.exit_code(),
    };
    Ok(if clean { code } else { code.max(1) })
}

/// What is limited at this moment, and the processes; `None` where the engine does not say.
async fn look(global: &Global) -> Option<Arc<Snapshot>> {
    let settings = Settings {
        fields: Some(vec![Field::Processes, Field::Limits, Field::Origins]),
        ..global.settings(session::AT_ONCE)
    };
    let mut session = session::open_running(settings).await.ok()??;
    let snapshot = session.engine.sample().await;
    let _clean = session.close().await;
    snapshot
}

/// The first sample that shows the limit; `None` where the engine has ended.
async fn first_after(session: &mut Opened, sequence: u64) -> Option<Arc<Snapshot>> {
    loop {
        let snapshot = session.engine.next_snapshot().await?;
        if snapshot.sequence > sequence {
            return Some(snapshot);
        }
    }
}

/// What it is called.
#[derive(Clone, Copy, Debug)]
struct Word {
    noun: &'static str,
    done: &'static str,
}

impl Word {
    fn of(limit: &Limit) -> Self {
        let mut rates = [limit.down, limit.up].into_iter().flatten();
        if rates.any(Rate::is_blocked) {
            let (noun, done) = ("block", "blocked");
            Self { noun, done }
        } else {
            let (noun, done) = ("limit", "limited");
            Self { noun, done }
        }
    }

    /// What becomes of it where a target matches nothing now.
    fn whoever_comes(self, until: &str) -> String {
        format!("the {} stays, and holds whoever comes, {until}", self.noun)
    }
}

/// Sets the limit again where the engine has ended, and gives its name there; `None` where its processes have ended.
async fn again(
    session: &mut Opened,
    status: &mut Status<'_>,
    id: LimitId,
) -> Result<Option<Limited>, Error> {
    status.clear();
    output::say("the engine has ended: waiting for the next one");
    let names = session.reopen().await?;
    let now = names.into_iter().find(|(before, _)| *before == id);
    let now = now.and_then(|(_, now)| now);
    if now.is_some() {
        output::say(format_args!("{} again", status.word.done));
    }
    Ok(now)
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Resolves the targets: processes that are named by id must be there.
fn targets(args: &LimitArgs) -> Result<Targets, Error> {
    let mut targets = Targets {
        children: args.extent.children,
        ..Targets::default()
    };
    for target in &args.targets {
        match target {
            Target::Selector(selector) => targets.selectors.push(selector.clone()),
            Target::Pid(pid) => targets.processes.push(
                find(Path::new("/proc"), *pid)
                    .map_err(|error| Error::io(format!("reading process {pid}"), error))?
                    .ok_or_else(|| Error::NoTarget(format!("there is no process {pid}")))?,
            ),
        }
    }
    Ok(targets)
}

/// The line on a terminal that is rewritten every second.
struct Status<'a> {
    global: &'a Global,
    word: Word,
    /// `None` where there is none.
    terminal: Option<&'static Outlet>,
    /// Download and upload.
    arrows: [&'static str; 2],
    shown: bool,
    /// Members of the sample before, which have been named.
    named: HashSet<ProcessKey>,
    warned: Warned,
}

/// How many new members are named after one sample.
const NAMED_AT_ONCE: usize = 10;

impl<'a> Status<'a> {
    fn new(global: &'a Global, word: Word) -> Self {
        Self {
            global,
            word,
            terminal: output::stderr().filter(|_| std::io::stderr().is_terminal()),
            arrows: if only_ascii(|name| std::env::var_os(name)) {
                ["down", "up"]
            } else {
                ["↓", "↑"]
            },
            shown: false,
            named: HashSet::new(),
            warned: Warned::default(),
        }
    }

    /// Shows the sums of the limit's members, and gives how many there are.
    fn show(&mut self, snapshot: &Snapshot, id: LimitId) -> usize {
        let members: Vec<_> = snapshot
            .processes
            .iter()
            .filter(|process| !process.ended && process.limit.is_some_and(|(of, _)| of == id))
            .collect();
        self.name(&members);
        let sample = snapshot.limits.iter().find(|sample| sample.id == id);
        let not_held = sample.is_some_and(|sample| sample.unseen_bytes > 0);
        // A terminal that has not taken the line before yet needs no newer one.
        let idle = self.terminal.filter(|terminal| terminal.is_idle());
        if let Some(terminal) = idle
            && members.is_empty()
            && let Some(Unmatched { words, .. }) = snapshot
                .unmatched
                .iter()
                .find(|unmatched| unmatched.id == id)
        {
            // One row of a narrow terminal: of more, only the last is written over.
            let words: String = words.chars().take(79).collect();
            terminal.put(format!("\r\u{1b}[K{words}").as_bytes());
            self.shown = true;
        }
        if let Some(terminal) = idle
            && !members.is_empty()
        {
            let style = self.global.style();
            let down: f64 = members
                .iter()
                .map(|process| process.traffic.down.bytes_per_s)
                .sum();
            let up: f64 = members
                .iter()
                .map(|process| process.traffic.up.bytes_per_s)
                .sum();
            let plural = if members.len() == 1 {
                "process"
            } else {
                "processes"
            };
            let line = format!(
                "\r\u{1b}[K{} {plural}  {} {}  {} {}{}",
                members.len(),
                self.arrows[0],
                format_rate(down, style),
                self.arrows[1],
                format_rate(up, style),
                if not_held { "  NOT HELD" } else { "" },
            );
            terminal.put(line.as_bytes());
            self.shown = true;
        }
        members.len()
    }

    /// Hands on what the engine has to say.
    fn warn(&mut self, snapshot: &Snapshot) {
        for warning in self.warned.news(&snapshot.warnings) {
            self.clear();
            output::say(warning);
        }
    }

    /// Says once whom the limit has taken from others.
    fn say_taken(&mut self, before: &mut Option<Arc<Snapshot>>, now: &Snapshot, id: LimitId) {
        if let Some(words) = before.take().and_then(|before| taken(&before, now, id)) {
            self.clear();
            output::say(words);
        }
    }

    /// Removes the line, so that something else can be said.
    fn clear(&mut self) {
        if self.shown {
            self.put("\r\u{1b}[K");
            self.shown = false;
        }
    }

    /// Says which processes are limited that were not a sample ago.
    fn name(&mut self, members: &[&ProcessSample]) {
        let new: Vec<_> = members
            .iter()
            .filter(|process| !self.named.contains(&process.key))
            .collect();
        self.named = members.iter().map(|process| process.key).collect();
        if new.is_empty() {
            return;
        }
        self.clear();
        for process in new.iter().take(NAMED_AT_ONCE) {
            let name = crate::text::name_of_process(&process.name, &process.exe);
            let (done, pid) = (self.word.done, process.key.pid);
            output::say(format_args!("{done}: {pid} ({name})"));
        }
        if let Some(more) = new
            .len()
            .checked_sub(NAMED_AT_ONCE)
            .filter(|more| *more > 0)
        {
            output::say(format_args!("{}: {more} more", self.word.done));
        }
    }

    fn finish(&self) {
        if self.shown {
            self.put("\n");
        }
    }

    fn put(&self, text: &str) {
        if let Some(terminal) = self.terminal {
            terminal.put(text.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_nothing_matches_says_that_it_waits_and_for_how_long() {
        let limit = Limit {
            down: "1MB".parse().ok(),
            ..Limit::NONE
        };
        let words = "the limit stays, and holds whoever comes, until Ctrl-C";
        assert_eq!(Word::of(&limit).whoever_comes("until Ctrl-C"), words);
        let block = Limit {
            up: Some(Rate::BLOCKED),
            ..Limit::NONE
        };
        let words = "the block stays, and holds whoever comes, for 2h";
        assert_eq!(Word::of(&block).whoever_comes("for 2h"), words);
    }
}
