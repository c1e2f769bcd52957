//! Where things are on the screen: for the view that draws them, and for the mouse that points at
//! them.

use ratatui::layout::{Rect, Size};

use super::{rows::Sort, state::State};
use crate::{config::View, units::Style};

/// Smallest screen that can be drawn, in columns and rows.
pub const MIN_SIZE: Size = Size {
    width: 60,
    height: 12,
};

/// Panels have edges from this height on, and totals a graph.
const PANELS_HEIGHT: u16 = 20;

/// The details of the selected row stand beside the table from this size on.
const SPLIT_SIZE: Size = Size {
    width: 140,
    height: 20,
};

/// Lines of a warning at most.
const WARNING_LINES: u16 = 3;

/// Whether a screen of that size can be drawn.
pub fn fits(size: Size) -> bool {
    size.width >= MIN_SIZE.width && size.height >= MIN_SIZE.height
}

/// The parts of the screen, from top to bottom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Areas {
    /// The edge around totals and their graph.
    pub header_panel: Option<Rect>,
    /// Totals; in a panel on its edge.
    pub summary: Rect,
    /// What was carried of late, where there is room.
    pub graphs: Rect,
    /// The latest warning of the engine.
    pub warning: Rect,
    /// The edge around the table.
    pub table_panel: Option<Rect>,
    /// What is shown; in a panel on its edge.
    pub status: Rect,
    /// Titles of the columns.
    pub titles: Rect,
    /// The table's rows.
    pub rows: Rect,
    /// The details of the selected row beside the table, with their edge where there are panels.
    pub beside: Option<Rect>,
    /// The message and the keys.
    pub footer: Rect,
}

/// What is to have a place.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted {
    /// The edges of panels.
    pub panels: bool,
    /// The details of the selected row beside the table.
    pub split: bool,
    /// Details in place of the table: where there is not room for both, their graph is worth more than that of totals.
    pub details: bool,
    /// Columns of a warning.
    pub warning: usize,
}

impl Areas {
    /// Of a screen of that size.
    pub fn of(size: Size, wanted: Wanted) -> Self {
        let Wanted {
            panels,
            split,
            details,
            warning,
        } = wanted;
        let panels = panels && size.height >= PANELS_HEIGHT;
        let split = split && size.width >= SPLIT_SIZE.width && size.height >= SPLIT_SIZE.height;
        let graph_rows = match size.height {
            ..PANELS_HEIGHT => 0,
            20..30 if details => 0,
            20..30 => 3,
            30..45 if details => 3,
            30..45 => 7,
            _ if details => 7,
            _ => 11,
        };
        let mut top = 0;
        let mut take = |height: u16| {
            let height = height.min(size.height - top);
            let area = Rect::new(0, top, size.width, height);
            top += height;
            area
        };
        let header_panel = panels && graph_rows > 0;
        let header = take(1 + graph_rows + u16::from(header_panel));
        let warning = match warning {
            0 => take(0),
            columns => {
                let lines = columns.div_ceil(usize::from(size.width.max(1)));
                take(u16::try_from(lines).map_or(WARNING_LINES, |it| it.min(WARNING_LINES)))
            }
        };
        let footer_rows = 2;
        let body = take(
            size.height
                .saturating_sub(warning.bottom())
                .saturating_sub(footer_rows),
        );
        let footer = take(footer_rows);
        let gap = u16::from(!panels);
        let beside = split.then(|| {
            let width = (size.width * 3 / 8).clamp(58, 110);
            Rect {
                x: size.width - width,
                width,
                ..body
            }
        });
        let table = Rect {
            width: beside.map_or(size.width, |beside| beside.x - gap),
            ..body
        };
        let of_table = lines(table, panels);
        let of_header = lines(header, header_panel);
        Self {
            header_panel: header_panel.then_some(header),
            summary: of_header.first,
            graphs: of_header.rest,
            warning,
            table_panel: panels.then_some(table),
            status: of_table.first,
            titles: Rect {
                height: of_table.rest.height.min(1),
                ..of_table.rest
            },
            rows: Rect {
                y: of_table.rest.y + of_table.rest.height.min(1),
                height: of_table.rest.height.saturating_sub(1),
                ..of_table.rest
            },
            beside,
            footer,
        }
    }

    /// Between header and footer, for what takes the table's place: a panel with its edges, or what is below the
    /// status.
    pub fn body(&self) -> Rect {
        let table = self
            .table_panel
            .unwrap_or_else(|| self.titles.union(self.rows));
        match self.beside {
            Some(beside) => table.union(Rect {
                y: table.y,
                height: table.height,
                ..beside
            }),
            None => table,
        }
    }
}

/// The first line of an area, and the others.
struct Lines {
    first: Rect,
    rest: Rect,
}

/// Of a panel, the line on its edge, where the corners and a dash stay free, and what is inside.
fn lines(area: Rect, panel: bool) -> Lines {
    let edge = u16::from(panel);
    Lines {
        first: Rect {
            x: area.x + 2 * edge,
            width: area.width.saturating_sub(4 * edge),
            height: area.height.min(1),
            ..area
        },
        rest: Rect {
            x: area.x + edge,
            y: area.y + area.height.min(1),
            width: area.width.saturating_sub(2 * edge),
            height: area.height.saturating_sub(1 + edge),
        },
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
    /// Which directions are held back, and where there is room how.
    Held,
    /// The rule that its limit comes from.
    Rule,
    /// Container or unit.
    Unit,
    /// Command line.
    Command,
}

/// In the order of the screen.
const COLUMNS: [Column; 17] = [
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
    Column::Unit,
    Column::Command,
];

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
            Self::Held | Self::Rule | Self::Unit | Self::Command => None,
        }
    }

    /// The columns that it needs at least.
    fn width(self, style: Style, view: View) -> u16 {
        // "999 KB/s", "9.99 MB/s"; "9.99 Mbit/s".
        let rate = match style {
            Style::Bytes => 9,
            Style::Bits => 11,
        };
        match self {
            Self::Name if view == View::Tree => 22,
            Self::Name => 12,
            Self::Pid => 7,
            Self::User => 9,
            Self::Sockets | Self::DownGauge | Self::UpGauge => 5,
            Self::Down | Self::Up | Self::DownLimit | Self::UpLimit => rate,
            Self::Trend | Self::DownTotal | Self::UpTotal => 8,
            Self::Held => 4,
            Self::Rule => 10,
            Self::Unit | Self::Command => 14,
        }
    }

    /// The most that it makes use of.
    fn most(self, style: Style, view: View) -> u16 {
        match self {
            Self::Name if view == View::Tree => 36,
            Self::Name => 18,
            // Room for how it is held: "↓ by refusing".
            Self::Held => 13,
            // Room for the percentage.
            Self::DownGauge | Self::UpGauge => 10,
            Self::Trend => 15,
            Self::Rule => 16,
            Self::Unit => 26,
            _ => self.width(style, view),
        }
    }

    /// The lower, the longer it stays, and the sooner it gets more room.
    fn rank(self) -> u8 {
        match self {
            Self::Name | Self::Down | Self::Up => 0,
            Self::DownLimit | Self::UpLimit => 1,
            Self::Pid => 2,
            Self::Held => 3,
            Self::DownGauge | Self::UpGauge => 4,
            Self::User => 5,
            Self::Trend => 6,
            Self::Command => 7,
            Self::Unit => 8,
            Self::DownTotal | Self::UpTotal => 9,
            Self::Sockets => 10,
            // Where nobody has rules there is nothing in it.
            Self::Rule => 11,
        }
    }
}

/// The columns that fit beside each other, each with where it begins and how wide it is.
pub fn columns(areas: &Areas, state: &State) -> Vec<(Column, u16, u16)> {
    let mut columns = columns_within(areas.rows.width, state.style, state.view, state.has_rules());
    for (_, x, _) in &mut columns {
        *x += areas.rows.x;
    }
    columns
}

/// The columns that fit into `width`, with rules where there are any.
fn columns_within(
    width: u16,
    style: Style,
    view: View,
    has_rules: bool,
) -> Vec<(Column, u16, u16)> {
    /// For the mark of a tagged row.
    const MARK: u16 = 1;
    /// Of a command line that says what it is.
    const BEGINNING: u16 = 28;
    let mut columns: Vec<Column> = COLUMNS.into();
    columns.retain(|column| has_rules || *column != Column::Rule);
    let needed = |columns: &[Column]| -> u16 {
        MARK + columns
            .iter()
            .map(|it| it.width(style, view) + 1)
            .sum::<u16>()
            - 1
    };
    while needed(&columns) > width
        && let Some(rank) = columns.iter().map(|it| it.rank()).max()
        && rank > 0
    {
        columns.retain(|it| it.rank() < rank);
    }
    let mut left = width.saturating_sub(needed(&columns));
    let mut widths: Vec<(Column, u16)> = columns
        .iter()
        .map(|column| (*column, column.width(style, view)))
        .collect();
    // Names first, then the beginning of the command line, which in the end takes all that is left.
    let mut wanted: Vec<(Column, u16)> = columns
        .iter()
        .map(|column| (*column, column.most(style, view)))
        .collect();
    wanted.sort_by_key(|(column, _)| column.rank());
    let command = |most| (Column::Command, most);
    wanted.insert(1, command(BEGINNING));
    wanted.push(command(u16::MAX));
    for (column, most) in wanted {
        if let Some((_, width)) = widths.iter_mut().find(|(other, _)| *other == column) {
            let more = most.saturating_sub(*width).min(left);
            *width += more;
            left -= more;
        }
    }
    let mut x = MARK;
    let placed = widths.into_iter().map(|(column, width)| {
        let at = x;
        x += width + 1;
        (column, at, width)
    });
    placed.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_leave_by_importance_and_never_overlap_or_leave_the_screen() {
        for view in [View::List, View::Tree] {
            let mut before = usize::MAX;
            for width in (40..=400).rev() {
                for style in [Style::Bits, Style::Bytes] {
                    let columns = columns_within(width, style, view, true);
                    for pair in columns.windows(2) {
                        assert_eq!(pair[0].1 + pair[0].2 + 1, pair[1].1, "{width}");
                    }
                    let (_, x, last) = columns.last().unwrap();
                    assert!(x + last <= width.max(60), "{width}: {columns:?}");
                }
                let count = columns_within(width, Style::Bytes, view, true).len();
                assert!(count <= before, "{width}");
                before = count;
            }
        }
        let at = |width| {
            let columns = columns_within(width, Style::Bytes, View::List, true);
            columns.iter().map(|it| it.0).collect::<Vec<_>>()
        };
        assert_eq!(at(200), COLUMNS);
        let at_80 = at(78);
        for column in [
            Column::Pid,
            Column::DownGauge,
            Column::UpLimit,
            Column::Held,
        ] {
            assert!(at_80.contains(&column), "{at_80:?}");
        }
        assert!(at(118).contains(&Column::Command));
        let at_60 = at(60);
        assert!(at_60.contains(&Column::UpLimit) && !at_60.contains(&Column::User));
    }

    #[test]
    fn names_stay_narrow_and_the_command_line_takes_what_is_left() {
        let columns = columns_within(200, Style::Bytes, View::List, false);
        let width = |column| columns.iter().find(|it| it.0 == column).unwrap().2;
        assert!(width(Column::Name) <= 20);
        assert_eq!(columns.last().unwrap().0, Column::Command);
        assert!(width(Column::Command) >= 19, "{columns:?}");
    }

    #[test]
    fn the_parts_cover_the_screen_without_a_gap() {
        for (panels, warning) in [(false, 0), (true, 0), (false, 200), (true, 1_000)] {
            for height in 0..100 {
                for width in [80, 139, 140, 200, 300] {
                    let wanted = Wanted {
                        panels,
                        split: true,
                        details: width == 139,
                        warning,
                    };
                    let areas = Areas::of(Size { width, height }, wanted);
                    let header = areas.header_panel;
                    let header = header.unwrap_or(areas.summary.union(areas.graphs));
                    let body = match areas.table_panel {
                        Some(_) => areas.body(),
                        None => areas.status.union(areas.body()),
                    };
                    let mut y = 0;
                    for part in [header, areas.warning, body, areas.footer] {
                        if part.height == 0 {
                            continue;
                        }
                        assert_eq!(part.y, y, "{height}");
                        assert!(part.right() <= width);
                        y += part.height;
                    }
                    assert!(y <= height && (height < 12 || y == height), "{height}");
                    assert!(height < 12 || areas.rows.height >= 4, "{height}");
                    assert_eq!(areas.beside.is_some(), width >= 140 && height >= 20);
                    if let Some(beside) = areas.beside {
                        assert!(areas.rows.right() <= beside.x && beside.right() == width);
                    }
                }
            }
        }
    }

    #[test]
    fn a_warning_has_lines_of_its_own() {
        let size = Size {
            width: 80,
            height: 24,
        };
        let rows = |warning| {
            let wanted = Wanted {
                panels: true,
                warning,
                ..Wanted::default()
            };
            let areas = Areas::of(size, wanted);
            (areas.warning.height, areas.status.height)
        };
        assert_eq!([rows(0), rows(80), rows(81)], [(0, 1), (1, 1), (2, 1)]);
        assert_eq!(rows(10_000), (3, 1));
    }
}
