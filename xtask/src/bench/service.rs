//! What one engine costs that stays: while nobody watches, and whoever asks it for something.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    process::Stdio,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::{
    engine::Engine,
    load::{Ended, sleepers},
    median,
    report::Table,
    userspace::needs,
};

const PROCESSES: usize = 1_000;

/// How long a reply may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Between two turns, so that they come at all moments between two samples.
const PAUSE: Duration = Duration::from_millis(53);

pub fn of_one_engine(quick: bool) -> anyhow::Result<Table> {
    let (seconds, starts, calls, limits) = if quick {
        (8, 5, 10, 3)
    } else {
        (30, 20, 50, 10)
    };
    let mut table = Table::new(
        &format!(
            "An engine that stays, beside {PROCESSES} processes without sockets (what it needs \
             with a screen is below, in 'screen')"
        ),
        &["what", "measured", "aim"],
    );
    let mut row = |what: String, measured: String, aim: &str| {
        table.row([what, measured, aim.to_owned()]);
    };
    let ms = |values| format!("{:.1} ms", median(values));

    let processes = sleepers(PROCESSES)?;
    let limited = processes.first().context("no process")?.0.id();
    let engine = Engine::serving()?;
    let (cpu, memory) = needs(&[engine.pid()], seconds)?;
    row(
        format!("of one core over {seconds} s in which nobody watches"),
        format!("{:.2} %", cpu * 100.0),
        "0.2 %",
    );
    row(
        "resident then".into(),
        format!("{:.0} MB", memory / 1e6),
        "-",
    );

    for (arguments, aim) in [
        (&["limits", "--json"][..], "30 ms"),
        (&["list", "--json", "--count", "1"], "-"),
    ] {
        let times = times(starts, || first_byte(&engine, arguments))?;
        row(
            format!(
                "start to first byte of '{}', median of {starts}",
                arguments.join(" ")
            ),
            ms(times),
            aim,
        );
    }

    let mut client = Client::connect(&engine)?;
    let call = json!({
        "targets": {
            "processes": [{ "pid": limited, "start_ticks": start_ticks(limited)? }],
            "selectors": [],
            "children": false,
        },
        "limit": { "down": 1_000_000 },
    });
    let times_of_calls = times(calls, || {
        let began = Instant::now();
        let reply = client.call("SetLimit", &call)?;
        let took = began.elapsed();
        client.call("RemoveLimit", &json!({ "id": reply["id"] }))?;
        Ok(took)
    })?;
    drop(client);
    row(
        format!("SetLimit to its reply on the socket, median of {calls}"),
        ms(times_of_calls),
        "5 ms",
    );

    let limit = |engine: Option<&Engine>| {
        times(limits, || {
            let began = Instant::now();
            let _limit = Engine::limiting_by(engine, limited)?;
            Ok(began.elapsed())
        })
    };
    row(
        format!("start of 'limit PID --down 1MB' until it holds, median of {limits}"),
        ms(limit(Some(&engine))?),
        "-",
    );
    // Or it would take its part of the processor meanwhile.
    drop(engine);
    row(
        "the same where it has to start an engine".into(),
        ms(limit(None)?),
        "-",
    );

    let engine = Engine::with_rules(&rules())?;
    let (cpu, _) = needs(&[engine.pid()], seconds)?;
    row(
        format!("of one core over {seconds} s with {RULES} rules that are on"),
        format!("{:.2} %", cpu * 100.0),
        "0.5 %",
    );
    let mut client = Client::connect(&engine)?;
    let reload = |client: &mut Client| {
        let began = Instant::now();
        let reply = client.call("ReloadRules", &json!({}))?;
        if reply["problems"] != json!([]) {
            bail!("the rules of the benchmark: {reply}");
        }
        Ok(began.elapsed())
    };
    let times_of_reloads = times(limits, || reload(&mut client))?;
    row(
        format!("{RULES} rules read anew, median of {limits}"),
        ms(times_of_reloads),
        "-",
    );
    let mut turn = 0;
    let times_of_changes = times(limits, || {
        // What is told of the first rule changes, so that all processes are asked again.
        turn += 1;
        let change = json!({ "edit": { "change": {
            "name": "rule 0", "down": format!("{turn}MB/s"), "up": null, "block": null, "scope": null,
        } } });
        let began = Instant::now();
        client.call("EditRules", &change)?;
        Ok(began.elapsed())
    })?;
    let each = median(times_of_changes) / PROCESSES as f64;
    row(
        format!(
            "a rule changed, for each of the processes that are matched again, median of {limits}"
        ),
        format!("{each:.3} ms"),
        "1 ms",
    );
    Ok(table)
}

const RULES: usize = 1_000;

/// Rules of every kind, none of which is for anybody.
fn rules() -> String {
    let rule = |n: usize| {
        let target = match n % 5 {
            0 => format!("name:program-{n}*"),
            1 => format!("exe:/opt/*/program-{n}"),
            2 => format!("command:*--option={n}*"),
            3 => format!("unit:program-{n}-*.service"),
            _ => format!("user:{n}+!name:other+parent:name:shell-{n}"),
        };
        format!("[[rule]]\nname = 'rule {n}'\nmatch = '{target}'\ndown = '1MB'\n")
    };
    (0..RULES).map(rule).collect()
}

/// Milliseconds of each of so many turns.
fn times(
    turns: usize,
    mut turn: impl FnMut() -> anyhow::Result<Duration>,
) -> anyhow::Result<Vec<f64>> {
    (0..turns)
        .map(|_| {
            sleep(PAUSE);
            Ok(turn()?.as_secs_f64() * 1e3)
        })
        .collect()
}

/// How long a command takes that finds an engine, from its start until it prints.
fn first_byte(engine: &Engine, arguments: &[&str]) -> anyhow::Result<Duration> {
    let mut command = engine.command(arguments);
    let began = Instant::now();
    let mut child = Ended(command.stdout(Stdio::piped()).spawn()?);
    let mut output = child.0.stdout.take().context("its output")?;
    let printed = output.read(&mut [0])?;
    let took = began.elapsed();
    // The rest, or it could not end by itself.
    std::io::copy(&mut output, &mut std::io::sink())?;
    let status = child.0.wait()?;
    if printed == 0 || !status.success() {
        bail!("chadthrottle {}: {status}", arguments.join(" "));
    }
    Ok(took)
}

/// When a process started, which with its id is its name on the socket: field 22.
fn start_ticks(pid: u32) -> anyhow::Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name before it may have blanks and brackets in it.
    let rest = stat.rsplit_once(") ").context("no name in stat")?.1;
    let ticks = rest.split(' ').nth(19).context("no start in stat")?;
    Ok(ticks.parse()?)
}

/// A connection to an engine, for the calls by themselves: a command does more than its call.
struct Client {
    stream: BufReader<UnixStream>,
}

impl Client {
    fn connect(engine: &Engine) -> anyhow::Result<Self> {
        let stream = UnixStream::connect(engine.socket()).context("the engine's socket")?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let stream = BufReader::new(stream);
        Ok(Self { stream })
    }

    /// Calls a method and gives the reply's parameters.
    fn call(&mut self, method: &str, parameters: &Value) -> anyhow::Result<Value> {
        let name = format!("io.chadthrottle.Engine.{method}");
        let call = json!({ "method": name, "parameters": parameters });
        let call = format!("{call}\0");
        self.stream.get_mut().write_all(call.as_bytes())?;
        let mut reply = Vec::new();
        self.stream.read_until(0, &mut reply)?;
        let Some((0, words)) = reply.split_last() else {
            bail!("{method}: the engine has closed the connection");
        };
        let mut reply: Value = serde_json::from_slice(words)?;
        if let Some(error) = reply.get("error") {
            bail!("{method}: {error}: {}", reply["parameters"]);
        }
        Ok(reply["parameters"].take())
    }
}
