//! A table of processes that fits where it is shown.

use super::rows::padded;
use crate::{
    model::{Limit, ProcessSample},
    text,
    units::{Rate, Style, format_bytes, format_rate},
};

/// One column: its head, its width and whether it stands to the right.
struct Column {
    head: &'static str,
    width: usize,
    right: bool,
    value: fn(&ProcessSample, Style) -> String,
}

const fn left(
    head: &'static str,
    width: usize,
    value: fn(&ProcessSample, Style) -> String,
) -> Column {
    Column {
        head,
        width,
        right: false,
        value,
    }
}

const fn right(
    head: &'static str,
    width: usize,
    value: fn(&ProcessSample, Style) -> String,
) -> Column {
    Column {
        head,
        width,
        right: true,
        value,
    }
}

/// Which column has what room is left.
const NAME: usize = 1;

const COLUMNS: [Column; 9] = [
    right("PID", 7, |process, _| process.key.pid.to_string()),
    left("NAME", 16, |process, _| {
        text::name_of_process(&process.name, &process.exe).into_owned()
    }),
    left("USER", 10, |process, _| {
        text::escape(&process.user).into_owned()
    }),
    right("DOWN", 11, |process, style| {
        format_rate(process.traffic.down.bytes_per_s, style)
    }),
    right("UP", 11, |process, style| {
        format_rate(process.traffic.up.bytes_per_s, style)
    }),
    right("DOWN TOTAL", 10, |process, _| {
        format_bytes(process.traffic.down.bytes)
    }),
    right("UP TOTAL", 9, |process, _| {
        format_bytes(process.traffic.up.bytes)
    }),
    right("DOWN LIMIT", 11, |process, style| {
        limit(process, style, |limit| limit.down)
    }),
    right("UP LIMIT", 11, |process, style| {
        limit(process, style, |limit| limit.up)
    }),
];

/// Which columns go where there is no room, the first one first: totals, the user, limits.
const LEAST: [usize; 5] = [6, 5, 2, 8, 7];

/// A name is given that much at least before a column goes.
const NARROWEST_NAME: usize = 12;

fn limit(process: &ProcessSample, style: Style, rate: fn(Limit) -> Option<Rate>) -> String {
    let rate = process.limit.and_then(|(_, limit)| rate(limit));
    rate.map_or("-".to_owned(), |rate| rate.shown(style))
}

/// The table, with a head and without an empty line behind it.
///
/// `width` is that of the terminal, in columns; without one nothing is left out.
pub fn table(processes: &[&ProcessSample], style: Style, width: Option<usize>) -> String {
    let shown = shown(width);
    let others: usize = shown
        .iter()
        .filter(|at| **at != NAME)
        .map(|at| COLUMNS[*at].width + 1)
        .sum();
    let name = width.map_or(COLUMNS[NAME].width, |width| {
        // What is longer than a name may be in the kernel needs no room, and a terminal may be narrower than all.
        width.saturating_sub(others).clamp(1, COLUMNS[NAME].width)
    });
    let mut text = String::new();
    let mut line = |cell: &dyn Fn(&Column) -> String| {
        let cells = shown.iter().map(|at| {
            let column = &COLUMNS[*at];
            let width = if *at == NAME { name } else { column.width };
            padded(
                &cell(column),
                width,
                column.right,
                *at == NAME && shown.len() < COLUMNS.len(),
            )
        });
        let joined = cells.collect::<Vec<_>>().join(" ");
        text += joined.trim_end();
        text.push('\n');
    };
    line(&|column| column.head.to_owned());
    for process in processes {
        line(&|column| (column.value)(process, style));
    }
    text
}

/// The columns that there is room for.
fn shown(width: Option<usize>) -> Vec<usize> {
    let mut shown: Vec<usize> = (0..COLUMNS.len()).collect();
    let Some(width) = width else { return shown };
    for least in LEAST {
        let needed: usize = shown
            .iter()
            .map(|at| {
                if *at == NAME {
                    NARROWEST_NAME
                } else {
                    COLUMNS[*at].width + 1
                }
            })
            .sum();
        if needed <= width {
            break;
        }
        shown.retain(|at| *at != least);
    }
    shown
}

#[cfg(test)]
mod tests {
    use ratatui::text::Span;

    use super::*;
    use crate::model::testing;

    fn process(name: &str) -> ProcessSample {
        let mut process = testing::process(1_234_567);
        process.name = name.into();
        process.user = "anna".into();
        process.traffic.down.bytes_per_s = 1_234_567.0;
        process
    }

    #[test]
    fn it_fits_and_loses_the_least_first() {
        let process = process("a-name-of-15-ch");
        let all = [
            "PID",
            "NAME",
            "USER",
            "DOWN",
            "UP",
            "DOWN TOTAL",
            "UP TOTAL",
            "DOWN LIMIT",
            "UP LIMIT",
        ];
        for (width, heads) in [
            (None, &all[..]),
            (Some(120), &all[..]),
            (
                Some(80),
                &[
                    "PID",
                    "NAME",
                    "USER",
                    "DOWN",
                    "UP",
                    "DOWN LIMIT",
                    "UP LIMIT",
                ],
            ),
            (Some(60), &["PID", "NAME", "DOWN", "UP", "DOWN LIMIT"]),
            (Some(45), &["PID", "NAME", "DOWN", "UP"]),
        ] {
            let text = table(&[&process], Style::Bytes, width);
            let head = text.lines().next().unwrap();
            let found: Vec<_> = head
                .split("  ")
                .map(str::trim)
                .filter(|head| !head.is_empty())
                .collect();
            assert_eq!(found.join(" "), heads.join(" "), "{text}");
            for line in text.lines() {
                assert!(
                    line.chars().count() <= width.unwrap_or(150),
                    "{width:?}: {text}"
                );
            }
        }
    }

    #[test]
    fn wide_characters_and_escapes_do_not_push_what_follows() {
        for name in ["日本語日本語日本", "a\u{1b}[2Jbcdefghijk"] {
            let text = table(&[&process(name)], Style::Bytes, Some(60));
            let line = text.lines().nth(1).unwrap();
            assert_eq!(
                Span::raw(line).width(),
                Span::raw(text.lines().next().unwrap()).width(),
                "{text}"
            );
        }
    }
}
