//! The journal of legacy attachments: the intent is on disk before the attach call, so there is
//! no instant at which an attachment exists and no record of it does.
//!
//! One JSON object a line, only ever appended to; emptied when nothing is attached any more. The
//! reader takes what it understands: a cut last line, garbage, and lines of other versions are
//! passed over.

use std::{
    io::{self, Read},
    path::PathBuf,
};

use serde::{Deserialize, Serialize};

use super::{lines::Lines, state_dir::StateDir};

/// Its name in the state directory.
const NAME: &str = "attachments.jsonl";

/// Version of the lines that this program writes and understands.
const VERSION: u32 = 1;

/// Most bytes read: many times what a machine full of attachments needs.
const MAX_BYTES: u64 = 1 << 20;

/// One legacy attachment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Path of the cgroup.
    pub cgroup: PathBuf,
    /// Its id; another cgroup may have the path by now.
    pub cgroup_id: u64,
    /// Where in the cgroup, by bpftool's name.
    pub attach_type: String,
    /// The program's id; another program may have it by now.
    pub program_id: u32,
    /// The program's tag, in hex.
    pub program_tag: String,
    /// The engine's process id …
    pub engine_pid: u32,
    /// … and start time, in ticks since boot.
    pub engine_start: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Line {
    version: u32,
    event: Event,
    #[serde(flatten)]
    record: Record,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Event {
    /// Is about to be attached.
    Attach,
    /// Is not attached any more.
    Gone,
}

/// Why the journal could not be used.
#[derive(Debug, thiserror::Error)]
#[error(
    "the journal {path} could not be {action}: {source}. Without it an attachment could be left \
     behind, so nothing was attached; choose another place with --state-dir"
)]
pub struct JournalError {
    path: PathBuf,
    action: &'static str,
    source: io::Error,
}

/// The journal of one state directory.
#[derive(Debug)]
pub struct Journal {
    directory: StateDir,
    lines: Lines,
}

impl Journal {
    /// Opens the journal in that directory for writing.
    ///
    /// # Errors
    /// Where it cannot be written, by trying: a full or read-only disk shows only then.
    pub fn open(directory: &StateDir) -> Result<Self, JournalError> {
        let open = || {
            let lines = Lines::open(directory, NAME, false)?;
            lines.sync()?;
            Ok(lines)
        };
        match open() {
            Ok(lines) => Ok(Self {
                directory: directory.clone(),
                lines,
            }),
            Err(source) => Err(failed(directory, "written", source)),
        }
    }

    /// Notes that a program is about to be attached. On disk when it returns.
    ///
    /// # Errors
    /// Where it cannot be; nothing must be attached then.
    pub fn attaching(&mut self, record: &Record) -> Result<(), JournalError> {
        self.append(Event::Attach, record)
    }

    /// Notes that the program is not attached any more, or never was.
    ///
    /// # Errors
    /// Where it cannot be; recovery will find nothing to do then.
    pub fn gone(&mut self, record: &Record) -> Result<(), JournalError> {
        self.append(Event::Gone, record)
    }

    /// Whether somebody has removed it while we write.
    pub fn is_removed(&self) -> bool {
        self.lines.is_removed()
    }

    /// Removes it, since nothing is attached.
    pub fn remove(&self) {
        // If it stays, the next start reads it and finds nothing to do.
        if let Err(error) = self.directory.remove(NAME) {
            log::warn!("{}: {error}", self.directory.path().join(NAME).display());
        }
    }

    fn append(&mut self, event: Event, record: &Record) -> Result<(), JournalError> {
        let line = Line {
            version: VERSION,
            event,
            record: record.clone(),
        };
        self.lines
            .append(&line)
            .and_then(|()| self.lines.sync())
            .map_err(|source| failed(&self.directory, "written", source))
    }
}

fn failed(directory: &StateDir, action: &'static str, source: io::Error) -> JournalError {
    JournalError {
        path: directory.path().join(NAME),
        action,
        source,
    }
}

/// The attachments that the journal in that directory has no end of, oldest first.
///
/// # Errors
/// Where there is a journal and it cannot be read at all.
pub fn unfinished(directory: &StateDir) -> Result<Vec<Record>, JournalError> {
    let mut bytes = Vec::new();
    let read = directory.read(NAME).and_then(|file| match file {
        Some(file) => file.take(MAX_BYTES).read_to_end(&mut bytes),
        None => Ok(0),
    });
    read.map_err(|source| failed(directory, "read", source))?;
    let path = directory.path().join(NAME);
    let mut open: Vec<Record> = Vec::new();
    for line in bytes
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
    {
        match serde_json::from_slice::<Line>(line) {
            Ok(Line {
                version: VERSION,
                event: Event::Attach,
                record,
            }) => open.push(record),
            Ok(Line {
                version: VERSION,
                event: Event::Gone,
                record,
            }) => {
                open.retain(|other| *other != record);
            }
            Ok(_) => log::warn!("{}: a line of another version", path.display()),
            Err(error) => log::warn!("{}: an unreadable line: {error}", path.display()),
        }
    }
    Ok(open)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// A directory, and its journal's path.
    fn place() -> (tempfile::TempDir, StateDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDir::make(directory.path()).unwrap();
        let path = directory.path().join(NAME);
        (directory, state, path)
    }

    fn record(program_id: u32) -> Record {
        Record {
            cgroup: "/sys/fs/cgroup".into(),
            cgroup_id: 1,
            attach_type: "cgroup_inet_ingress".into(),
            program_id,
            program_tag: "9bc1f6acb4c84807".into(),
            engine_pid: 7,
            engine_start: 100,
        }
    }

    #[test]
    fn what_was_attached_and_not_ended_is_unfinished() {
        let (_directory, state, _) = place();
        assert_eq!(unfinished(&state).unwrap(), []);
        let mut journal = Journal::open(&state).unwrap();
        journal.attaching(&record(1)).unwrap();
        journal.attaching(&record(2)).unwrap();
        journal.gone(&record(1)).unwrap();
        assert_eq!(unfinished(&state).unwrap(), [record(2)]);
        journal.remove();
        assert_eq!(unfinished(&state).unwrap(), []);
    }

    #[test]
    fn every_truncation_and_garbage_around_it_leave_the_whole_lines_readable() {
        let (_directory, state, path) = place();
        let mut journal = Journal::open(&state).unwrap();
        journal.attaching(&record(1)).unwrap();
        let one = fs::read(&path).unwrap();
        journal.attaching(&record(2)).unwrap();
        let both = fs::read(&path).unwrap();
        for len in one.len()..both.len() - 1 {
            fs::write(&path, &both[..len]).unwrap();
            assert_eq!(unfinished(&state).unwrap(), [record(1)], "{len}");
            // And what is appended behind a half line is a line of its own.
            let mut next = Journal::open(&state).unwrap();
            next.attaching(&record(9)).unwrap();
            assert_eq!(unfinished(&state).unwrap(), [record(1), record(9)], "{len}");
        }
        let newer = br#"{"version":2,"event":"attach","cgroup":"/","cgroup_id":1,"what":[]}"#;
        let noise = [
            &b"\xff\xfe\0 garbage\n{}\n[1,2\n"[..],
            newer,
            b"\n\n",
            &both,
        ]
        .concat();
        fs::write(&path, noise).unwrap();
        assert_eq!(unfinished(&state).unwrap(), [record(1), record(2)]);
    }

    #[test]
    fn a_journal_that_cannot_be_written_is_an_error_at_once() {
        let (_directory, state, path) = place();
        fs::create_dir(&path).unwrap();
        let error = Journal::open(&state).unwrap_err().to_string();
        assert!(error.contains("nothing was attached"), "{error}");
        fs::remove_dir(&path).unwrap();
        // A link, to the device that is always full or to anything else, is not followed.
        std::os::unix::fs::symlink("/dev/null", &path).unwrap();
        assert!(Journal::open(&state).is_err() && unfinished(&state).is_err());
    }
}
