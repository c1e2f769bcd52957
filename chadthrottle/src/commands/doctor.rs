//! `doctor`: what this machine can do, in words or as JSON.

use std::time::Duration;

use crate::{
    cli::{Doctor, Global},
    doctor::{self, Missing, Probe, Report},
    error::Error,
    protocol::Examined,
    session::{self, Settings, privilege},
    text,
};

/// Examines and gives the exit code: 0 when limits will work. Without privilege the engine is asked, where one serves us:
/// what it can do is what we can.
pub async fn run(global: &Global, args: &Doctor) -> Result<u8, Error> {
    let settings = global.settings(Duration::from_secs(1));
    let of_engine = if privilege::check().is_err() {
        by_engine(settings.clone()).await
    } else {
        None
    };
    let report = of_engine.unwrap_or_else(|| doctor::examine(&settings));
    if args.json {
        let text =
            text::json(&report).map_err(|error| Error::io("writing the report", error.into()))?;
        super::print(&text)?;
    } else {
        let columns = super::size_of_terminal().map(|(columns, _)| columns);
        super::print(words(&report, columns).as_bytes())?;
    }
    Ok(report.exit_code)
}

/// What an engine says that serves us.
async fn by_engine(settings: Settings) -> Option<Report> {
    let opened = session::open_running(settings).await.ok()??;
    let examined = opened.engine.requests().examine().await;
    opened.close().await;
    let Examined { report, exit_code } = examined.ok()?;
    let report: Report = serde_json::from_value(report).ok()?;
    Some(Report {
        exit_code,
        ..report
    })
}

/// The report for people, on a terminal with so many columns; without one no line is broken.
fn words(report: &Report, columns: Option<usize>) -> String {
    let mut lines: Vec<(String, String)> = Vec::new();
    let mut line = |name: &str, value: &str| lines.push((name.to_owned(), value.to_owned()));
    line("kernel", &report.kernel);
    let mount = report.cgroup2.mount.as_deref().unwrap_or("not mounted");
    line("cgroup2", &format!("{mount} ({})", report.cgroup2.layout));
    match report.missing_capabilities.as_slice() {
        [] => line("capabilities", "all that are needed"),
        missing => {
            for missing in missing {
                let Missing { name, purpose } = missing;
                line("capabilities", &format!("{name} is MISSING, to {purpose}"));
            }
        }
    }
    for feature in &report.features {
        let present = if feature.present { "yes" } else { "NO" };
        line(&feature.name, &format!("{present}: {}", feature.meaning));
    }
    if let Some(point) = &report.attach_point {
        line("attach point", point);
    }
    for attached in &report.attached {
        for program in &attached.programs {
            let text = format!(
                "program {} '{}' at {} ({})",
                program.id, program.name, attached.place, attached.mode
            );
            line("attached there", &text);
        }
    }
    match &report.probe {
        Some(probe) => probe_words(probe, &mut line),
        None if report.problem.is_none() => {
            line(
                "probe",
                "not made: an engine is running, see above for its programs",
            );
        }
        None => line("probe", "not made"),
    }
    for lever in &report.levers {
        line("lever", lever);
    }
    match &report.problem {
        Some(problem) => line("PROBLEM", problem),
        None => line("verdict", "limits will work"),
    }
    in_columns(&lines, columns)
}

/// Names, and what belongs to each from one column on, over as many lines as it takes.
fn in_columns(lines: &[(String, String)], columns: Option<usize>) -> String {
    const GAP: usize = 2;
    let widths = lines.iter().map(|(name, _)| name.chars().count());
    let width = widths.max().unwrap_or_default();
    let room = columns.map_or(usize::MAX, |columns| columns.saturating_sub(width + GAP));
    let mut text = String::new();
    for (name, value) in lines {
        let mut name = name.as_str();
        for line in broken(value, room) {
            text += format!("{name:<width$}  {line}").trim_end();
            text.push('\n');
            name = "";
        }
    }
    text
}

/// Lines of at most so many characters, broken between words; a word that is longer has a line of its own.
fn broken(text: &str, room: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut line = 0;
    for word in text.split(' ') {
        let taken = lines[line].chars().count();
        if taken > 0 && taken + 1 + word.chars().count() > room {
            lines.push(String::new());
            line += 1;
        } else if taken > 0 {
            lines[line].push(' ');
        }
        lines[line] += word;
    }
    lines
}

fn probe_words(probe: &Probe, mut line: impl FnMut(&str, &str)) {
    let why = match &*probe.attach_method {
        "link" => "goes by itself, even after SIGKILL",
        _ => "a guard process detaches it should the engine be killed",
    };
    line("attach method", &format!("{} ({why})", probe.attach_method));
    let how = if probe.sees_socket_use {
        "seen by the kernel at their first use"
    } else {
        "found by searching /proc, within seconds (the kernel has no BTF, or is before 6.3)"
    };
    line("sockets handed over", how);
    let counted = probe.counted;
    let text = format!(
        "of {} packets our programs saw {} arrive and {} leave",
        probe.packets, counted.ingress, counted.egress
    );
    line("probe", &text);
    if let Some(runs) = probe.runs {
        let text = format!(
            "the kernel ran them {} and {} times",
            runs.ingress, runs.egress
        );
        line("", &text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_begins_in_one_column() {
        let lines = [
            ("probe", "made"),
            ("sockets handed over", "seen"),
            ("", "more"),
        ];
        let lines = lines.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let text = in_columns(&lines, None);
        let column = |value: &str| {
            let line = text.lines().find(|line| line.ends_with(value)).unwrap();
            line.len() - value.len()
        };
        assert_eq!([column("made"), column("more")], [column("seen"); 2]);
    }

    #[test]
    fn a_long_value_is_broken_between_words_below_itself() {
        let lines = [
            ("lever", "paces the connections of a process"),
            ("kernel", "6.18"),
        ];
        let lines = lines.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let text = "\
lever   paces the
        connections
        of a process
kernel  6.18
";
        assert_eq!(in_columns(&lines, Some(20)), text);
        let alone = in_columns(&lines, Some(3));
        assert!(alone.contains("        connections\n"), "{alone}");
    }
}
