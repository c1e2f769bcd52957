//! What makes several processes one row.

use std::{collections::HashMap, sync::Arc};

use crate::{
    model::ProcessSample,
    process::{Condition, Selector, unit_path},
};

/// Processes that have something in common.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Group {
    /// The path of the executable.
    Exe(Arc<str>),
    /// The name, where the executable cannot be read.
    Name(Arc<str>),
    /// The effective user's id.
    User(u32),
    /// The cgroup v2 path of a unit of systemd or a container; `None`: in neither.
    Unit(Option<Arc<str>>),
}

impl Group {
    /// The program of a process.
    pub fn program_of(process: &ProcessSample) -> Self {
        if process.exe.is_empty() {
            Self::Name(Arc::clone(&process.name))
        } else {
            Self::Exe(Arc::clone(&process.exe))
        }
    }

    /// The user of a process.
    pub fn user_of(process: &ProcessSample) -> Self {
        Self::User(process.uid)
    }

    /// Whether the process is of it.
    pub fn has(&self, process: &ProcessSample) -> bool {
        match self {
            Self::Exe(path) => !path.is_empty() && *path == process.exe,
            Self::Name(name) => process.exe.is_empty() && *name == process.name,
            Self::User(uid) => *uid == process.uid,
            // Most are of another one, which is told at once.
            Self::Unit(Some(path)) => {
                process.cgroup.starts_with(&**path) && unit_path(&process.cgroup) == Some(path)
            }
            Self::Unit(None) => unit_path(&process.cgroup).is_none(),
        }
    }

    /// The selector for all of it, now and later; `None` where there is none that means them and nobody else.
    pub fn selector(&self) -> Option<Selector> {
        match self {
            Self::Exe(path) => Some(Selector::of_exe(path)),
            Self::Name(name) => Some(Selector::of_name(name)),
            Self::User(uid) => format!("user:{uid}").parse().ok(),
            // What stands behind a plus would be read as a condition of its own.
            Self::Unit(Some(path)) if !path.contains('+') => {
                Some(Selector::of(Condition::Cgroup(path.to_string())))
            }
            Self::Unit(_) => None,
        }
    }
}

/// Units of processes, each cgroup looked at once.
#[derive(Debug, Default)]
pub struct Units(HashMap<Arc<str>, Option<Arc<str>>>);

impl Units {
    /// The unit or container of a process.
    pub fn of(&mut self, process: &ProcessSample) -> Group {
        if let Some(unit) = self.0.get(&process.cgroup) {
            return Group::Unit(unit.clone());
        }
        let unit: Option<Arc<str>> = unit_path(&process.cgroup).map(Into::into);
        self.0.insert(Arc::clone(&process.cgroup), unit.clone());
        Group::Unit(unit)
    }
}
