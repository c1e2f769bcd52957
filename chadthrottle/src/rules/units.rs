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

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use super::{
    Calendar, OnNetworks, Places, Rule, Share,
    places::{Problem, Unread, glance},
};
use crate::{
    model::{Both, Limit, scope_of},
    process::{Condition, Selector, of_directory},
    units::Rate,
};

/// Where the files of units are: those of an earlier directory take the place of those of later ones.
const DIRECTORIES: [&str; 4] = [
    "etc/systemd/system",
    "run/systemd/system",
    "usr/local/lib/systemd/system",
    "usr/lib/systemd/system",
];

const SECTION: &str = "X-ChadThrottle";

const KEYS: &str = "Down, Up, Scope, Block, Reject";

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
        for (unit, cgroup) in running {
            let seen = stamps(places, unit);
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

/// Names that a unit's files may have: its own and, of an instance, its template's.
fn names(unit: &str) -> Vec<String> {
    let mut names = vec![unit.to_owned()];
    if let Some((template, instance)) = unit.split_once('@')
        && let Some((_, kind)) = instance.rsplit_once('.')
    {
        names.push(format!("{template}@.{kind}"));
    }
    names
}

/// Names that the directories of its drop-ins may begin with, those before others that count for more: its own, its
/// template's, and each up to one of its dashes (`unit_file_find_dirs` in systemd's src/shared/dropin.c).
fn drop_in_names(unit: &str) -> Vec<String> {
    let mut names = Vec::new();
    add_drop_in_names(unit, &mut names);
    names
}

fn add_drop_in_names(name: &str, names: &mut Vec<String>) {
    names.push(name.to_owned());
    let Some((stem, kind)) = name.rsplit_once('.') else {
        return;
    };
    let (prefix, instance) = match stem.split_once('@') {
        Some((prefix, instance)) => (prefix, instance),
        None => (stem, ""),
    };
    if !instance.is_empty() {
        add_drop_in_names(&format!("{prefix}@.{kind}"), names);
    }
    if let Some(shorter) = up_to_a_dash(prefix) {
        let at = if instance.is_empty() { "" } else { "@" };
        add_drop_in_names(&format!("{shorter}{at}{instance}.{kind}"), names);
    }
}

/// A name up to its last dash, or to the one before where it ends with that.
fn up_to_a_dash(name: &str) -> Option<&str> {
    let name = name.strip_suffix('-').unwrap_or(name);
    let dash = name.rfind('-').filter(|at| *at != 0)?;
    Some(&name[..=dash])
}

/// When the files and directories of a unit were changed last: of each that there may be.
fn stamps(places: &Places, unit: &str) -> Vec<Option<SystemTime>> {
    let mut stamps = Vec::new();
    let of_kind = unit.rsplit_once('.').map(|(_, kind)| kind.to_owned());
    for name in drop_in_names(unit).into_iter().chain(of_kind) {
        for directory in DIRECTORIES {
            let directory = places.root().join(directory);
            let drop_ins = directory.join(format!("{name}.d"));
            let entries = fs::read_dir(&drop_ins).into_iter().flatten().flatten();
            let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
            paths.sort();
            paths.extend([directory.join(&name), drop_ins]);
            for path in paths {
                let metadata = fs::metadata(path);
                stamps.push(metadata.and_then(|metadata| metadata.modified()).ok());
            }
        }
    }
    stamps
}

/// The files of a unit that count, in the order in which they are read.
fn files(places: &Places, unit: &str) -> Vec<PathBuf> {
    let at = |name: &str| {
        let mut paths = DIRECTORIES
            .iter()
            .map(|directory| places.root().join(directory).join(name));
        paths.find(|path| path.exists())
    };
    let names = names(unit);
    let mut files: Vec<PathBuf> = names.iter().find_map(|name| at(name)).into_iter().collect();
    let mut drop_ins: BTreeMap<std::ffi::OsString, PathBuf> = BTreeMap::new();
    let mut add = |directory: &str, name: &str| {
        let directory = places.root().join(directory).join(format!("{name}.d"));
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            if entry.path().extension().is_some_and(|kind| kind == "conf") {
                drop_ins.insert(entry.file_name(), entry.path());
            }
        }
    };
    // What counts least first, so that the others take its place.
    let kind = unit.rsplit_once('.').map_or(unit, |(_, kind)| kind);
    for directory in DIRECTORIES.iter().rev() {
        add(directory, kind);
    }
    for directory in DIRECTORIES.iter().rev() {
        for name in drop_in_names(unit).iter().rev() {
            add(directory, name);
        }
    }
    files.extend(drop_ins.into_values());
    files
}

/// What the section says, and where it was said last.
#[derive(Debug, Default)]
struct Section {
    limit: Option<Limit>,
    /// What stands above the rates, wherever it is said.
    block: Both<bool>,
    place: Option<(PathBuf, usize)>,
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

impl Section {
    /// Takes in what a file says on top of those before.
    fn take(&mut self, text: &str, file: &Path) -> Result<(), (usize, String)> {
        let mut is_ours = false;
        for (number, line) in joined(text) {
            let line = line.trim();
            if let Some(name) = line.strip_prefix('[').and_then(|it| it.strip_suffix(']')) {
                is_ours = name == SECTION;
                continue;
            }
            if !is_ours {
                continue;
            }
            let wrong = |what: String| (number, crate::text::escape(&what).into_owned());
            let (key, value) = line
                .split_once('=')
                .ok_or_else(|| wrong(format!("'{line}' is no assignment")))?;
            let limit = self.limit.get_or_insert(Limit::NONE);
            set(limit, &mut self.block, key.trim(), value.trim()).map_err(wrong)?;
            self.place = Some((file.to_owned(), number));
        }
        Ok(())
    }
}

/// The lines of a file that say something, each with the number of its first: one that ends with a backslash goes on in
/// the next that is no comment (systemd.syntax(7)).
fn joined(text: &str) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    let mut goes_on = false;
    for (at, line) in text.lines().enumerate() {
        let begins = line.trim_start();
        if begins.starts_with(['#', ';']) || (begins.is_empty() && !goes_on) {
            continue;
        }
        let (line, continues) = match line.strip_suffix('\\') {
            Some(line) => (line, true),
            None => (line, false),
        };
        match lines.last_mut() {
            Some((_, whole)) if goes_on => {
                whole.push(' ');
                whole.push_str(line);
            }
            _ => lines.push((at + 1, line.to_owned())),
        }
        goes_on = continues;
    }
    lines
}

/// Sets what a key says; as everywhere in systemd's files, an empty value takes back what was said before.
fn set(limit: &mut Limit, block: &mut Both<bool>, key: &str, value: &str) -> Result<(), String> {
    let rate = || -> Result<Option<Rate>, String> {
        if value.is_empty() {
            return Ok(None);
        }
        value.parse().map(Some).map_err(|error| format!("{error}"))
    };
    match key {
        "Down" => limit.down = rate()?,
        "Up" => limit.up = rate()?,
        "Scope" if value.is_empty() => limit.scope = Limit::NONE.scope,
        "Scope" => {
            let words = "Scope is default, internet, local or all";
            limit.scope = scope_of(value).ok_or_else(|| format!("'{value}': {words}"))?;
        }
        "Block" => {
            let (down, up) = match value {
                "both" => (true, true),
                "down" => (true, false),
                "up" => (false, true),
                _ => {
                    let is = truth(value);
                    let is =
                        is.ok_or_else(|| format!("'{value}': Block is yes, no, down or up"))?;
                    (is, is)
                }
            };
            *block = Both { down, up };
        }
        "Reject" => {
            let is = truth(value);
            limit.reject = is.ok_or_else(|| format!("'{value}': Reject is yes or no"))?;
        }
        _ => return Err(format!("'{key}' is not known here; allowed: {KEYS}")),
    }
    Ok(())
}

/// A truth value in systemd's words; nothing takes back what was said before.
fn truth(value: &str) -> Option<bool> {
    match value {
        "yes" | "true" | "on" | "1" => Some(true),
        "" | "no" | "false" | "off" | "0" => Some(false),
        _ => None,
    }
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
    fn drop_ins_may_be_for_a_kind_or_a_beginning_of_units_and_lines_go_on() {
        for (unit, expected) in [
            ("a.service", &["a.service"][..]),
            (
                "a-b-c.service",
                &["a-b-c.service", "a-b-.service", "a-.service"],
            ),
            ("-a.service", &["-a.service"]),
            (
                "a-b@c-d.service",
                &[
                    "a-b@c-d.service",
                    "a-b@.service",
                    "a-.service",
                    "a-@c-d.service",
                    "a-@.service",
                ],
            ),
        ] {
            assert_eq!(drop_in_names(unit), expected);
        }
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
        let text = "a=1 \\\n\nb=2\nc=\\\n d\\";
        let lines = joined(text);
        let lines: Vec<_> = lines.iter().map(|(at, it)| (*at, it.as_str())).collect();
        assert_eq!(lines, [(1, "a=1  "), (3, "b=2"), (4, "c=  d")]);
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
            ("[X-ChadThrottle]\nDown\n", "no assignment"),
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
