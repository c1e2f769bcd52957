//! The engine's socket as a client of others speaks to it: systemd's varlinkctl, with its own idea of what Varlink and
//! a description are.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Command, Stdio},
    sync::mpsc,
};

use chadthrottle::protocol::{DESCRIPTION, INTERFACE};
use serde_json::Value;
use zlink_idl::{Field, Interface};

use crate::{
    audit::assert_nothing_left,
    engine::{SOON, end, engine},
    program::{Chadthrottle, Running},
};

/// An engine, and the client that speaks to it.
struct Served {
    varlinkctl: PathBuf,
    program: Chadthrottle,
    engine: Running,
}

impl Served {
    #[track_caller]
    fn start() -> Self {
        let varlinkctl =
            std::env::var_os("CHADTHROTTLE_VARLINKCTL").map_or_else(on_path, PathBuf::from);
        let program = Chadthrottle::new();
        let engine = engine(&program, "");
        Self {
            varlinkctl,
            program,
            engine,
        }
    }

    /// `varlinkctl OPTIONS VERB SOCKET ARGUMENTS`
    fn command(&self, options: &[&str], verb: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.varlinkctl);
        command.args(options).arg(verb);
        command.arg(self.program.state().join("control.sock"));
        command.args(arguments);
        command
    }

    /// What it prints. It waits for a reply for less than a minute.
    #[track_caller]
    fn says(&self, verb: &str, arguments: &[&str]) -> String {
        let output = self.command(&[], verb, arguments).output();
        let output = output.expect("starting varlinkctl");
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(
            output.status.success(),
            "varlinkctl {verb}: {}",
            said(&output.stderr)
        );
        said(&output.stdout)
    }

    #[track_caller]
    fn end(self) {
        end(self.engine);
        assert_nothing_left();
    }
}

/// The system's own.
#[track_caller]
fn on_path() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .map(|directory| directory.join("varlinkctl"))
        .find(|candidate| candidate.is_file());
    found.expect(
        "there is no varlinkctl, which systemd has since 255: set CHADTHROTTLE_VARLINKCTL to what \
         `cargo xtask varlinkctl` prints, which fetches one",
    )
}

/// A line for each type, method and error. Comments are left out, as older varlinkctl leave them out.
fn lines(interface: &Interface<'_>) -> BTreeSet<String> {
    fn fields<'a>(fields: impl Iterator<Item = &'a Field<'a>>) -> String {
        let fields = fields.map(|field| format!("{}: {}", field.name(), field.ty()));
        fields.collect::<Vec<_>>().join(", ")
    }
    let types = interface.custom_types().map(|custom| {
        custom.as_object().map_or_else(
            || custom.to_string(),
            |object| format!("type {} ({})", custom.name(), fields(object.fields())),
        )
    });
    let methods = interface.methods().map(|method| {
        let (inputs, outputs) = (fields(method.inputs()), fields(method.outputs()));
        format!("method {}({inputs}) -> ({outputs})", method.name())
    });
    let errors = interface
        .errors()
        .map(|error| format!("error {} ({})", error.name(), fields(error.fields())));
    let mut lines: BTreeSet<_> = types.chain(methods).chain(errors).collect();
    lines.insert(format!("interface {}", interface.name()));
    lines
}

#[test]
fn varlinkctl_reads_the_description_as_it_is_written() {
    let served = Served::start();
    let shown = served.says("introspect", &[INTERFACE]);
    let shown =
        Interface::try_from(shown.as_str()).unwrap_or_else(|error| panic!("{error}: {shown}"));
    let (shown, written) = (
        lines(&shown),
        lines(&Interface::try_from(DESCRIPTION).expect("the description")),
    );
    let only = |these: &BTreeSet<String>, those| {
        let only: Vec<_> = these.difference(those).cloned().collect();
        only.join("\n")
    };
    assert!(
        shown == written,
        "varlinkctl shows\n{}\nwhere the description has\n{}",
        only(&shown, &written),
        only(&written, &shown)
    );
    served.end();
}

#[test]
fn varlinkctl_finds_the_interface_and_calls_it() {
    let served = Served::start();
    let info = served.says("info", &[]);
    assert!(
        info.split_whitespace().any(|word| word == INTERFACE),
        "{info}"
    );
    let info = served.says("call", &[&format!("{INTERFACE}.GetInfo"), "{}"]);
    let info: Value = serde_json::from_str(&info).expect("JSON");
    assert_eq!(info["pid"], served.engine.pid(), "{info}");
    served.end();
}

#[test]
fn varlinkctl_watches() {
    let served = Served::start();
    let watch = format!("{INTERFACE}.Watch");
    let mut command = served.command(&["--more", "--json=short"], "call", &[&watch, "{}"]);
    let mut watching = Running(
        command
            .stdout(Stdio::piped())
            .spawn()
            .expect("starting varlinkctl"),
    );
    let output = watching.0.stdout.take().expect("its output");
    let (sender, receiver) = mpsc::channel();
    // It ends with the program that it reads from.
    std::thread::spawn(move || {
        let mut line = String::new();
        let read = BufReader::new(output).read_line(&mut line);
        let _ = sender.send(read.map(|_| line));
    });
    let line = receiver.recv_timeout(SOON).expect("a sample in time");
    let line = line.expect("its output");
    // Before each there is a record separator (RFC 7464).
    let sample: Value = serde_json::from_str(line.trim_start_matches('\u{1e}')).expect("JSON");
    let sample = &sample["sample"];
    assert!(sample["sequence"].as_u64() >= Some(1), "{sample}");
    let processes = sample["processes"].as_array().expect("a list");
    assert!(!processes.is_empty());
    drop(watching);
    served.end();
}
