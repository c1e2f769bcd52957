//! A question before something that reaches far.

use ratatui::{Frame, text::Line, widgets::Paragraph};

use super::{Look, boxed, counted};
use crate::{
    model::RuleSample,
    text::escape,
    tui::{
        keep::shown,
        keymap::Command,
        state::{Question, State},
        wrap::wrapped,
    },
};

const WIDTH: u16 = 70;

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
            state.rule(name).map_or_else(String::new, removed),
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
    let room = usize::from(WIDTH.min(frame.area().width)).saturating_sub(3);
    let limits = wrapped(&limits, room).into_iter().chain([what]);
    let mut lines: Vec<Line> = limits.map(|text| Line::raw(format!(" {text}"))).collect();
    lines.push(Line::styled(
        " Enter or y: yes   Esc or n: no",
        look.theme.key,
    ));
    let height = u16::try_from(lines.len() + 2).unwrap_or(u16::MAX);
    let inside = boxed(frame, &title, WIDTH, height, look);
    frame.render_widget(Paragraph::new(lines), inside);
}

/// Which rule is removed, and what that changes beside it.
fn removed(rule: &RuleSample) -> String {
    let shown = shown(rule);
    match rule.profiles.as_slice() {
        [] => format!("It is {shown}."),
        profiles => {
            let word = if profiles.len() == 1 {
                "profile"
            } else {
                "profiles"
            };
            let profiles = escape(&profiles.join(", ")).into_owned();
            format!("It is {shown}, which is taken out of {word} {profiles} too.")
        }
    }
}
