//! `constants`: moves each constant of the policer and the levers far from its value, one after the other, in a copy of
//! the sources, and sees whether a simulation minds. One that may be anything is none, or is not tested.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, bail};

use crate::{
    shell::{cargo, root, run},
    sources,
};

/// Files of constants, each with the tests that are to mind.
const FILES: [(&str, &[&str]); 2] = [
    (
        "chadthrottle-common/src/tuning.rs",
        &["--package", "chadthrottle-common"],
    ),
    (
        "chadthrottle/src/levers/tuning.rs",
        &["--package", "chadthrottle", "--lib", "levers::"],
    ),
];

/// A constant in a line of its own.
#[derive(Debug, PartialEq, Eq)]
struct Constant {
    /// With the module that it is in.
    name: String,
    line: usize,
    kind: String,
    value: String,
}

/// How far it is moved.
#[derive(Clone, Copy, Debug)]
enum Way {
    Up,
    Down,
}

/// What became of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// A test has failed.
    Minded,
    /// An assertion at compile time has.
    DoesNotBuild,
    Unnoticed,
}

/// Moves those whose names contain `only`, and says what became of each.
pub fn constants(only: Option<&str>) -> anyhow::Result<()> {
    let copy = root().join("target/constants/tree");
    sources::copy(&copy)?;
    let mut unnoticed = Vec::new();
    for (file, tests) in FILES {
        let path = copy.join(file);
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        run(&mut test(&copy, tests, &[])).context("before anything was moved")?;
        for constant in found(&text) {
            if only.is_some_and(|only| !constant.name.contains(only)) {
                continue;
            }
            let mut outcomes = Vec::new();
            for way in [Way::Up, Way::Down] {
                let Some(value) = moved(&constant, way) else {
                    continue;
                };
                fs::write(&path, with(&text, &constant, &value))?;
                let outcome = outcome(&copy, tests)?;
                println!("{:<36} {value:<40} {outcome:?}", constant.name);
                outcomes.push(outcome);
            }
            fs::write(&path, &text)?;
            if !outcomes.is_empty() && outcomes.iter().all(|it| *it == Outcome::Unnoticed) {
                unnoticed.push(constant.name);
            }
        }
    }
    if !unnoticed.is_empty() {
        bail!("no test minds where these stand: {}", unnoticed.join(", "));
    }
    Ok(())
}

fn test(copy: &Path, tests: &[&str], more: &[&str]) -> Command {
    let mut command = cargo();
    command
        .current_dir(copy)
        .env("CARGO_TARGET_DIR", target())
        .args(["test", "--quiet", "--locked"])
        .args(more)
        .args(tests);
    command
}

fn target() -> PathBuf {
    root().join("target/constants/build")
}

fn outcome(copy: &Path, tests: &[&str]) -> anyhow::Result<Outcome> {
    let succeeds = |more: &[&str]| {
        let mut command = test(copy, tests, more);
        let command = command.stdout(Stdio::null()).stderr(Stdio::null());
        command.status().context("cargo test")
    };
    if !succeeds(&["--no-run"])?.success() {
        return Ok(Outcome::DoesNotBuild);
    }
    Ok(match succeeds(&[])?.success() {
        true => Outcome::Unnoticed,
        false => Outcome::Minded,
    })
}

/// The constants of a file: those with a number, or a time.
fn found(text: &str) -> Vec<Constant> {
    let (mut module, mut constants) = ("", Vec::new());
    for (line, words) in text.lines().enumerate() {
        if let Some(name) = words.strip_prefix("pub mod ") {
            module = name.trim_end_matches(" {");
        } else if words == "}" {
            module = "";
        }
        let words = words.trim().trim_end_matches([';', ',']);
        // A field of a struct of constants has a number too.
        let declared = match words.strip_prefix("pub const ") {
            Some(declared) => declared.split_once(": ").and_then(|(name, rest)| {
                let (kind, value) = rest.split_once(" = ")?;
                Some((name, kind, value))
            }),
            None => words
                .split_once(": ")
                .filter(|(_, value)| value.parse::<f64>().is_ok())
                .map(|(name, value)| (name, "field", value)),
        };
        if let Some((name, kind, value)) = declared {
            constants.push(Constant {
                name: format!("{module}::{name}")
                    .trim_start_matches(':')
                    .to_owned(),
                line,
                kind: kind.to_owned(),
                value: value.to_owned(),
            });
        }
    }
    constants
}

/// Its value when it is moved; `None` where it is no number.
fn moved(constant: &Constant, way: Way) -> Option<String> {
    let value = &constant.value;
    Some(match (constant.kind.as_str(), way) {
        // A power of two.
        (_, Way::Up) if constant.name.ends_with("_SHIFT") => format!("({value}) + 2"),
        (_, Way::Down) if constant.name.ends_with("_SHIFT") => format!("({value}) - 2"),
        ("u32" | "u64", Way::Up) => format!("({value}) * 4"),
        ("u32" | "u64", Way::Down) => format!("({value}) / 4"),
        // By how much something grows or shrinks, and parts of a whole; and smaller ones.
        ("f64" | "field", way) => {
            let factor = if value.parse::<f64>().ok()? < 0.5 {
                "4.0"
            } else {
                "1.3"
            };
            match way {
                Way::Up => format!("({value}) * {factor}"),
                Way::Down => format!("({value}) / {factor}"),
            }
        }
        ("Duration", Way::Up) => format!("{value}.saturating_mul(4)"),
        ("Duration", Way::Down) => format!("Duration::from_nanos({value}.as_nanos() as u64 / 4)"),
        _ => return None,
    })
}

/// The text with another value for it.
fn with(text: &str, constant: &Constant, value: &str) -> String {
    let replaced = text.lines().enumerate().map(|(at, line)| {
        // The value comes last.
        match line.rsplit_once(&constant.value) {
            Some((before, after)) if at == constant.line => format!("{before}{value}{after}"),
            _ => line.to_owned(),
        }
    });
    let mut text = replaced.collect::<Vec<_>>().join("\n");
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_are_found_and_moved() {
        let text = "\
pub mod gate {
    /// How long.
    pub const TURN_NS: u64 = 250;
    pub const EPOCH_SHIFT: u32 = 29;
}
pub const INTERVAL: Duration = Duration::from_millis(50);
pub const TUNING: Tuning = Tuning {
    unused: 0.8,
};
pub const CURVE: Curve = &[(0.0, 1.0)];
";
        let constants = found(text);
        let names: Vec<&str> = constants.iter().map(|it| it.name.as_str()).collect();
        let expected = [
            "gate::TURN_NS",
            "gate::EPOCH_SHIFT",
            "INTERVAL",
            "TUNING",
            "unused",
            "CURVE",
        ];
        assert_eq!(names, expected);
        let up: Vec<_> = constants.iter().map(|it| moved(it, Way::Up)).collect();
        let text_of = |at: usize| up[at].as_deref();
        assert_eq!(text_of(0), Some("(250) * 4"));
        assert_eq!(text_of(1), Some("(29) + 2"));
        assert_eq!(
            text_of(2),
            Some("Duration::from_millis(50).saturating_mul(4)")
        );
        assert_eq!(text_of(4), Some("(0.8) * 1.3"));
        assert_eq!((text_of(3), text_of(5)), (None, None));
        let moved = with(text, &constants[0], "(250) / 4");
        assert!(moved.contains("TURN_NS: u64 = (250) / 4;"), "{moved}");
    }

    #[test]
    fn both_files_have_constants() {
        for (file, _) in FILES {
            let text = fs::read_to_string(root().join(file)).unwrap();
            assert!(found(&text).len() > 10, "{file}");
        }
    }
}
