//! Menus: the orders of rows, and the profiles of rules.

use ratatui::{
    Frame,
    text::{Line, Span},
    widgets::Paragraph,
};

use super::{Look, boxed, cut};
use crate::{
    text::escape,
    tui::{rows::Sort, state::State},
};

/// Draws the menu of orders with its cursor at that place.
pub fn draw_orders(frame: &mut Frame, cursor: usize, state: &State, look: &Look) {
    let names = Sort::ALL.map(|sort| (sort.name().to_owned(), sort == state.sort));
    draw(frame, "Sort by", 24, &names, cursor, look);
}

/// Draws the menu of profiles with its cursor at that place.
pub fn draw_profiles(frame: &mut Frame, cursor: usize, state: &State, look: &Look) {
    let chosen = state.snapshot.profile.as_ref();
    let mut names = vec![("off".to_owned(), chosen.is_none())];
    let profiles = state.snapshot.profiles.iter();
    names.extend(profiles.map(|name| (escape(name).into_owned(), Some(name) == chosen)));
    draw(frame, "Profile", 40, &names, cursor, look);
}

/// Draws a menu, with a mark on what is so now.
fn draw(
    frame: &mut Frame,
    title: &str,
    width: u16,
    names: &[(String, bool)],
    cursor: usize,
    look: &Look,
) {
    let room = usize::from(width.saturating_sub(6));
    let lines: Vec<Line> = names
        .iter()
        .enumerate()
        .map(|(place, (name, is_so))| {
            let mark = if *is_so { look.symbols.chosen } else { " " };
            let name = cut(name, room, look);
            let line = Line::from(Span::raw(format!(" {mark} {name:<room$}")));
            if place == cursor {
                line.style(look.theme.selected)
            } else {
                line
            }
        })
        .collect();
    let height = u16::try_from(lines.len()).unwrap_or(u16::MAX);
    let inside = boxed(frame, title, width, height.saturating_add(2), look);
    // On a low screen the cursor stays in sight.
    let page = usize::from(inside.height).max(1);
    let offset = u16::try_from((cursor + 1).saturating_sub(page)).unwrap_or(0);
    frame.render_widget(Paragraph::new(lines).scroll((offset, 0)), inside);
}
