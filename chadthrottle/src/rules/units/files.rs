//! The files that describe a unit: its own, its template's and its drop-ins.

use std::{
    collections::{BTreeMap, HashSet},
    ffi::{OsStr, OsString},
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

use crate::rules::Places;

/// Where the files of units are: those of an earlier directory take the place of those of later ones.
const DIRECTORIES: [&str; 4] = [
    "etc/systemd/system",
    "run/systemd/system",
    "usr/local/lib/systemd/system",
    "usr/lib/systemd/system",
];

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

/// What the directories have, listed once for all units: most of the names that a file of a unit may have are nobody's.
pub(super) struct Listing<'a> {
    root: &'a Path,
    names: [HashSet<OsString>; DIRECTORIES.len()],
}

impl<'a> Listing<'a> {
    pub(super) fn of(places: &'a Places) -> Self {
        let names = DIRECTORIES.map(|directory| {
            let entries = fs::read_dir(places.root().join(directory));
            let entries = entries.into_iter().flatten().flatten();
            entries.map(|entry| entry.file_name()).collect()
        });
        let root = places.root();
        Self { root, names }
    }

    /// When the files and directories of a unit were changed last: of each that there may be.
    pub(super) fn stamps(&self, unit: &str) -> Vec<Option<SystemTime>> {
        let mut stamps = Vec::new();
        let changed = |path: &Path| {
            let metadata = fs::metadata(path);
            metadata.and_then(|metadata| metadata.modified()).ok()
        };
        let of_kind = unit.rsplit_once('.').map(|(_, kind)| kind.to_owned());
        for name in drop_in_names(unit).into_iter().chain(of_kind) {
            let drop_ins = format!("{name}.d");
            for (directory, names) in DIRECTORIES.iter().zip(&self.names) {
                let path = |name: &str| self.root.join(directory).join(name);
                let is_there = |name: &str| names.contains(OsStr::new(name));
                if is_there(&drop_ins) {
                    let drop_ins = path(&drop_ins);
                    let entries = fs::read_dir(&drop_ins).into_iter().flatten().flatten();
                    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
                    paths.sort();
                    stamps.extend(paths.iter().map(|path| changed(path)));
                    stamps.push(changed(&drop_ins));
                }
                // Also where there is none: one more is another line of stamps.
                let file = is_there(&name).then(|| path(&name));
                stamps.push(file.and_then(|file| changed(&file)));
            }
        }
        stamps
    }
}

/// The files of a unit that count, in the order in which they are read.
pub(super) fn files(places: &Places, unit: &str) -> Vec<PathBuf> {
    let at = |name: &str| {
        let mut paths = DIRECTORIES
            .iter()
            .map(|directory| places.root().join(directory).join(name));
        paths.find(|path| path.exists())
    };
    let names = names(unit);
    let mut files: Vec<PathBuf> = names.iter().find_map(|name| at(name)).into_iter().collect();
    let mut drop_ins: BTreeMap<OsString, PathBuf> = BTreeMap::new();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drop_ins_are_for_a_unit_its_template_and_each_beginning_of_its_name() {
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
    }
}
