//! A question before something that reaches far.

use ratatui::{Frame, text::Line, widgets::Paragraph};

use super::{Look, boxed, counted};
use crate::tui::{
    keep::shown,
    keymap::Command,
    state::{Question, State},
};

/// Draws the question.
pub fn draw(frame: &mut Frame, question: &Question, state: &State, look: &Look) {
    let all = state.by_hand().count();
    let own = state.own_limits();
    let of_others = match all - own {
        0 => String::new(),
        others => format!(", {others} of them by others"),
    };
    let key = state.keymap.key_of(Command::Switch);
    let switch = format!("To switch it off only, go back and press {key}.");
    let (title, limits, what) = match question {
        Question::Block { who, why, .. } => (
            format!("Block {who}?"),
            why.clone(),
            "What is blocked cannot use the network.".to_owned(),
        ),
        Question::RemoveAll => (
            "Remove all limits?".to_owned(),
            format!("{} set{of_others}.", counted(all, "limit is", "limits are")),
            "Everything runs at full speed again.".to_owned(),
        ),
        Question::RemoveRule(name) => (
            "Remove this rule?".to_owned(),
            state
                .rule(name)
                .map_or_else(String::new, |rule| format!("It is {}.", shown(rule))),
            switch,
        ),
        Question::Quit => (
            "Quit?".to_owned(),
            format!(
                "{} with this screen{}.",
                counted(own, "limit ends", "limits end"),
                if all > own {
                    "; those of others stay"
                } else {
                    ""
                }
            ),
            "'chadthrottle limit --detach' holds without one.".to_owned(),
        ),
    };
    let inside = boxed(frame, &title, 70, 5, look);
    let lines = vec![
        Line::raw(format!(" {limits}")),
        Line::raw(format!(" {what}")),
        Line::styled(" Enter or y: yes   Esc or n: no", look.theme.key),
    ];
    frame.render_widget(Paragraph::new(lines), inside);
}
