//! What is attached and loaded, as bpftool sees it: never our own bookkeeping.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
    thread::sleep,
    time::Duration,
};

use serde_json::Value;

use crate::program::eventually;

/// Where cgroup2 is mounted.
pub fn cgroup2() -> String {
    let mounts = fs::read_to_string("/proc/mounts").expect("/proc/mounts");
    mounts
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>())
        .find(|fields| fields[2] == "cgroup2")
        .map(|fields| fields[1].to_owned())
        .expect("a cgroup2 mount")
}

/// A cgroup that these tests were started in, to attach to in place of the root, so that others may run
/// at the same time. `cargo xtask test` makes it.
static LANE: LazyLock<Option<String>> =
    LazyLock::new(|| std::env::var("CHADTHROTTLE_TEST_CGROUP").ok());

/// The cgroup that these tests attach to in place of the root, where there is one.
pub fn lane() -> Option<&'static str> {
    LANE.as_deref()
}

/// What a command line needs to attach there: nothing at the root.
pub fn there() -> String {
    lane().map_or_else(String::new, |lane| format!("--cgroup {lane}"))
}

/// Where engines attach that are told nothing else.
pub fn top() -> String {
    lane().map_or_else(cgroup2, str::to_owned)
}

#[track_caller]
pub fn bpftool(arguments: &[&str]) -> Value {
    // What is freed while it makes a list is an error to it.
    for _ in 0..20 {
        match asked(arguments) {
            Err(_) if arguments.contains(&"list") => sleep(Duration::from_millis(50)),
            result => return result.unwrap_or_else(|text| panic!("bpftool {arguments:?}: {text}")),
        }
    }
    asked(arguments).unwrap_or_else(|text| panic!("bpftool {arguments:?}: {text}"))
}

fn asked(arguments: &[&str]) -> Result<Value, String> {
    let output = Command::new("bpftool").arg("-j").args(arguments).output();
    let output = output.expect("bpftool");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        return Err(text);
    }
    if text.trim().is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))
}

/// When this process was started, in seconds since 1970.
fn started() -> u64 {
    let ourselves = procfs::process::Process::myself().and_then(|process| process.stat());
    let ticks = ourselves.expect("/proc/self/stat").starttime;
    let boot = procfs::boot_time_secs().expect("/proc/stat");
    boot + ticks / procfs::ticks_per_second()
}

fn entries(list: &Value) -> Vec<Value> {
    list.as_array().cloned().unwrap_or_default()
}

fn names(entries: &[Value], key: &str) -> Vec<String> {
    entries
        .iter()
        .filter_map(|entry| Some(entry.get(key)?.as_str()?.to_owned()))
        .collect()
}

/// Names of our programs that are attached to this cgroup, sorted.
pub fn attached(cgroup: &str) -> Vec<String> {
    let mut found = names(&entries(&bpftool(&["cgroup", "show", cgroup])), "name");
    found.retain(|name| name.starts_with("chadthrottle"));
    found.sort();
    found
}

/// What these tests have loaded, as bpftool lists it. What was loaded before them is not theirs: a
/// ChadThrottle that was killed, guard and all, has pinned what puts its settings back. Nor is what
/// a process outside of their cgroup holds.
struct Ours {
    programs: Vec<Value>,
    maps: Vec<Value>,
}

fn ours() -> Ours {
    let is_ours = |entry: &Value| {
        let name = entry["name"].as_str();
        name.is_some_and(|name| name.starts_with("chad"))
    };
    let (started, elsewhere) = (started(), held(false));
    let (others, programs): (Vec<_>, Vec<_>) = entries(&bpftool(&["prog", "list"]))
        .into_iter()
        .filter(is_ours)
        .partition(|program| {
            program["loaded_at"].as_u64().is_some_and(|at| at < started)
                || elsewhere.holds("prog", &program["id"])
        });
    let of_others: Vec<&Value> = others
        .iter()
        .filter_map(|program| program["map_ids"].as_array())
        .flatten()
        .collect();
    let mut maps = entries(&bpftool(&["map", "list"]));
    maps.retain(|map| {
        is_ours(map) && !of_others.contains(&&map["id"]) && !elsewhere.holds("map", &map["id"])
    });
    Ours { programs, maps }
}

/// Our programs, maps and links that are loaded, by name, sorted.
pub fn loaded() -> Vec<String> {
    let Ours { programs, maps } = ours();
    let mut found = names(&programs, "name");
    found.extend(names(&maps, "name"));
    // Links have no names: those of programs with ours.
    let links = entries(&bpftool(&["link", "list"]));
    let is_ours = |link: &&Value| {
        programs
            .iter()
            .any(|program| program["id"] == link["prog_id"])
    };
    let named = |link: &Value| {
        let kind = link["type"].as_str().unwrap_or("unknown");
        format!("chad {kind} link {}", link["id"])
    };
    found.extend(links.iter().filter(is_ours).map(named));
    found.sort();
    found
}

/// The map of ours that has this name.
#[track_caller]
pub fn map(name: &str) -> Value {
    // What others have let go of a moment ago is held by nobody.
    let held = held(true);
    let mut maps = ours().maps.into_iter();
    maps.find(|map| map["name"] == name && held.holds("map", &map["id"]))
        .unwrap_or_else(|| panic!("no map {name}"))
}

/// How many entries that map of ours has.
#[track_caller]
pub fn map_entries(name: &str) -> usize {
    entries(&bpftool(&[
        "map",
        "dump",
        "id",
        &map(name)["id"].to_string(),
    ]))
    .len()
}

/// What some processes hold: kinds and ids.
#[derive(Default)]
struct Held(HashSet<(&'static str, u64)>);

impl Held {
    fn holds(&self, kind: &'static str, id: &Value) -> bool {
        id.as_u64().is_some_and(|id| self.0.contains(&(kind, id)))
    }
}

/// What the processes of our cgroup hold, or those outside of it.
fn held(by_ours: bool) -> Held {
    let mut found = Held::default();
    for process in processes().filter(|process| is_ours(process) == by_ours) {
        let descriptors = fs::read_dir(process.join("fd")).into_iter().flatten();
        for descriptor in descriptors.flatten() {
            let kind = fs::read_link(descriptor.path()).unwrap_or_default();
            let kind = match kind.to_str() {
                Some("anon_inode:bpf-prog") => "prog",
                Some("anon_inode:bpf-map") => "map",
                _ => continue,
            };
            let info = process.join("fdinfo").join(descriptor.file_name());
            let info = fs::read_to_string(info).unwrap_or_default();
            let id = info
                .lines()
                .find_map(|line| line.strip_prefix(kind)?.strip_prefix("_id:"));
            found
                .0
                .extend(id.and_then(|id| Some((kind, id.trim().parse().ok()?))));
        }
    }
    found
}

fn processes() -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir("/proc").expect("/proc").flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| path.join("fd").exists())
}

/// Whether a process is in our cgroup, or below.
fn is_ours(process: &Path) -> bool {
    let Some(lane) = lane() else {
        return true;
    };
    let ours = lane.strip_prefix(&cgroup2()).expect("below cgroup2");
    let cgroups = fs::read_to_string(process.join("cgroup")).unwrap_or_default();
    let unified = cgroups.lines().find_map(|line| line.strip_prefix("0::"));
    unified.is_some_and(|cgroup| Path::new(cgroup).starts_with(ours))
}

/// How long the kernel may take to free what nobody holds any more. Beside others more, since they may
/// have let go of something in the same moment.
fn patience() -> Duration {
    Duration::from_secs(if lane().is_some() { 5 } else { 1 })
}

/// The programs that a running engine has on its cgroup.
pub const OURS: [&str; 4] = [
    "chadthrottle_eg",
    "chadthrottle_in",
    "chadthrottle_sc",
    "chadthrottle_so",
];

/// Nothing of ours is attached at the top, nor loaded: the kernel frees programs and maps a moment after
/// their last user.
#[track_caller]
pub fn assert_nothing_left() {
    assert_eq!(attached(&top()), [""; 0], "attached to {}", top());
    eventually("nothing of ours is loaded", patience(), || {
        loaded().is_empty()
    });
    eventually("no guard runs", patience(), || guards() == 0);
}

/// How many guards run in our cgroup.
fn guards() -> usize {
    processes()
        .filter(|process| is_ours(process))
        .filter_map(|process| fs::read(process.join("cmdline")).ok())
        .filter(|line| line.starts_with(b"/proc/self/exe\0guard\0"))
        .count()
}

/// A cgroup of the test's own, removed when the test ends.
pub struct Cgroup(pub String);

impl Cgroup {
    pub fn new(name: &str) -> Self {
        let path = format!("{}/chadthrottle-test-{}-{name}", top(), std::process::id());
        Self::at(path)
    }

    /// One of that name at the root, where units of systemd are.
    pub fn named(name: &str) -> Self {
        Self::at(format!("{}/{name}", cgroup2()))
    }

    /// One within it.
    pub fn below(parent: &Self, name: &str) -> Self {
        Self::at(format!("{}/{name}", parent.0))
    }

    /// As cgroup2 has it, from its root.
    pub fn path(&self) -> &str {
        self.0.strip_prefix(&cgroup2()).expect("below cgroup2")
    }

    fn at(path: String) -> Self {
        fs::create_dir(&path).expect("a cgroup");
        Self(path)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if Path::new(&self.0).exists() {
            let _ = fs::remove_dir(&self.0);
        }
    }
}
