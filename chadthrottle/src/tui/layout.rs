//! Where things are on the screen: for the view that draws them, and for the mouse that points at
//! them.

use ratatui::layout::{Rect, Size};

use super::rows::Sort;
use crate::units::Style;

/// Smallest screen that can be drawn, in columns and rows.
pub const MIN_SIZE: Size = Size {
    width: 60,
    height: 12,
};

/// Whether a screen of that size can be drawn.
pub fn fits(size: Size) -> bool {
    size.width >= MIN_SIZE.width && size.height >= MIN_SIZE.height
}

/// The parts of the screen, from top to bottom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Areas {
    /// Totals.
    pub summary: Rect,
    /// Their last minute, where there is room.
    pub graphs: Rect,
    /// What is shown, and warnings.
    pub status: Rect,
    /// Titles of the columns.
    pub titles: Rect,
    /// The table's rows.
    pub rows: Rect,
    /// The message and the keys.
    pub footer: Rect,
}

impl Areas {
    /// Of a screen of that size.
    pub fn of(size: Size) -> Self {
        let graph_rows = match size.height {
            ..20 => 0,
            20..40 => 2,
            _ => 4,
        };
        let mut top = 0;
        let mut take = |height: u16| {
            let height = height.min(size.height - top);
            let area = Rect::new(0, top, size.width, height);
            top += height;
            area
        };
        let (summary, graphs, status, titles) = (take(1), take(graph_rows), take(1), take(1));
        let footer_rows = 2;
        let rows = take(
            size.height
                .saturating_sub(titles.bottom())
                .saturating_sub(footer_rows),
        );
        Self {
            summary,
            graphs,
            status,
            titles,
            rows,
            footer: take(footer_rows),
        }
    }

    /// Titles and rows together, for what takes their place.
    pub fn body(&self) -> Rect {
        self.titles.union(self.rows)
    }
}

/// A column of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// Process id, or how many processes.
    Pid,
    /// Name, with the branches of the tree.
    Name,
    /// User.
    User,
    /// Number of sockets.
    Sockets,
    /// Download rate.
    Down,
    /// Upload rate.
    Up,
    /// Both rates of late.
    Trend,
    /// Bytes downloaded.
    DownTotal,
    /// Bytes uploaded.
    UpTotal,
    /// Download limit.
    DownLimit,
    /// How much of it is used.
    DownGauge,
    /// Upload limit.
    UpLimit,
    /// How much of it is used.
    UpGauge,
    /// Which directions are held back.
    Held,
    /// The rule that its limit comes from.
    Rule,
}

/// In the order of the screen.
const COLUMNS: [Column; 15] = [
    Column::Pid,
    Column::Name,
    Column::User,
    Column::Sockets,
    Column::Down,
    Column::Up,
    Column::Trend,
    Column::DownTotal,
    Column::UpTotal,
    Column::DownLimit,
    Column::DownGauge,
    Column::UpLimit,
    Column::UpGauge,
    Column::Held,
    Column::Rule,
];

/// Room that the name needs at least; it takes all that is left over …
const NAME_WIDTH: u16 = 12;
/// … up to this; what is more stays empty on the right.
const NAME_MAX: u16 = 100;

impl Column {
    /// What a click on its title sorts by.
    pub fn sort(self) -> Option<Sort> {
        match self {
            Self::Pid => Some(Sort::Pid),
            Self::Name => Some(Sort::Name),
            Self::User => Some(Sort::User),
            Self::Sockets => Some(Sort::Sockets),
            Self::Down => Some(Sort::Down),
            Self::Up => Some(Sort::Up),
            Self::Trend => Some(Sort::Total),
            Self::DownTotal => Some(Sort::DownBytes),
            Self::UpTotal => Some(Sort::UpBytes),
            Self::DownLimit | Self::UpLimit | Self::DownGauge | Self::UpGauge => Some(Sort::Limit),
            Self::Held | Self::Rule => None,
        }
    }

    fn width(self, style: Style) -> u16 {
        // "999 KB/s", "9.99 MB/s"; "9.99 Mbit/s".
        let rate = match style {
            Style::Bytes => 9,
            Style::Bits => 11,
        };
        match self {
            Self::Name => NAME_WIDTH,
            Self::Pid => 7,
            Self::User => 9,
            Self::Sockets | Self::DownGauge | Self::UpGauge => 5,
            Self::Down | Self::Up | Self::DownLimit | Self::UpLimit => rate,
            Self::Trend | Self::DownTotal | Self::UpTotal => 8,
            Self::Held => 4,
            Self::Rule => 10,
        }
    }

    /// The lower, the longer it stays.
    fn rank(self) -> u8 {
        match self {
            Self::Name | Self::Down | Self::Up => 0,
            Self::DownLimit | Self::UpLimit => 1,
            Self::Pid => 2,
            Self::Held => 3,
            Self::DownGauge | Self::UpGauge => 4,
            Self::User => 5,
            Self::Trend => 6,
            Self::DownTotal | Self::UpTotal => 7,
            Self::Sockets => 8,
            // Where nobody has rules there is nothing in it.
            Self::Rule => 9,
        }
    }
}

/// The columns that fit into `width`, with rules where there are any, each with where it begins and how wide it is.
pub fn columns(width: u16, style: Style, has_rules: bool) -> Vec<(Column, u16, u16)> {
    /// For the mark of a tagged row.
    const MARK: u16 = 1;
    let mut columns: Vec<Column> = COLUMNS.into();
    columns.retain(|column| has_rules || *column != Column::Rule);
    let needed = |columns: &[Column]| -> u16 {
        MARK + columns.iter().map(|it| it.width(style) + 1).sum::<u16>() - 1
    };
    while needed(&columns) > width
        && let Some(rank) = columns.iter().map(|it| it.rank()).max()
        && rank > 0
    {
        columns.retain(|it| it.rank() < rank);
    }
    let left = width.saturating_sub(needed(&columns));
    let mut x = MARK;
    let mut placed = Vec::new();
    for column in columns {
        let mut width = column.width(style);
        if column == Column::Name {
            width = (width + left).min(NAME_MAX);
        }
        placed.push((column, x, width));
        x += width + 1;
    }
    placed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_leave_by_importance_and_never_overlap_or_leave_the_screen() {
        let mut before = usize::MAX;
        for width in (40..=400).rev() {
            for style in [Style::Bits, Style::Bytes] {
                let columns = columns(width, style, true);
                for pair in columns.windows(2) {
                    assert_eq!(pair[0].1 + pair[0].2 + 1, pair[1].1, "{width}");
                }
                let (_, x, last) = columns.last().unwrap();
                assert!(x + last <= width.max(60), "{width}: {columns:?}");
            }
            let count = columns(width, Style::Bytes, true).len();
            assert!(count <= before, "{width}");
            before = count;
        }
        let at = |width| {
            let columns = columns(width, Style::Bytes, true);
            columns.iter().map(|it| it.0).collect::<Vec<_>>()
        };
        assert_eq!(at(200), COLUMNS);
        let at_80 = at(80);
        for column in [
            Column::Pid,
            Column::DownGauge,
            Column::UpLimit,
            Column::Held,
        ] {
            assert!(at_80.contains(&column), "{at_80:?}");
        }
        let at_60 = at(60);
        assert!(at_60.contains(&Column::UpLimit) && !at_60.contains(&Column::User));
    }

    #[test]
    fn the_parts_cover_the_screen_without_a_gap() {
        for height in 0..100 {
            let areas = Areas::of(Size { width: 80, height });
            let parts = [
                areas.summary,
                areas.graphs,
                areas.status,
                areas.titles,
                areas.rows,
                areas.footer,
            ];
            let mut y = 0;
            for part in parts {
                assert_eq!(part.y, y, "{height}");
                y += part.height;
            }
            assert!(y <= height && (height < 12 || y == height), "{height}");
            assert!(height < 12 || areas.rows.height >= 6);
        }
    }
}
