//! Where things are on the screen: for the view that draws them, and for the mouse that points at
//! them.

use ratatui::layout::{Rect, Size};

/// Smallest screen that can be drawn, in columns and rows.
pub const MIN_SIZE: Size = Size {
    width: 60,
    height: 12,
};

/// Panels have edges from this height on, and totals a graph.
const PANELS_HEIGHT: u16 = 20;

/// The details of the selected row stand beside the table from this size on.
pub const SPLIT_SIZE: Size = Size {
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
    /// Lines of a message.
    pub message: usize,
}

impl Areas {
    /// Of a screen of that size.
    pub fn of(size: Size, wanted: Wanted) -> Self {
        let Wanted {
            panels,
            split,
            details,
            warning,
            message,
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
        // The message, or what stands in its place, and the keys.
        let footer_rows = u16::try_from(message.max(1)).map_or(2, |lines| lines + 1);
        let body = take(
            size.height
                .saturating_sub(warning.bottom())
                .saturating_sub(footer_rows),
        );
        let footer = take(footer_rows);
        let gap = u16::from(!panels);
        let beside = split.then(|| {
            let width = (size.width * 3 / 10).clamp(58, 110);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_cover_the_screen_without_a_gap() {
        for (panels, warning, message) in [
            (false, 0, 0),
            (true, 0, 1),
            (false, 200, 2),
            (true, 1_000, 3),
        ] {
            for height in 0..100 {
                for width in [80, 139, 140, 200, 300] {
                    let wanted = Wanted {
                        panels,
                        split: true,
                        details: width == 139,
                        warning,
                        message,
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
                    assert!(height < 12 || areas.rows.height >= 2, "{height}");
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
