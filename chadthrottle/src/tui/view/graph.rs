//! Graphs of the last minute.

use ratatui::{Frame, layout::Rect, style::Style};

use super::Look;
use crate::tui::history::SAMPLES;

/// What a graph shows.
pub struct Graph<I> {
    /// Rates in bytes a second, newest first.
    pub rates: I,
    /// How many samples there have been at all, so that steps stay where they are.
    pub samples: usize,
    /// A limit, which is drawn as a line, in bytes a second.
    pub limit: Option<f64>,
    /// Of the rates.
    pub style: Style,
    /// The least that the full height stands for, in bytes a second.
    pub floor: f64,
}

impl<I: Iterator<Item = f64>> Graph<I> {
    /// Draws it, the newest on the right. Gives what the full height stands for.
    pub fn draw(self, frame: &mut Frame, area: Rect, look: &Look) -> f64 {
        let columns = columns(self.rates, self.samples, usize::from(area.width));
        let highest = columns.iter().copied().fold(self.floor, f64::max);
        let full = self.limit.map_or(highest, |limit| highest.max(limit * 1.1));
        let rows = f64::from(area.height);
        let limit_row = self.limit.map(|limit| {
            let from_below = (limit / full * rows).ceil().max(1.0) as u16;
            area.height.saturating_sub(from_below)
        });
        let buffer = frame.buffer_mut();
        // The limit is a line also where there are no samples yet.
        let columns = columns.iter().chain(std::iter::repeat(&0.0));
        for (place, rate) in columns.take(usize::from(area.width)).enumerate() {
            let x = area.right().saturating_sub(place as u16 + 1);
            let filled = rate / full * rows;
            for row in 0..area.height {
                let y = area.y + row;
                let below = f64::from(area.height - row - 1);
                let symbol = level(
                    (filled - below).clamp(0.0, 1.0),
                    *rate > 0.0 && below == 0.0,
                    look,
                );
                let (symbol, style) = match limit_row {
                    Some(at) if at == row && symbol == look.symbols.levels[0] => {
                        (look.symbols.line, look.theme.limit)
                    }
                    _ => (symbol, self.style),
                };
                if let Some(cell) = buffer.cell_mut((x, y)) {
                    cell.set_symbol(symbol).set_style(style);
                }
            }
        }
        full
    }
}

/// A line of levels for a cell of the table, the newest on the right.
pub fn trend(rates: impl Iterator<Item = f64>, width: usize, look: &Look) -> String {
    let rates: Vec<f64> = rates.take(width).collect();
    let highest = rates.iter().copied().fold(0.0, f64::max);
    let mut text = look.symbols.levels[0].repeat(width - rates.len());
    for rate in rates.iter().rev() {
        let part = if highest > 0.0 { rate / highest } else { 0.0 };
        text.push_str(level(part, *rate > 0.0, look));
    }
    text
}

/// The symbol for a part of a cell's height; what is not nothing is seen.
fn level(part: f64, something: bool, look: &Look) -> &'static str {
    let levels = &look.symbols.levels;
    let index = (part * (levels.len() - 1) as f64).round() as usize;
    let index = if something { index.max(1) } else { index };
    levels.get(index).copied().unwrap_or(" ")
}

/// The rate of each column of a graph, the newest first: of several samples the highest, or one
/// sample in several columns. Which samples share a column does not change as they move on.
fn columns(rates: impl Iterator<Item = f64>, samples: usize, width: usize) -> Vec<f64> {
    if width >= SAMPLES {
        let each = width / SAMPLES;
        return rates
            .flat_map(|rate| std::iter::repeat_n(rate, each))
            .take(width)
            .collect();
    }
    let each = SAMPLES.div_ceil(width.max(1));
    let mut columns = Vec::new();
    let mut present = None;
    for (age, rate) in rates.enumerate() {
        let group = samples.wrapping_sub(age) / each;
        match columns.last_mut() {
            Some(highest) if present == Some(group) => *highest = rate.max(*highest),
            _ => columns.push(rate),
        }
        present = Some(group);
    }
    columns.truncate(width);
    columns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_keep_their_samples_while_they_move() {
        // Sample n has the rate n; half as many columns as samples.
        let at = |samples: usize| {
            let rates = (0..SAMPLES).map(|age| (samples - age) as f64);
            columns(rates, samples, 30)
        };
        let (before, after) = (at(101), at(103));
        assert_eq!(before[0], 101.0);
        assert_eq!(after[1], before[0]);
        assert_eq!(after[2], before[1]);
        assert!(before.len() <= 30);
    }

    #[test]
    fn one_sample_fills_several_columns_of_a_wide_graph() {
        assert_eq!(
            columns([3.0, 2.0].into_iter(), 2, 130),
            [3.0, 3.0, 2.0, 2.0]
        );
        assert_eq!(columns([3.0].into_iter(), 1, 0), [0.0; 0]);
    }
}
