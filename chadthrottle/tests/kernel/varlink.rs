//! The engine's socket as a client of others speaks to it: systemd's varlinkctl, with its own idea of what Varlink and
//! a description are.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc,
    time::Instant,
};

use chadthrottle::{
    process::key_of,
    protocol::{DESCRIPTION, INTERFACE},
};
use serde_json::{Value, json};
use zlink_idl::{Field, Interface};

use crate::{
    audit::assert_nothing_left,
    described::Described,
    engine::{SOON, end, engine},
    program::{Chadthrottle, Running},
};

/// An engine, and the client that speaks to it.
struct Served {
    varlinkctl: PathBuf,
    // It ends before its state directory.
    engine: Running,
    program: Chadthrottle,
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
            engine,
            program,
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

    /// What a command prints on standard output, and on standard error where it fails. varlinkctl waits for a reply for
    /// less than a minute.
    #[track_caller]
    fn says(mut command: Command) -> Result<String, [String; 2]> {
        let output = command.output().expect("starting varlinkctl");
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let printed = said(&output.stdout);
        if output.status.success() {
            Ok(printed)
        } else {
            Err([printed, said(&output.stderr)])
        }
    }

    /// The description, as it shows it.
    #[track_caller]
    fn description(&self) -> String {
        let shown = Self::says(self.command(&[], "introspect", &[INTERFACE]));
        shown.expect("a description")
    }

    /// Calls a method: the reply, or the error's parameters and what it says of it.
    #[track_caller]
    fn call(&self, method: &str, parameters: &Value) -> Result<Value, (Value, String)> {
        let parse = |text: &str, words: &str| {
            serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}{words}"))
        };
        let arguments = [&format!("{INTERFACE}.{method}"), &parameters.to_string()];
        let arguments = arguments.map(String::as_str);
        match Self::says(self.command(&["--json=short"], "call", &arguments)) {
            Ok(reply) => Ok(parse(&reply, "")),
            Err([parameters, words]) => Err((parse(&parameters, &words), words)),
        }
    }

    /// Calls `Watch`, and gives the first sample that is as wanted.
    #[track_caller]
    fn watch(&self, mut is_wanted: impl FnMut(&Value) -> bool) -> Value {
        let watch = format!("{INTERFACE}.Watch");
        let mut command = self.command(&["--more", "--json=short"], "call", &[&watch, "{}"]);
        let watching = command.stdout(Stdio::piped()).spawn();
        let mut watching = Running(watching.expect("starting varlinkctl"));
        let output = BufReader::new(watching.0.stdout.take().expect("its output"));
        let (sender, receiver) = mpsc::channel();
        // It ends with the program that it reads from.
        std::thread::spawn(move || {
            for line in output.lines() {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let deadline = Instant::now() + SOON;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = receiver.recv_timeout(left).expect("such a sample in time");
            let line = line.expect("its output");
            // Before each there is a record separator (RFC 7464).
            let line = line.trim_start_matches('\u{1e}');
            let sample = serde_json::from_str(line).expect("JSON");
            if is_wanted(&sample) {
                return sample;
            }
        }
    }

    /// Runs a line of a document behind `varlinkctl`, which names the socket of a service.
    #[track_caller]
    fn runs(&self, line: &str) {
        const SOCKET: &str = "/run/chadthrottle/control.sock";
        let ours = self.program.state().join("control.sock");
        let words = line.split_whitespace().map(|word| match word {
            SOCKET => ours.display().to_string(),
            word => word.trim_matches('\'').to_owned(),
        });
        let mut command = Command::new(&self.varlinkctl);
        let mut running = command.args(words).stdout(Stdio::piped()).spawn();
        let output = running.as_mut().expect("starting varlinkctl").stdout.take();
        let mut running = Running(running.expect("it"));
        let mut lines = BufReader::new(output.expect("its output")).lines();
        assert!(
            lines.next().is_some_and(|line| line.is_ok()),
            "{line} says nothing"
        );
        // What watches goes on.
        if !line.contains("--more") {
            lines.for_each(drop);
            assert!(running.wait(SOON).success(), "{line}");
        }
    }

    #[track_caller]
    fn end(self) {
        end(self.engine);
        assert_nothing_left();
    }
}

/// The commands of the document do what they should.
#[test]
fn the_commands_of_the_document_are_answered() {
    let served = Served::start();
    let document = include_str!("../../../docs/protocol.md");
    let lines = document.lines();
    let mut tried = 0;
    for line in lines.filter_map(|line| line.strip_prefix("sudo varlinkctl ")) {
        served.runs(line);
        tried += 1;
    }
    assert!(tried >= 3, "only {tried} commands were found");
    served.end();
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
    let shown = served.description();
    let [shown, written] = [&shown, DESCRIPTION].map(|text| {
        let interface = Interface::try_from(text);
        lines(&interface.unwrap_or_else(|error| panic!("{error}: {text}")))
    });
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
fn varlinkctl_finds_the_interface_and_the_engine_behind_it() {
    let served = Served::start();
    let service = Served::says(served.command(&[], "info", &[])).expect("its words");
    let mut words = service.split_whitespace();
    assert!(words.any(|word| word == INTERFACE), "{service}");
    let info = served.call("GetInfo", &json!({})).expect("a reply");
    assert_eq!(info["pid"], served.engine.pid(), "{info}");
    served.end();
}

#[test]
fn what_varlinkctl_is_answered_is_what_it_has_been_told() {
    let served = Served::start();
    let description = served.description();
    let interface = Interface::try_from(description.as_str()).expect("the description");
    // There may be nothing to warn of.
    let described = Described::by(&interface, false);
    let call = |method, parameters: &Value| {
        described.check_call(method, parameters);
        let reply = served.call(method, parameters).expect(method);
        described.check_reply(method, &reply);
        reply
    };
    call("GetInfo", &json!({}));
    let limit = json!({
        "targets": { "processes": [], "selectors": ["name:ct-nobody"], "children": true },
        "limit": { "down": 1_000_000, "scope": "internet" },
        "for_ns": 60_000_000_000_u64,
        "detach": true,
    });
    let examined = call("Doctor", &json!({}));
    assert_eq!(examined["exit_code"], 0, "{examined}");
    assert!(examined["report"]["kernel"].is_string(), "{examined}");
    // Two connections of this very process.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let address = listener.local_addr().expect("its address");
    let _client = TcpStream::connect(address).expect("a connection");
    let us = key_of(Path::new("/proc"), std::process::id()).expect("us");
    let us = json!({ "processes": [{ "pid": us.pid, "start_ticks": us.start_ticks }] });
    let seen = call("GetConnections", &us);
    let connections = seen["connections"].as_array().expect("a list");
    let listens = |it: &&Value| it["local"] == address.to_string() && it["remote"].is_null();
    let listening = connections.iter().find(listens).expect("the listener");
    assert_eq!(listening["state"], "listening");
    let connects = |it: &&Value| it["remote"] == address.to_string();
    assert!(connections.iter().any(|it| connects(&it)), "{seen}");
    let limit = json!({ "id": call("SetLimit", &limit)["id"] });
    let sample = served.watch(|reply| reply["sample"]["limits"][0]["id"] == limit["id"]);
    described.check_reply("Watch", &sample);
    // Its list is empty before the first second has passed.
    call("GetHistory", &json!({}));
    call("GetCarried", &limit);
    call("GetUnmatched", &limit);
    call("RemoveLimit", &limit);
    let (parameters, words) = served.call("RemoveLimit", &limit).expect_err("it is gone");
    assert!(words.contains(&format!("{INTERFACE}.NoLimit")), "{words}");
    described.check_error("NoLimit", &parameters);
    served.end();
}
