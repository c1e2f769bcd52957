//! `cleanup`: detach what earlier runs left.

use std::path::Path;

use serde::Serialize;

use crate::{
    backends::throttle::cgroup,
    cli::{Cleanup, Global},
    error::Error,
    reversal::{
        EngineLock, LockError, StateDir,
        cleanup::{self, Leftover, Leftovers, Outcome, State},
    },
    session::{pid_namespace, privilege},
    text,
};

/// Cleans up, leaving alone what belongs to an engine that lives: its lock is tried first.
fn clean_up(mount: &Path, state_dir: &Path, dry_run: bool) -> Result<Leftovers, Error> {
    let Some(directory) = StateDir::open(state_dir).map_err(LockError::from)? else {
        return Ok(cleanup::run(mount, State::Missing, dry_run)?);
    };
    match EngineLock::take_in(directory.clone()) {
        Ok(lock) => Ok(cleanup::run(mount, State::Ours(&lock), dry_run)?),
        Err(LockError::Held(_)) => Ok(cleanup::run(mount, State::Living(&directory), dry_run)?),
        Err(error) => Err(error.into()),
    }
}

/// Cleans up and gives the exit code: 0 when nothing is left, 1 when something is.
pub fn run(global: &Global, args: &Cleanup) -> Result<u8, Error> {
    privilege::check()?;
    // Elsewhere nobody can tell whose programs they are.
    pid_namespace::check()?;
    let mount = cgroup::cgroup2_mount()?;
    let Leftovers {
        programs: leftovers,
        sockets,
    } = clean_up(&mount, &global.state_dir, args.dry_run)?;
    if args.json {
        let report = Report::new(&mount, args.dry_run, &leftovers, sockets);
        let text =
            text::json(&report).map_err(|error| Error::io("writing the report", error.into()))?;
        super::print(&text)?;
    } else {
        super::print(words(&mount, &leftovers, sockets).as_bytes())?;
    }
    let all_gone = leftovers
        .iter()
        .all(|leftover| leftover.outcome == Outcome::Detached)
        && sockets.is_some();
    Ok(u8::from(!all_gone))
}

/// The report for people.
fn words(cgroup2: &Path, leftovers: &[Leftover], sockets: Option<usize>) -> String {
    if leftovers.is_empty() && sockets == Some(0) {
        return format!("Nothing was left below {}.\n", cgroup2.display());
    }
    let mut lines: Vec<String> = leftovers.iter().map(ToString::to_string).collect();
    match sockets {
        Some(0) => {}
        Some(sockets) => lines.push(format!("put back the options of {sockets} sockets")),
        None => lines
            .push("would put back the options of sockets that a killed engine has set".to_owned()),
    }
    lines.join("\n") + "\n"
}

#[derive(Serialize)]
struct Report<'a> {
    schema: u32,
    cgroup2: &'a Path,
    dry_run: bool,
    leftovers: Vec<Item<'a>>,
    /// How many sockets have their own options again; null: not known before it is done.
    sockets: Option<usize>,
}

#[derive(Serialize)]
struct Item<'a> {
    program_id: u32,
    name: &'a str,
    tag: String,
    cgroup: &'a Path,
    attach_type: &'static str,
    detached: bool,
    error: Option<&'a str>,
}

impl<'a> Report<'a> {
    fn new(
        cgroup2: &'a Path,
        dry_run: bool,
        leftovers: &'a [Leftover],
        sockets: Option<usize>,
    ) -> Self {
        let leftovers = leftovers
            .iter()
            .map(
                |Leftover {
                     cgroup,
                     place,
                     program,
                     outcome,
                 }| Item {
                    program_id: program.id,
                    name: &program.name,
                    tag: program.tag_hex(),
                    cgroup,
                    attach_type: place.name(),
                    detached: *outcome == Outcome::Detached,
                    error: match outcome {
                        Outcome::Failed(reason) => Some(reason),
                        Outcome::Detached | Outcome::Shown => None,
                    },
                },
            )
            .collect();
        Self {
            schema: 1,
            cgroup2,
            dry_run,
            leftovers,
            sockets,
        }
    }
}
