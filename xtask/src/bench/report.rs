//! Tables: on the terminal, and in documents.

use std::{fmt::Write, fs};

use anyhow::Context;

use crate::shell::root;

/// A table with a line above it.
pub struct Table {
    title: String,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(title: &str, head: &[&str]) -> Self {
        Self {
            title: title.to_owned(),
            rows: vec![head.iter().map(|&cell| cell.to_owned()).collect()],
        }
    }

    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }

    /// As Markdown, with columns of even width, so that it can be read as it is.
    pub fn markdown(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = format!("### {}\n\n", self.title);
        for (number, row) in self.rows.iter().enumerate() {
            for (column, width) in widths.iter().enumerate() {
                let cell = row.get(column).map_or("", String::as_str);
                let padding = " ".repeat(width - cell.chars().count());
                let (before, after) = if column == 0 {
                    ("", &*padding)
                } else {
                    (&*padding, "")
                };
                let _ = write!(text, "| {before}{cell}{after} ");
            }
            text += "|\n";
            if number == 0 {
                for (column, width) in widths.iter().enumerate() {
                    let line = "-".repeat(width + 1);
                    let _ = match column {
                        0 => write!(text, "|{line}-"),
                        _ => write!(text, "|{line}:"),
                    };
                }
                text += "|\n";
            }
        }
        text
    }
}

/// What a figure belongs to: processor, cores, memory, kernel.
pub fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown processor", |line| {
            line.trim_start_matches([' ', '\t', ':'])
        });
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = read("/proc/sys/kernel/osrelease");
    // What follows the first dash is the maker's.
    let kernel = kernel.trim().split('-').next().unwrap_or_default();
    let guest = if cpu.contains("hypervisor") {
        ", a virtual machine"
    } else {
        ""
    };
    format!("{model}, {cores} cores{guest}, Linux {kernel}")
}

/// Replaces one benchmark's part of docs/benchmarks.md, between its two marks.
pub fn write_section(name: &str, text: &str) -> anyhow::Result<()> {
    write_section_of("benchmarks.md", name, text)
}

/// The same of another document.
pub fn write_section_of(document: &str, name: &str, text: &str) -> anyhow::Result<()> {
    let path = root().join("docs").join(document);
    let shown = path.display().to_string();
    let old = fs::read_to_string(&path).context(shown.clone())?;
    let (begin, end) = (
        format!("<!-- {name} -->\n"),
        format!("<!-- end of {name} -->"),
    );
    let replaced = old
        .split_once(&begin)
        .and_then(|(before, rest)| Some((before, rest.split_once(&end)?.1)))
        .map(|(before, after)| format!("{before}{begin}\n{}\n{end}{after}", text.trim_end()))
        .with_context(|| format!("{shown} has no marks for '{name}'"))?;
    fs::write(&path, replaced).context(shown.clone())?;
    println!("\nwritten to {shown}");
    Ok(())
}
