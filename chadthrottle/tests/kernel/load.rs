//! The load generator, `examples/load`, as a process of a test.

use std::process::{Command, Stdio};

use crate::{
    lab::Lab,
    program::{Chadthrottle, Running, example},
};

/// A part of it in a namespace, not yet started, whose words the test may read.
pub fn command(namespace: &str, arguments: &str) -> Command {
    let program = example("load").display().to_string();
    let mut command = Lab::command(namespace, &program);
    command.args(arguments.split(' ')).stdin(Stdio::piped());
    command
}

/// The same as a program under `run`, with these options.
pub fn limited(program: &Chadthrottle, options: &str, namespace: &str, arguments: &str) -> Command {
    let inner = command(namespace, arguments);
    let mut command = program.command(&format!("run --root {options} --"));
    command.arg(inner.get_program()).args(inner.get_args());
    command.stdin(Stdio::piped());
    command
}

/// A part that ends with its input, once it is ready.
#[track_caller]
pub fn start(namespace: &str, arguments: &str) -> Running {
    Running::ready(&mut command(namespace, arguments))
}

/// The far side of what is sent, in the laboratory's server.
#[track_caller]
pub fn peer(lab: &Lab) -> Running {
    start(&lab.server, "peer")
}

/// How many bytes the laboratory's client has sent, by its interface.
pub fn sent(lab: &Lab) -> f64 {
    let output = Lab::command(&lab.client, "cat")
        .arg("/sys/class/net/v0/statistics/tx_bytes")
        .output();
    let text = String::from_utf8(output.expect("cat").stdout).expect("a number");
    text.trim().parse().expect("a number")
}
