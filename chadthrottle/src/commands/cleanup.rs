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
        let text = serde_json::to_string(&report)
            .map_err(|error| Error::io("writing the report", error.into()))?;
        println!("{text}");
    } else if leftovers.is_empty() && sockets == Some(0) {
        println!("Nothing was left below {}.", mount.display());
    } else {
        for leftover in &leftovers {
            println!("{leftover}");
        }
        match sockets {
            Some(0) => {}
            Some(sockets) => println!("put back the options of {sockets} sockets"),
            None => println!("would put back the options of sockets that a killed engine has set"),
        }
    }
    let all_gone = leftovers
        .iter()
        .all(|leftover| leftover.outcome == Outcome::Detached)
        && sockets.is_some();
    Ok(u8::from(!all_gone))
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
