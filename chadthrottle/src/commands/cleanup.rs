//! `cleanup`: detach what earlier runs left.

use std::path::Path;

use serde::Serialize;

use crate::{
    backends::throttle::cgroup,
    cli::{Cleanup, Global},
    error::Error,
    lifecycle::{
        cleanup::{self, Leftover, Leftovers, Outcome},
        privilege,
    },
    output, text,
};

/// Cleans up and gives the exit code: 0 when nothing is left, 1 when something is.
pub fn run(global: &Global, args: &Cleanup) -> Result<u8, Error> {
    privilege::check()?;
    let mount = cgroup::cgroup2_mount()?;
    let Leftovers {
        programs: leftovers,
        sockets,
    } = cleanup::run(&mount, &global.state_dir, args.dry_run)?;
    if args.json {
        let report = Report::new(&mount, args.dry_run, &leftovers, sockets);
        let text =
            text::json(&report).map_err(|error| Error::io("writing the report", error.into()))?;
        output::print(&text)?;
    } else {
        output::print(words(&mount, args.dry_run, &leftovers, sockets).as_bytes())?;
    }
    let all_gone = leftovers
        .iter()
        .all(|leftover| leftover.outcome == Outcome::Detached)
        && (sockets == 0 || !args.dry_run);
    Ok(u8::from(!all_gone))
}

/// The report for people.
fn words(cgroup2: &Path, dry_run: bool, leftovers: &[Leftover], sockets: usize) -> String {
    if leftovers.is_empty() && sockets == 0 {
        return format!("Nothing was left below {}.\n", cgroup2.display());
    }
    let mut lines: Vec<String> = leftovers.iter().map(ToString::to_string).collect();
    match (sockets, dry_run) {
        (0, _) => {}
        (_, true) => lines.push(format!("would put back the options of {sockets} sockets")),
        (_, false) => lines.push(format!("put back the options of {sockets} sockets")),
    }
    lines.join("\n") + "\n"
}

#[derive(Serialize)]
struct Report<'a> {
    schema: u32,
    cgroup2: &'a Path,
    dry_run: bool,
    leftovers: Vec<Item<'a>>,
    /// Whose options a limit had set.
    sockets: usize,
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
    fn new(cgroup2: &'a Path, dry_run: bool, leftovers: &'a [Leftover], sockets: usize) -> Self {
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
