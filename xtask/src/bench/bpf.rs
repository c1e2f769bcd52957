//! The kernel's own account of what BPF programs cost, by bpftool.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, bail};
use object::{
    Architecture, BinaryFormat, Endianness, SectionKind, SymbolFlags, SymbolKind, SymbolScope,
    write::{Object, Symbol, SymbolSection},
};
use serde_json::Value;
use tempfile::TempDir;

use crate::shell::run;

/// Counts runs and their time while it lives.
pub struct Statistics {
    before: String,
}

const SWITCH: &str = "/proc/sys/kernel/bpf_stats_enabled";

impl Statistics {
    pub fn enable() -> anyhow::Result<Self> {
        let before = fs::read_to_string(SWITCH).context(SWITCH)?;
        fs::write(SWITCH, "1").context(SWITCH)?;
        Ok(Self { before })
    }
}

impl Drop for Statistics {
    fn drop(&mut self) {
        // Statistics that stay on cost a little and break nothing.
        let _ = fs::write(SWITCH, self.before.trim());
    }
}

/// How often a program has run, and for how long, in nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Runs {
    pub count: u64,
    pub time_ns: u64,
}

impl Runs {
    /// Nanoseconds a run since `earlier`.
    pub fn ns_since(self, earlier: Self) -> f64 {
        (self.time_ns - earlier.time_ns) as f64 / (self.count - earlier.count) as f64
    }
}

pub fn bpftool(arguments: &[&str]) -> anyhow::Result<Value> {
    let output = Command::new("bpftool")
        .arg("-j")
        .args(arguments)
        .output()
        .context("bpftool")?;
    if !output.status.success() {
        bail!(
            "bpftool {}: {}{}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    if output.stdout.trim_ascii().is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(&output.stdout).context("bpftool's JSON")
}

/// The loaded program of that name.
pub fn program(name: &str) -> anyhow::Result<(u64, Runs)> {
    let programs = bpftool(&["prog", "list"])?;
    let found = programs
        .as_array()
        .into_iter()
        .flatten()
        .find(|program| program["name"] == name)
        .with_context(|| format!("no program {name} is loaded"))?;
    let number = |key: &str| found[key].as_u64().unwrap_or(0);
    let runs = Runs {
        count: number("run_cnt"),
        time_ns: number("run_time_ns"),
    };
    Ok((number("id"), runs))
}

/// What the programs note for sockets of that process: slot and generation.
pub fn owner(pid: u32) -> anyhow::Result<[u8; 8]> {
    let bytes = look_up("chad_processes", pid)?;
    bytes.try_into().ok().context("an owner of 8 bytes")
}

/// The value of a map's key, byte by byte.
pub fn look_up(map: &str, key: u32) -> anyhow::Result<Vec<u8>> {
    let key = key.to_ne_bytes().map(|byte| byte.to_string());
    let mut arguments = vec!["map", "lookup", "name", map, "key"];
    arguments.extend(key.iter().map(String::as_str));
    let found = bpftool(&arguments)?;
    let bytes = found["value"].as_array().into_iter().flatten().map(|byte| {
        let digits = byte.as_str()?.strip_prefix("0x")?;
        u8::from_str_radix(digits, 16).ok()
    });
    let bytes: Option<Vec<u8>> = bytes.collect();
    bytes
        .filter(|bytes| !bytes.is_empty())
        .with_context(|| format!("{map} gives {found}"))
}

/// Nanoseconds a run of the program on that packet by `BPF_PROG_TEST_RUN`.
pub fn test_run(id: u64, packet: &[u8], repeat: u32) -> anyhow::Result<f64> {
    let directory = tempfile::tempdir()?;
    let input = directory.path().join("packet");
    fs::write(&input, packet)?;
    let result = bpftool(&[
        "prog",
        "run",
        "id",
        &id.to_string(),
        "data_in",
        &input.display().to_string(),
        "repeat",
        &repeat.to_string(),
    ])?;
    result["duration"]
        .as_f64()
        .with_context(|| format!("no duration in {result}"))
}

/// A program of two instructions, `r0 = 1; exit`, attached to the root cgroup in both directions:
/// what a run costs before it does anything, and what the clock adds.
pub struct Empty {
    /// A BPF file system of our own, whose pins keep the programs.
    pins: TempDir,
    cgroup: String,
}

/// Its name at each hook.
pub const EMPTY: [(&str, &str); 2] = [("empty_in", "ingress"), ("empty_eg", "egress")];

impl Empty {
    pub fn attach(cgroup: &str) -> anyhow::Result<Self> {
        let pins = tempfile::tempdir()?;
        run(Command::new("mount")
            .args(["-t", "bpf", "bench"])
            .arg(pins.path()))?;
        let empty = Self {
            pins,
            cgroup: cgroup.to_owned(),
        };
        let objects = tempfile::tempdir()?;
        for (name, direction) in EMPTY {
            let object = objects.path().join(name);
            fs::write(&object, empty_object(name, direction)?)?;
            let pin = empty.pin(name);
            bpftool(&["prog", "load", &object.display().to_string(), &pin])?;
            bpftool(&[
                "cgroup", "attach", cgroup, direction, "pinned", &pin, "multi",
            ])?;
        }
        Ok(empty)
    }

    fn pin(&self, name: &str) -> String {
        self.pins.path().join(name).display().to_string()
    }
}

impl Drop for Empty {
    fn drop(&mut self) {
        for (name, direction) in EMPTY {
            let pin = self.pin(name);
            if Path::new(&pin).exists()
                && let Err(error) =
                    bpftool(&["cgroup", "detach", &self.cgroup, direction, "pinned", &pin])
            {
                eprintln!("{error:#}");
            }
        }
        if let Err(error) = run(Command::new("umount").arg(self.pins.path())) {
            eprintln!("{error:#}");
        }
    }
}

fn empty_object(name: &str, direction: &str) -> anyhow::Result<Vec<u8>> {
    let mut file = Object::new(BinaryFormat::Elf, Architecture::Bpf, Endianness::Little);
    let code = [0xb7, 0, 0, 0, 1, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0];
    let section = format!("cgroup_skb/{direction}").into_bytes();
    let section = file.add_section(vec![], section, SectionKind::Text);
    file.append_section_data(section, &code, 8);
    file.add_symbol(Symbol {
        name: name.as_bytes().to_vec(),
        value: 0,
        size: code.len() as u64,
        kind: SymbolKind::Text,
        scope: SymbolScope::Dynamic,
        weak: false,
        section: SymbolSection::Section(section),
        flags: SymbolFlags::None,
    });
    let license = file.add_section(vec![], b"license".to_vec(), SectionKind::Data);
    file.append_section_data(license, b"GPL\0", 1);
    file.write().context("writing an object")
}
