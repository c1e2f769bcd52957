//! Where the parts of the details are: for the view that draws them, and for the mouse that points at them.

use ratatui::layout::{Constraint, Layout, Margin, Rect};

use super::{
    limit_words::{Told, limit_words},
    rows::Row,
    state::State,
    wrap::wrapped,
};

/// From this width on what it is and its graph stand beside each other.
const WIDE: u16 = 120;

/// Columns of the words before what they say.
const LABEL: u16 = 10;

/// The parts, each with its panel where it has one of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    /// Around what it is, or around everything.
    pub panel: Option<Rect>,
    /// What it is.
    pub about: Rect,
    /// Its limit, and how that is met.
    pub limit: Rect,
    /// Around the graph.
    pub graph_panel: Option<Rect>,
    /// What it carries; in a panel on its edge.
    pub rates: Rect,
    /// Its graph.
    pub graph: Rect,
    /// Around the connections.
    pub connections_panel: Option<Rect>,
    /// The line above the connections, where they have no panel.
    pub connections_edge: Rect,
    /// Its connections.
    pub connections: Rect,
}

impl Parts {
    /// Of the details of a row in that area.
    pub fn of(area: Rect, row: &Row, limit: &[Told], state: &State) -> Self {
        let panels = state.areas().table_panel.is_some();
        // What it has carried, and of a process that is there five lines more.
        let about = if state.lead(row).is_some() { 6 } else { 1 };
        if panels && area.width >= WIDE {
            return Self::wide(area, about, limit);
        }
        let inside = match panels {
            true => inside(area),
            false => area,
        };
        let about = about + u16::from(!panels);
        let limit = lines_of(limit, inside.width);
        // Connections get what graphs leave; on a low screen there are none.
        let graph = match inside.height.saturating_sub(about + limit) {
            ..9 => 0,
            9..13 => 4,
            13..20 => 8,
            _ => 12,
        };
        let parts = Layout::vertical([
            Constraint::Length(about),
            Constraint::Length(graph.min(1)),
            Constraint::Length(graph.saturating_sub(1)),
            Constraint::Length(limit),
            Constraint::Fill(1),
        ]);
        let [about, rates, graph, limit, connections] = parts.areas(inside);
        let [edge, rows] =
            Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(connections);
        Self {
            panel: panels.then_some(area),
            about,
            limit,
            rates,
            graph,
            connections_edge: edge,
            connections: rows,
            ..Self::default()
        }
    }

    /// What it is and its graph beside each other, its connections below.
    fn wide(area: Rect, about: u16, limit: &[Told]) -> Self {
        let left = area.width * 2 / 5;
        let needed = about + 1 + lines_of(limit, left - 2);
        // Connections have a place, too.
        let needed = (needed + 2).max(13).max(area.height / 2);
        let top = Constraint::Length(needed.min(area.height * 2 / 3));
        let [top, bottom] = Layout::vertical([top, Constraint::Fill(1)]).areas(area);
        let [left, right] =
            Layout::horizontal([Constraint::Length(left), Constraint::Fill(1)]).areas(top);
        let parts = [Constraint::Length(about + 1), Constraint::Fill(1)];
        let [about, limit] = Layout::vertical(parts).areas(inside(left));
        Self {
            panel: Some(left),
            about,
            limit,
            graph_panel: Some(right),
            graph: inside(right),
            connections_panel: Some(bottom),
            connections: inside(bottom),
            ..Self::default()
        }
    }
}

impl State {
    /// The parts of the details that are on the screen: in place of the table, or beside it.
    pub fn detail_parts(&self) -> Option<Parts> {
        let areas = self.areas();
        let area = match (&self.details, areas.beside) {
            (Some(_), _) => areas.body(),
            (None, Some(beside)) => beside,
            (None, None) => return None,
        };
        let row = self.details_row(&self.details_shown()?.key)?;
        Some(Parts::of(area, &row, &limit_words(&row, self), self))
    }
}

/// Inside of a panel's edge.
fn inside(panel: Rect) -> Rect {
    panel.inner(Margin::new(1, 1))
}

/// Columns for what is said beside its word.
pub fn beside_label(width: u16) -> usize {
    usize::from(width.saturating_sub(LABEL)).max(1)
}

fn lines_of(limit: &[Told], width: u16) -> u16 {
    let lines = limit
        .iter()
        .map(|told| wrapped(&told.text, beside_label(width)).len());
    u16::try_from(lines.sum::<usize>()).unwrap_or(u16::MAX)
}
