//! Policy where units are described: a section of ours in the files of systemd's units, which systemd leaves alone.
//!
//! ```ini
//! [X-ChadThrottle]
//! Down=5MB/s
//! Up=1MB/s
//! Scope=internet
//! Block=up
//! Reject=yes
//! ```

mod files;
mod section;

use std::{collections::BTreeMap, fs, path::Path, sync::Arc, time::SystemTime};

use files::{Listing, files};
use section::{SECTION, Section};

use super::{
    Calendar, OnNetworks, Places, Rule, Share,
    places::{Problem, Unread, glance},
};
use crate::{
    process::{Condition, Selector, of_directory},
    units::Rate,
};

/// The rules that units have, as far as they were read.
#[derive(Clone, Debug, Default)]
pub struct UnitRules {
    units: BTreeMap<String, Unit>,
}

#[derive(Clone, Debug)]
struct Unit {
    cgroup: String,
    seen: Vec<Option<SystemTime>>,
    rule: Option<Rule>,
    problem: Option<Problem>,
}

impl UnitRules {
    /// Reads the files of units that have come since the last time, or whose files have changed, and forgets those that
    /// have gone. Gives whether there were any.
    pub fn refresh(&mut self, places: &Places, running: &BTreeMap<String, String>) -> bool {
        let mut is_news = false;
        self.units.retain(|unit, known| {
            let stays = running.get(unit) == Some(&known.cgroup);
            is_news |= !stays;
            stays
        });
        if running.is_empty() {
            return is_news;
        }
        let listing = Listing::of(places);
        for (unit, cgroup) in running {
            let seen = listing.stamps(unit);
            let known = self.units.get(unit);
            if known.is_some_and(|known| known.seen == seen) {
                continue;
            }
            let (rule, problem) = match read(places, unit, cgroup) {
                Ok(rule) => (rule, None),
                Err(problem) => (None, Some(problem)),
            };
            is_news = true;
            let cgroup = cgroup.clone();
            self.units.insert(
                unit.clone(),
                Unit {
                    cgroup,
                    seen,
                    rule,
                    problem,
                },
            );
        }
        is_news
    }

    /// The rules, in the order of the units' names.
    pub fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.units.values().filter_map(|unit| unit.rule.as_ref())
    }

    /// What is wrong with files of units that run.
    pub fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.units.values().filter_map(|unit| unit.problem.as_ref())
    }
}

/// The units of the system's manager that run, each with its cgroup, as the cgroups at `mount` show. What is within a
/// service, as the units of a user's manager, is not described by the system.
pub fn running(mount: &Path) -> BTreeMap<String, String> {
    let mut running = BTreeMap::new();
    let mut slices = vec![String::new()];
    while let Some(slice) = slices.pop() {
        let entries = fs::read_dir(mount.join(slice.trim_start_matches('/')));
        for entry in entries.into_iter().flatten().flatten() {
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            let path = format!("{slice}/{name}");
            if name.ends_with(".slice") {
                slices.push(path.clone());
            } else if !name.ends_with(".service") && !name.ends_with(".scope") {
                continue;
            }
            running.insert(of_directory(name).to_owned(), path);
        }
    }
    running
}

fn read(places: &Places, unit: &str, cgroup: &str) -> Result<Option<Rule>, Problem> {
    let mut section = Section::default();
    for file in files(places, unit) {
        let text = match places.text(&file) {
            Ok(text) => text,
            Err(Unread::Missing | Unread::Masked) => continue,
            // Whatever it says, it is not ours to judge where it says nothing to us.
            Err(Unread::Refused(what)) => match glance(&file) {
                Some(text) if text.contains(SECTION) => return Err(Problem { file, what }),
                _ => continue,
            },
        };
        if let Err((line, what)) = section.take(&text, &file) {
            let what = format!("line {line}: {what}");
            return Err(Problem { file, what });
        }
    }
    let (Some(mut limit), Some((file, line))) = (section.limit, section.place) else {
        return Ok(None);
    };
    for (is_blocked, rate) in [
        (section.block.down, &mut limit.down),
        (section.block.up, &mut limit.up),
    ] {
        if is_blocked {
            *rate = Some(Rate::BLOCKED);
        }
    }
    if limit.down.is_none() && limit.up.is_none() {
        return Ok(None);
    }
    // A block may have been taken back, and this left.
    limit.reject = limit.resets();
    Ok(Some(Rule {
        name: Arc::from(format!("unit:{unit}")),
        targets: vec![Selector::of(Condition::Cgroup(cgroup.to_owned()))],
        limit,
        share: Share::All,
        when: Calendar::default(),
        on: OnNetworks::default(),
        enabled: true,
        profiles: Vec::new(),
        file: Arc::from(file),
        line,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::testing::Tree;
    use std::os::unix::fs::PermissionsExt;

    /// Files of units, and what was read of them.
    struct Machine {
        tree: Tree,
        units: UnitRules,
    }

    impl Machine {
        fn new() -> Self {
            Self {
                tree: Tree::new(),
                units: UnitRules::default(),
            }
        }

        fn write(&self, path: &str, text: &str) {
            self.tree.write(path, text);
        }

        /// The limits of units that run, and what is wrong.
        fn limits(&mut self, cgroups: &[&str]) -> (Vec<String>, Vec<String>) {
            let mount = tempfile::tempdir().unwrap();
            for cgroup in cgroups {
                fs::create_dir_all(mount.path().join(cgroup)).unwrap();
            }
            self.units
                .refresh(&self.tree.places, &running(mount.path()));
            let limits = self.units.rules().map(|rule| {
                let target = String::from(rule.targets[0].clone());
                format!("{} {target} {}", rule.name, rule.limit)
            });
            let problems = self.units.problems().map(ToString::to_string);
            (limits.collect(), problems.collect())
        }
    }

    #[test]
    fn units_are_those_of_the_systems_manager() {
        let mount = tempfile::tempdir().unwrap();
        let scope = format!("docker-{}.scope", "0123456789abcdef".repeat(4));
        for cgroup in [
            "system.slice/a\\x2db.service/below",
            "user.slice/user-1000.slice/user@1000.service/app.slice/x.service",
            "custom/y.service",
            &format!("system.slice/{scope}/inner.service"),
        ] {
            fs::create_dir_all(mount.path().join(cgroup)).unwrap();
        }
        let running = running(mount.path());
        let names: Vec<&str> = running.keys().map(String::as_str).collect();
        let expected = [
            "a\\x2db.service",
            &scope,
            "system.slice",
            "user-1000.slice",
            "user.slice",
            "user@1000.service",
        ];
        assert_eq!(names, expected);
        assert_eq!(running["a\\x2db.service"], "/system.slice/a\\x2db.service");
    }

    #[test]
    fn drop_ins_add_to_files_and_what_changes_is_read_again() {
        let mut machine = Machine::new();
        let ollama = ["system.slice/ollama.service"];
        machine.write(
            "usr/lib/systemd/system/ollama.service",
            "[Service]\nDown=1\n[X-ChadThrottle]\nDown=5MB/s\n# x\nScope=internet\n",
        );
        let expected = "unit:ollama.service cgroup:/system.slice/ollama.service down 5 MB/s (40 Mbit/s), up unlimited, \
             scope internet";
        assert_eq!(machine.limits(&ollama).0, [expected]);
        machine.write(
            "etc/systemd/system/ollama.service.d/override.conf",
            "[X-ChadThrottle]\nUp=1MB/s\nScope=\n",
        );
        let expected = "unit:ollama.service cgroup:/system.slice/ollama.service down 5 MB/s (40 Mbit/s), up 1 MB/s (8 \
             Mbit/s)";
        assert_eq!(machine.limits(&ollama).0, [expected]);
        // One in /etc masks one of the same name.
        machine.write(
            "usr/lib/systemd/system/ollama.service.d/override.conf",
            "[X-ChadThrottle]\nBlock=yes\n",
        );
        assert_eq!(machine.limits(&ollama).0, [expected]);
        machine.write(
            "usr/lib/systemd/system/ollama.service.d/z.conf",
            "[X-ChadThrottle]\nBlock=up\n",
        );
        assert!(machine.limits(&ollama).0[0].ends_with("up blocked"));
        // Taken back, the rate is there again; and a block stands above rates, wherever it is said.
        machine.write(
            "usr/lib/systemd/system/ollama.service.d/zz.conf",
            "[X-ChadThrottle]\nBlock=\n",
        );
        assert!(machine.limits(&ollama).0[0].ends_with("up 1 MB/s (8 Mbit/s)"));
        let last = "[X-ChadThrottle]\nBlock=up\nUp=2MB/s\n";
        machine.write("usr/lib/systemd/system/ollama.service.d/zzz.conf", last);
        assert!(machine.limits(&ollama).0[0].ends_with("up blocked"));
        for (section, expected) in [
            ("Reject=yes", "up blocked, connections are reset"),
            ("Reject=yes\nReject=", "up blocked"),
            ("Reject=yes\nBlock=no", "up 2 MB/s (16 Mbit/s)"),
        ] {
            let text = format!("[X-ChadThrottle]\n{section}\n");
            machine.write("usr/lib/systemd/system/ollama.service.d/zzzz.conf", &text);
            machine.units = UnitRules::default();
            let limits = machine.limits(&ollama).0;
            assert!(limits[0].ends_with(expected), "{section}: {limits:?}");
        }
        // A pipe among them keeps nobody waiting.
        let fifo = machine
            .tree
            .directory
            .path()
            .join("etc/systemd/system/ollama.service.d/fifo.conf");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(machine.limits(&ollama).0.len(), 1);
        let (none, _) = machine.limits(&["system.slice/other.service"]);
        assert!(none.is_empty());
    }

    #[test]
    fn drop_ins_may_be_for_a_kind_or_a_beginning_of_units() {
        let mut machine = Machine::new();
        let unit = ["system.slice/foo-bar.service"];
        machine.write(
            "etc/systemd/system/service.d/all.conf",
            "[X-ChadThrottle]\nDown=1MB\nUp=1MB\n",
        );
        let limit = |machine: &mut Machine| machine.limits(&unit).0[0].clone();
        assert!(limit(&mut machine).ends_with("down 1 MB/s (8 Mbit/s), up 1 MB/s (8 Mbit/s)"));
        machine.write(
            "etc/systemd/system/foo-.service.d/more.conf",
            "[X-ChadThrottle]\nUp= \\\n# a comment between\n 2MB\n",
        );
        assert!(limit(&mut machine).ends_with("down 1 MB/s (8 Mbit/s), up 2 MB/s (16 Mbit/s)"));
        // The same file for this unit takes its place.
        machine.write("usr/lib/systemd/system/foo-bar.service.d/all.conf", "");
        assert!(limit(&mut machine).ends_with("down unlimited, up 2 MB/s (16 Mbit/s)"));
    }

    #[test]
    fn instances_have_their_templates_and_mistakes_are_named() {
        let mut machine = Machine::new();
        machine.write(
            "etc/systemd/system/get@.service",
            "[X-ChadThrottle]\nDown=1MB\n",
        );
        let get = ["system.slice/system-get.slice/get@a.service"];
        assert_eq!(machine.limits(&get).0.len(), 1);
        for (text, what) in [
            (
                "[X-ChadThrottle]\nDwon=1MB\n",
                "line 2: 'Dwon' is not known here",
            ),
            (
                "[X-ChadThrottle]\n\nDown=fast\n",
                "line 3: 'fast' is not a rate",
            ),
            ("[X-ChadThrottle]\nScope=moon\n", "Scope is default"),
            ("[X-ChadThrottle]\nBlock=maybe\n", "Block is yes"),
            ("[X-ChadThrottle]\nReject=up\n", "Reject is yes or no"),
            ("[X-ChadThrottle]\nDown\n", "not an assignment"),
        ] {
            // Stamps are as fine as the file system's clock.
            machine.units = UnitRules::default();
            machine.write("etc/systemd/system/get@a.service.d/x.conf", text);
            let (rules, problems) = machine.limits(&get);
            assert!(
                rules.is_empty() && problems[0].contains(what),
                "{problems:?}"
            );
        }
        let path = machine
            .tree
            .directory
            .path()
            .join("etc/systemd/system/get@a.service.d/x.conf");
        fs::write(&path, "[X-ChadThrottle]\nDown=2MB\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        machine.units = UnitRules::default();
        assert!(machine.limits(&get).1[0].contains("mode 666"));
    }
}
