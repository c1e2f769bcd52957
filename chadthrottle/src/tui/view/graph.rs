//! Graphs of what was carried of late: downloads above an axis, uploads below.

use ratatui::{
    Frame,
    buffer::Buffer,
    layout::Rect,
    style::Modifier,
    text::{Line, Span as Text},
};

use super::Look;
use crate::{
    model::{Direction, Limit},
    tui::{
        history::{Point, Ring, Span},
        time_axis::{PER_CELL, body, is_in_cell, samples_of, scale_width},
    },
    units::{Style, format_rate},
};

/// Steps of a cell's height.
const PER_ROW: u32 = 4;

/// What a graph shows.
pub struct Graph<'a> {
    /// The samples.
    pub ring: &'a Ring,
    /// How many there have been at all, so that steps stay where they are.
    pub samples: usize,
    /// How far back it goes.
    pub span: Span,
    /// Limits, which are drawn as lines.
    pub limit: Limit,
    /// The least that the full height stands for, in bytes a second.
    pub floor: f64,
    /// How rates are written.
    pub style: Style,
    /// A moment that is marked, counted as samples are.
    pub moment: Option<usize>,
}

impl Graph<'_> {
    /// Draws it, the newest on the right, with its scale on the left.
    pub fn draw(&self, frame: &mut Frame, area: Rect, look: &Look) {
        let scale = scale_width(self.style).min(area.width);
        let body = body(area, self.style);
        if area.height < 2 || body.width == 0 {
            return;
        }
        let axis_rows = u16::from(area.height > 2);
        let down_rows = (area.height - axis_rows).div_ceil(2);
        let columns = columns(
            self.ring,
            self.samples,
            self.span,
            usize::from(body.width) * PER_CELL,
        );
        let buffer = frame.buffer_mut();
        let half = |y: u16, height: u16| Rect { y, height, ..body };
        let halves = [
            (Direction::Down, half(body.y, down_rows)),
            (
                Direction::Up,
                half(
                    body.y + down_rows + axis_rows,
                    body.height - down_rows - axis_rows,
                ),
            ),
        ];
        for (direction, half) in halves {
            self.half(buffer, half, direction, &columns, look);
        }
        if axis_rows > 0 {
            let y = body.y + down_rows;
            label(buffer, Rect { y, ..area }, "0", look.theme.dim, scale);
            self.axis(buffer, half(y, 1), &columns, look);
            self.mark(buffer, body, Some(y), look);
        } else {
            self.mark(buffer, body, None, look);
        }
    }

    /// The marked moment: its cells, and a mark on the axis.
    fn mark(&self, buffer: &mut Buffer, body: Rect, axis: Option<u16>, look: &Look) {
        let Some(moment) = self.moment else {
            return;
        };
        let cells = usize::from(body.width);
        let has = |place: &u16| is_in_cell(moment, (*place).into(), self.samples, self.span, cells);
        for place in (0..body.width).filter(has) {
            let x = body.right() - 1 - place;
            let cell = Rect::new(x, body.y, 1, body.height);
            buffer.set_style(cell, look.theme.selected);
            if let Some(cell) = axis.and_then(|y| buffer.cell_mut((x, y))) {
                cell.set_symbol(look.symbols.moment);
            }
        }
    }

    /// One direction: its rates, when it was held back, its limit and its scale.
    fn half(
        &self,
        buffer: &mut Buffer,
        area: Rect,
        direction: Direction,
        columns: &[Option<Point>],
        look: &Look,
    ) {
        if area.height == 0 {
            return;
        }
        let rate = |point: &Option<Point>| point.map_or(0.0, |point| point.rate(direction));
        let limit = self.limit.rate(direction);
        let limit = limit.map(|limit| limit.bytes_per_second() as f64);
        let highest = columns.iter().map(rate).fold(self.floor, f64::max);
        let full = rounded_up(
            limit.map_or(highest, |limit| highest.max(limit * 1.1)),
            self.style,
        );
        let steps = u32::from(area.height) * PER_ROW;
        let height = |rate: f64| (rate / full * f64::from(steps)).round() as u32;
        let line = limit.map(|limit| height(limit).clamp(1, steps) - 1);
        for (place, cell) in columns.chunks(PER_CELL).enumerate() {
            let x = area.right() - 1 - place as u16;
            let held = cell.iter().flatten().any(|point| point.is_held(direction));
            let heights = [1, 0].map(|older| {
                let rate = cell.get(older).map_or(0.0, rate);
                // What is not nothing is seen.
                height(rate).max(u32::from(rate > 0.0))
            });
            for row in 0..area.height {
                let below = u32::from(row) * PER_ROW;
                let part = |height: u32| height.saturating_sub(below).min(PER_ROW) as u8;
                let line = line
                    .and_then(|line| line.checked_sub(below))
                    .filter(|line| *line < PER_ROW);
                let symbol =
                    look.symbols
                        .bars(heights.map(part), direction, line.map(|line| line as u8));
                let y = match direction {
                    Direction::Down => area.bottom() - 1 - row,
                    Direction::Up => area.y + row,
                };
                if let Some(target) = buffer.cell_mut((x, y)) {
                    let style = match line {
                        // Of one row it would be all that is seen.
                        Some(_) if area.height > 1 => look.theme.limit,
                        _ => look.theme.traffic[direction],
                    };
                    target.set_char(symbol).set_style(style);
                    if held {
                        target.set_style(look.theme.shade);
                    }
                }
            }
        }
        let outermost = match direction {
            Direction::Down => area.y,
            Direction::Up => area.bottom() - 1,
        };
        let scale = scale_width(self.style);
        let mut told = |y, rate, style| {
            let at = Rect {
                x: area.x.saturating_sub(scale),
                y,
                ..area
            };
            label(buffer, at, &format_rate(rate, self.style), style, scale);
        };
        told(outermost, full, look.theme.traffic[direction]);
        if let (Some(limit), Some(line)) = (limit, line) {
            let row = (line / PER_ROW) as u16;
            let y = match direction {
                Direction::Down => area.bottom() - 1 - row,
                Direction::Up => area.y + row,
            };
            told(y, limit, look.theme.limit);
        }
    }

    /// The line between both, with the time, and marks where something was held back: colour never carries a
    /// meaning alone.
    fn axis(&self, buffer: &mut Buffer, area: Rect, columns: &[Option<Point>], look: &Look) {
        let mut cells = columns.chunks(PER_CELL);
        for x in area.left()..area.right() {
            if let Some(cell) = buffer.cell_mut((x, area.y)) {
                cell.set_symbol(look.symbols.axis[0])
                    .set_style(look.theme.border);
            }
        }
        for x in (area.left()..area.right()).rev() {
            let points = cells.next().unwrap_or_default();
            let held = |direction| {
                let mut points = points.iter().flatten();
                usize::from(points.any(|point| point.is_held(direction)))
            };
            let mark = held(Direction::Down) + 2 * held(Direction::Up);
            if mark > 0
                && let Some(cell) = buffer.cell_mut((x, area.y))
            {
                cell.set_symbol(look.symbols.axis[mark])
                    .set_style(look.theme.held);
            }
        }
        let [begin, middle, end] = match self.span {
            Span::One => ["1 min", "30 s", "now"],
            Span::Five => ["5 min", "2:30", "now"],
            Span::Fifteen => ["15 min", "7:30", "now"],
        };
        // What is said of the time may stand on marks, which are bold.
        let style = look.theme.dim.remove_modifier(Modifier::BOLD);
        let cells = usize::from(area.width);
        let is_marked = |x: u16| {
            let place = usize::from(area.right() - 1 - x);
            let is_in = |moment| is_in_cell(moment, place, self.samples, self.span, cells);
            self.moment.is_some_and(is_in)
        };
        let mut put = |x: u16, text: &str| {
            let end = x.saturating_add(text.len() as u16).min(area.right());
            // The marked moment is not to be taken for a part of it.
            if (x..end).any(is_marked) {
                return;
            }
            let line = Line::from(Text::styled(text.to_owned(), style));
            buffer.set_line(x, area.y, &line, area.right().saturating_sub(x));
        };
        // Apart from the zero of the scale.
        put(area.x + 2.min(area.width), begin);
        if area.width >= 30 {
            put(area.x + area.width / 2 - 2, middle);
            put(area.right() - end.len() as u16, end);
        }
    }
}

/// A word of the scale, right up to its gap.
fn label(buffer: &mut Buffer, at: Rect, text: &str, style: ratatui::style::Style, scale: u16) {
    let line = Line::styled(text.to_owned(), style);
    let room = scale.saturating_sub(1);
    let width = (line.width() as u16).min(room);
    // What stood there is of another rate.
    for x in at.x..at.x + room {
        if let Some(cell) = buffer.cell_mut((x, at.y)) {
            cell.set_symbol(" ");
        }
    }
    buffer.set_line(at.x + room - width, at.y, &line, width);
}

/// The next rate up that is a round number in the unit of that style.
fn rounded_up(rate: f64, style: Style) -> f64 {
    const ROUND: [f64; 9] = [1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0];
    let unit = match style {
        Style::Bytes => 1.0,
        Style::Bits => 8.0,
    };
    let number = rate.max(1.0) * unit;
    let power = 10f64.powf(number.log10().floor());
    let mut round = ROUND.iter().map(|round| round * power);
    let found = round.find(|round| *round >= number * 0.999);
    found.unwrap_or(number) / unit
}

/// Bars for a cell of the table, the newest on the right: both directions together, over the span.
pub fn trend(ring: &Ring, samples: usize, span: Span, width: usize, look: &Look) -> String {
    let columns = columns(ring, samples, span, width * PER_CELL);
    let sum = |point: &Option<Point>| {
        point.map_or(0.0, |point| {
            point.rate(Direction::Down) + point.rate(Direction::Up)
        })
    };
    let highest = columns.iter().map(sum).fold(0.0, f64::max);
    let cells = columns.chunks(PER_CELL).map(|cell| {
        let heights = [1, 0].map(|older| {
            let rate = cell.get(older).map_or(0.0, sum);
            let height = if highest > 0.0 {
                (rate / highest * f64::from(PER_ROW)).round() as u8
            } else {
                0
            };
            height.max(u8::from(rate > 0.0))
        });
        look.symbols.bars(heights, Direction::Down, None)
    });
    let cells: Vec<char> = cells.collect();
    cells.into_iter().rev().collect()
}

/// The samples of each column, the newest first: of several the peak, or one in several columns.
fn columns(ring: &Ring, samples: usize, span: Span, width: usize) -> Vec<Option<Point>> {
    let newest = samples.max(1) - 1;
    (0..width)
        .map(|place| {
            let samples = samples_of(place, samples, span, width)?;
            let points = samples.filter_map(|sample| ring.at(newest - sample));
            points.reduce(Point::peak)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::{
        fixtures::{process, snapshot},
        history::History,
    };

    /// After that many samples, where sample n has the rate n + 1.
    fn after(samples: usize) -> History {
        let mut history = History::default();
        for n in 0..samples {
            history.push(&snapshot(vec![process(1, "a", n as f64 + 1.0, 0.0)]));
        }
        history
    }

    fn rates(history: &History, span: Span, width: usize) -> Vec<f64> {
        let columns = columns(&history.total, history.samples, span, width);
        let rate = |point: Option<Point>| point.map_or(0.0, |point| point.rate(Direction::Down));
        columns.into_iter().map(rate).collect()
    }

    #[test]
    fn columns_keep_their_samples_while_they_move() {
        for width in [7, 25, 59, 60, 61, 100, 119, 136, 376] {
            let (before, after) = (after(200), after(201));
            let (before, after) = (
                rates(&before, Span::One, width),
                rates(&after, Span::One, width),
            );
            assert_eq!((before[0], after[0]), (200.0, 201.0), "{width}");
            // All of it is filled.
            assert!(before[width - 1] > 0.0, "{width}");
            // What each had, but for the newest, has moved on as it was.
            let mut known: Vec<f64> = before[1..].to_vec();
            known.dedup();
            let mut now: Vec<f64> = after.clone();
            now.retain(|rate| known.contains(rate));
            now.dedup();
            assert!(
                known.starts_with(&now) && now.len() + 2 >= known.len(),
                "{width}"
            );
        }
    }

    #[test]
    fn one_sample_fills_several_columns_and_what_was_not_sampled_none() {
        let history = after(2);
        assert_eq!(
            rates(&history, Span::One, 120)[..6],
            [2.0, 2.0, 1.0, 1.0, 0.0, 0.0]
        );
        assert!(rates(&history, Span::Fifteen, 0).is_empty());
        assert_eq!(rates(&after(0), Span::One, 3), [0.0; 3]);
    }

    #[test]
    fn the_scale_ends_at_round_numbers_of_its_unit() {
        for (rate, bytes, bits) in [
            (1_000_000.0, 1_000_000.0, 1_000_000.0),
            (1_100_000.0, 1_500_000.0, 1_250_000.0),
            (640_000.0, 800_000.0, 750_000.0),
            (0.0, 1.0, 1.0),
        ] {
            assert_eq!(rounded_up(rate, Style::Bytes), bytes, "{rate}");
            assert_eq!(rounded_up(rate, Style::Bits), bits, "{rate}");
        }
    }
}
