//! The help, a page for each subject.

use ratatui::{
    Frame,
    text::{Line, Span},
    widgets::Paragraph,
};

use super::{Look, boxed};
use crate::tui::{
    help::{AROUND, Help, KEYS, WIDTH},
    keymap::{Keymap, Subject},
};

/// Draws a page of the help over the table.
pub fn draw(frame: &mut Frame, help: Help, keymap: &Keymap, look: &Look) {
    let theme = &look.theme;
    let lines: Vec<Line> = help
        .lines(keymap, frame.area().as_size())
        .into_iter()
        .map(|(keys, words)| {
            Line::from(vec![
                Span::styled(format!(" {keys:<KEYS$}"), theme.key),
                Span::raw(words),
            ])
        })
        .collect();
    let count = u16::try_from(lines.len()).unwrap_or(u16::MAX);
    let inside = boxed(frame, "Help", WIDTH, count.saturating_add(AROUND), look);
    let mut pages = Line::raw(" ");
    for subject in Subject::ALL {
        let style = match subject == help.subject() {
            true => theme.selected,
            false => theme.dim,
        };
        pages.push_span(Span::styled(format!(" {} ", subject.name()), style));
        pages.push_span(Span::raw(" "));
    }
    frame
        .buffer_mut()
        .set_line(inside.x, inside.y, &pages, inside.width);
    let mut below = inside;
    below.y += 2.min(below.height);
    below.height = below.height.saturating_sub(2);
    let last = lines.len().saturating_sub(usize::from(below.height));
    let offset = help.offset.min(last);
    if last > 0 {
        let shown = offset + usize::from(below.height);
        let (up, down) = (look.symbols.arrows.up, look.symbols.arrows.down);
        let words = format!(" {shown} of {}: {up}{down} ", lines.len());
        let line = Line::styled(words, theme.key);
        frame
            .buffer_mut()
            .set_line(inside.x + 1, inside.bottom(), &line, inside.width - 1);
    }
    let offset = u16::try_from(offset).unwrap_or(u16::MAX);
    frame.render_widget(Paragraph::new(lines).scroll((offset, 0)), below);
}
