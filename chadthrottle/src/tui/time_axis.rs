//! Which samples stand where in a graph: for the view that draws them, and for the mouse that points at them.

use std::ops::Range;

use ratatui::layout::{Position, Rect};

use super::history::Span;
use crate::units::Style;

/// Columns of samples in a cell.
pub const PER_CELL: usize = 2;

/// Columns of the scale on the left, with the gap before the graph.
pub fn scale_width(style: Style) -> u16 {
    match style {
        // "999 KB/s", "9.99 MB/s"; "9.99 Mbit/s".
        Style::Bytes => 10,
        Style::Bits => 12,
    }
}

/// The part of a graph's area on the right of its scale.
pub fn body(area: Rect, style: Style) -> Rect {
    let scale = scale_width(style).min(area.width);
    Rect {
        x: area.x + scale,
        width: area.width - scale,
        ..area
    }
}

/// The samples of a column in a graph of that many, by what comes before each; the newest column has the place 0. Which
/// samples share a column does not change as they move on.
pub fn samples_of(place: usize, samples: usize, span: Span, width: usize) -> Option<Range<usize>> {
    let (span, samples) = (span.samples(), samples.max(1));
    // Columns are counted as samples are, from the first on; this is the last one that the newest sample is in.
    let newest = (samples * width).div_ceil(span).max(1) - 1;
    let column = newest.checked_sub(place)?;
    let first = column * span / width;
    let next = ((column + 1) * span / width).max(first + 1).min(samples);
    Some(first..next)
}

/// Whether the moment is in that cell of a graph; the newest has the place 0.
pub fn is_in_cell(moment: usize, place: usize, samples: usize, span: Span, cells: usize) -> bool {
    let mut columns = place * PER_CELL..(place + 1) * PER_CELL;
    columns.any(|column| {
        let samples = samples_of(column, samples, span, cells * PER_CELL);
        samples.is_some_and(|samples| samples.contains(&moment))
    })
}

/// The moment that is there in a graph: the last sample of the cell.
pub fn moment_at(
    area: Rect,
    at: Position,
    samples: usize,
    span: Span,
    style: Style,
) -> Option<usize> {
    let body = body(area, style);
    if !body.contains(at) {
        return None;
    }
    let place = usize::from(body.right() - 1 - at.x) * PER_CELL;
    let width = usize::from(body.width) * PER_CELL;
    samples_of(place, samples, span, width)?.next_back()
}

/// How long ago, of samples of one a second.
pub fn ago(seconds: usize) -> String {
    match seconds {
        ..60 => format!("{seconds} s ago"),
        _ => format!("{}:{:02} min ago", seconds / 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_pointed_at_is_what_is_marked() {
        for (samples, width) in [(5, 30), (60, 40), (200, 40), (200, 190), (2_000, 77)] {
            for span in [Span::One, Span::Five, Span::Fifteen] {
                let area = Rect::new(3, 2, width, 5);
                let cells = usize::from(width - scale_width(Style::Bytes));
                let at = |x| moment_at(area, Position::new(x, 4), samples, span, Style::Bytes);
                assert_eq!(at(area.right() - 1), Some(samples - 1));
                assert_eq!((at(area.x + 9), at(area.right())), (None, None));
                for x in area.x + 10..area.right() {
                    let Some(moment) = at(x) else { continue };
                    let place = usize::from(area.right() - 1 - x);
                    assert!(moment < samples);
                    assert!(is_in_cell(moment, place, samples, span, cells), "{x}");
                }
            }
        }
    }

    #[test]
    fn minutes_are_told_as_such() {
        assert_eq!(
            (ago(59), ago(200)),
            ("59 s ago".to_owned(), "3:20 min ago".to_owned())
        );
    }
}
