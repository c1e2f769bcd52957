//! Rows under a head, in columns that are as wide as what is in them.

use ratatui::text::Span;

/// What is longer, in cells, moves the rest of its own line and not that of all others.
const WIDEST: usize = 40;

/// The rows as lines. `figures`: the columns that stand to the right. `width` is that of the terminal, in cells: what is
/// longer is cut, so that each row stays one line; without one nothing is.
pub fn aligned<const N: usize>(
    rows: &[[String; N]],
    figures: &[usize],
    width: Option<usize>,
) -> String {
    let widths: [usize; N] = std::array::from_fn(|column| {
        let widths = rows.iter().filter_map(|row| row.get(column));
        let widths = widths.map(|cell| cells(cell));
        widths.filter(|it| *it <= WIDEST).max().unwrap_or_default()
    });
    let mut table = String::new();
    for row in rows {
        let columns = row.iter().zip(widths).enumerate();
        let cells = columns
            .map(|(column, (cell, width))| padded(cell, width, figures.contains(&column), false));
        let line = cells.collect::<Vec<_>>().join("  ");
        let line = line.trim_end();
        table += &width.map_or_else(|| line.to_owned(), |width| cut(line, width));
        table.push('\n');
    }
    table
}

/// How many cells of a terminal that needs.
fn cells(text: &str) -> usize {
    Span::raw(text).width()
}

/// The text in so many cells; what is longer pushes what follows, unless it is to be `cut`.
pub fn padded(text: &str, width: usize, right: bool, cut: bool) -> String {
    let mut text = text.to_owned();
    while cut && cells(&text) > width && text.pop().is_some() {}
    let room = " ".repeat(width.saturating_sub(cells(&text)));
    if right { room + &text } else { text + &room }
}

/// The text in so many cells at most, with a sign that it goes on.
fn cut(text: &str, width: usize) -> String {
    if cells(text) <= width {
        return text.to_owned();
    }
    let mut text = text.to_owned();
    while cells(&text) >= width && text.pop().is_some() {}
    text + "…"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(width: Option<usize>) -> Vec<String> {
        let long = "x".repeat(60);
        let rows = [
            ["ID", "NAME", "MATCH"],
            ["1", "日本", "name:a"],
            ["200", "b", &long],
        ]
        .map(|row| row.map(str::to_owned));
        let table = aligned(&rows, &[0], width);
        table.lines().map(str::to_owned).collect()
    }

    #[test]
    fn columns_are_as_wide_as_what_is_in_them() {
        let lines = table(None);
        assert_eq!(
            lines[..2],
            [" ID  NAME  MATCH", "  1  日本  name:a"].map(str::to_owned)
        );
        assert!(lines[2].starts_with("200  b     xxx") && lines[2].ends_with("xxx"));
        assert_eq!(lines[2].len(), 71);
    }

    #[test]
    fn a_row_is_one_line_of_the_terminal() {
        for width in [80, 71, 40, 16, 1] {
            for (line, whole) in table(Some(width)).iter().zip(table(None)) {
                assert!(cells(line) <= width, "{width}: {line}");
                assert_eq!(line.ends_with('…'), cells(&whole) > width, "{line}");
            }
        }
    }
}
