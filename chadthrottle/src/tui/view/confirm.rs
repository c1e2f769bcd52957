//! A question before something that cannot be taken back.

use ratatui::{Frame, text::Line, widgets::Paragraph};

use super::{Look, boxed, counted};
use crate::tui::state::{Question, State};

/// Draws the question.
pub fn draw(frame: &mut Frame, question: Question, state: &State, look: &Look) {
    let limits = counted(state.snapshot.limits.len(), "limit is", "limits are");
    let (title, what) = match question {
        Question::RemoveAll => ("Remove all limits?", "Everything runs at full speed again."),
        Question::Quit => (
            "Quit?",
            "They end with this screen. 'chadthrottle limit' holds without one.",
        ),
    };
    let inside = boxed(frame, title, 70, 5, look);
    let lines = vec![
        Line::raw(format!(" {limits} set.")),
        Line::raw(format!(" {what}")),
        Line::styled(" Enter or y: yes   Esc or n: no", look.theme.key),
    ];
    frame.render_widget(Paragraph::new(lines), inside);
}
