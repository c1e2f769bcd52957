//! What is attached and loaded, as bpftool sees it: never our own bookkeeping.

use std::{path::Path, process::Command, time::Duration};

use serde_json::Value;

use crate::program::eventually;

/// Where cgroup2 is mounted.
pub fn cgroup2() -> String {
    let mounts = std::fs::read_to_string("/proc/mounts").expect("/proc/mounts");
    mounts
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>())
        .find(|fields| fields[2] == "cgroup2")
        .map(|fields| fields[1].to_owned())
        .expect("a cgroup2 mount")
}

#[track_caller]
pub fn bpftool(arguments: &[&str]) -> Value {
    let output = Command::new("bpftool")
        .arg("-j")
        .args(arguments)
        .output()
        .expect("bpftool");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "bpftool {arguments:?}: {text}");
    if text.trim().is_empty() {
        return Value::Null;
    }
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("bpftool {arguments:?}: {error}"))
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

/// Our programs, maps and links that these tests have loaded, by name, sorted. What was loaded before
/// them is not theirs: a ChadThrottle that was killed, guard and all, has pinned what puts its
/// settings back.
pub fn loaded() -> Vec<String> {
    let programs = entries(&bpftool(&["prog", "list"]));
    let started = started();
    let (earlier, programs): (Vec<_>, Vec<_>) = programs
        .into_iter()
        .partition(|program| program["loaded_at"].as_u64() < Some(started));
    let mut found = names(&programs, "name");
    let of_earlier: Vec<&Value> = earlier
        .iter()
        .filter_map(|program| program["map_ids"].as_array())
        .flatten()
        .collect();
    let is_ours = |program: &Value| {
        program["name"]
            .as_str()
            .is_some_and(|name| name.starts_with("chadthrottle"))
    };
    // Links have no names: those of programs with ours.
    let ours = |id: &Value| {
        programs
            .iter()
            .any(|program| program["id"] == *id && is_ours(program))
    };
    let links = entries(&bpftool(&["link", "list"]));
    let links = links.iter().filter(|link| ours(&link["prog_id"]));
    let named = |link: &Value| {
        let kind = link["type"].as_str().unwrap_or("unknown");
        format!("chad {kind} link {}", link["id"])
    };
    found.extend(links.map(named));
    let mut maps = entries(&bpftool(&["map", "list"]));
    maps.retain(|map| !of_earlier.contains(&&map["id"]));
    found.extend(names(&maps, "name"));
    found.retain(|name| name.starts_with("chad"));
    found.sort();
    found
}

/// The programs that a running engine has on its cgroup.
pub const OURS: [&str; 4] = [
    "chadthrottle_eg",
    "chadthrottle_in",
    "chadthrottle_sc",
    "chadthrottle_so",
];

/// Nothing of ours is attached at the root, nor loaded, within a second: the kernel frees
/// programs and maps a moment after their last user.
#[track_caller]
pub fn assert_nothing_left() {
    assert_eq!(attached(&cgroup2()), [""; 0], "attached to the root cgroup");
    eventually("nothing of ours is loaded", Duration::from_secs(1), || {
        loaded().is_empty()
    });
    eventually("no guard runs", Duration::from_secs(1), || guards() == 0);
}

/// How many guards run.
fn guards() -> usize {
    let processes = std::fs::read_dir("/proc").expect("/proc").flatten();
    let lines = processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
    lines
        .filter(|line| line.starts_with(b"/proc/self/exe\0guard\0"))
        .count()
}

/// A cgroup of the test's own, removed when the test ends.
pub struct Cgroup(pub String);

impl Cgroup {
    pub fn new(name: &str) -> Self {
        let path = format!(
            "{}/chadthrottle-test-{}-{name}",
            cgroup2(),
            std::process::id()
        );
        Self::at(path)
    }

    /// One within it.
    pub fn below(parent: &Self, name: &str) -> Self {
        Self::at(format!("{}/{name}", parent.0))
    }

    fn at(path: String) -> Self {
        std::fs::create_dir(&path).expect("a cgroup");
        Self(path)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if Path::new(&self.0).exists() {
            let _ = std::fs::remove_dir(&self.0);
        }
    }
}
