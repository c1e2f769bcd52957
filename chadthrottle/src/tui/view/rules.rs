//! The rules, and the dialog that makes one.

use ratatui::{
    Frame,
    layout::{Position, Rect},
    text::{Line, Span},
    widgets::{Clear, Paragraph},
};

use super::{Look, boxed, counted, cut, labelled, typed};
use crate::{
    model::{Direction, RuleSample, scope_name},
    text::escape,
    tui::{
        held::Use,
        keep::{KeepDialog, Match},
        keymap::Command,
        state::State,
        wrap::wrapped,
    },
    units::{Rate, format_bytes},
};

/// Draws the rules in place of the table.
pub fn draw(frame: &mut Frame, area: Rect, cursor: usize, state: &State, look: &Look) {
    let theme = &look.theme;
    frame.render_widget(Clear, area);
    frame.buffer_mut().set_style(area, theme.text);
    let rules = &state.snapshot.rules;
    let width = usize::from(area.width);
    let mut lines = vec![title(state, look)];
    if state.snapshot.rules_changed {
        let key = state.keymap.key_of(Command::Reload);
        let words =
            format!(" ! The files of rules have changed since they were read: {key} reads them.");
        let words = cut(&words, width, look).into_owned();
        lines.push(Line::styled(words, theme.error));
    }
    if rules.is_empty() {
        let key = state.keymap.key_of(Command::Keep);
        let words =
            format!("There are no rules. {key} makes one of the limit of the selected row.");
        lines.push(Line::styled(format!(" {words}"), theme.dim));
        frame.render_widget(Paragraph::new(lines), area);
        return;
    }
    let cursor = cursor.min(rules.len() - 1);
    // What is said of the one at the cursor stands below, in half of the room at most.
    let selected = state.selected_rule();
    let said = selected.map(|rule| about(rule, width, state, look));
    let said = said.unwrap_or_default();
    let below = u16::try_from(said.len()).map_or(u16::MAX, |lines| lines.min(area.height / 2));
    // The titles of columns stand above them too.
    let above = lines.len() + 1;
    let page = usize::from(area.height.saturating_sub(below))
        .saturating_sub(above)
        .max(1);
    let first = (cursor + 1).saturating_sub(page);
    let name = rules.iter().map(|rule| rule.name.chars().count()).max();
    let most = width.saturating_sub(59).clamp(10, 20);
    let name = name.unwrap_or_default().clamp(4, most);
    lines.push(Line::styled(
        format!(
            "    {:<name$}  {:>9}  {:>9}  {:>9}  {:>8}  STATE",
            "RULE",
            format!("{} LIMIT", look.symbols.arrows.down),
            format!("{} LIMIT", look.symbols.arrows.up),
            "PROCESSES",
            "TODAY"
        ),
        theme.title,
    ));
    let shown = rules.iter().skip(first).take(page);
    lines.extend(shown.map(|rule| row(rule, name, width, state, look)));
    let inside = Rect {
        height: area.height - below,
        ..area
    };
    frame.render_widget(Paragraph::new(lines), inside);
    if state.rule_gone.is_none() {
        let y = u16::try_from(above + cursor - first).unwrap_or(u16::MAX);
        let selected = Rect {
            y: inside.y.saturating_add(y),
            height: 1,
            ..inside
        };
        let selected = selected.intersection(inside);
        frame.buffer_mut().set_style(selected, theme.selected);
    }
    let area = Rect {
        y: inside.bottom(),
        height: below,
        ..area
    };
    frame.render_widget(Paragraph::new(said), area);
}

fn title<'a>(state: &State, look: &Look) -> Line<'a> {
    let snapshot = &state.snapshot;
    let on = snapshot.rules.iter().filter(|rule| rule.is_on).count();
    let mut text = format!(
        " {}, {on} on",
        counted(snapshot.rules.len(), "rule", "rules")
    );
    if let Some(profile) = &snapshot.profile {
        text.push_str(&format!("  profile {}", escape(profile)));
    } else if !snapshot.profiles.is_empty() {
        text.push_str("  no profile");
    }
    Line::styled(text, look.theme.title)
}

fn row<'a>(rule: &RuleSample, name: usize, width: usize, state: &State, look: &Look) -> Line<'a> {
    let theme = &look.theme;
    let rate = |rate: Option<Rate>| rate.map_or_else(String::new, |rate| rate.shown(state.style));
    let mark = if rule.enabled { "x" } else { " " };
    let carried = rule.carried_today.down + rule.carried_today.up;
    let shown = escape(&rule.name);
    let pending = match state.is_rule_pending(&rule.name) {
        true => look.symbols.pending,
        false => " ",
    };
    let text = format!(
        "[{mark}]{pending}{:<name$}  {:>9}  {:>9}  {:>9}  {:>8}  {}",
        cut(&shown, name, look),
        rate(rule.limit.down),
        rate(rule.limit.up),
        rule.members,
        format_bytes(carried),
        escape(&rule.why)
    );
    let style = if rule.is_on { theme.text } else { theme.dim };
    Line::styled(cut(&text, width, look).into_owned(), style)
}

/// The rest of one rule.
fn about<'a>(rule: &RuleSample, width: usize, state: &State, look: &Look) -> Vec<Line<'a>> {
    let theme = &look.theme;
    let told = |label, text: &str| {
        let labels = std::iter::once(label).chain(std::iter::repeat(""));
        let lines = labels.zip(wrapped(&escape(text), width.saturating_sub(12)));
        let lines = lines.map(|(label, text)| {
            let mut line = labelled(label, text, theme.text, look);
            line.spans.insert(0, Span::raw(" "));
            line
        });
        lines.collect::<Vec<_>>()
    };
    let when = match rule.when.is_empty() {
        true => "always".to_owned(),
        false => rule.when.join(", "),
    };
    let on = match rule.on.is_empty() {
        true => String::new(),
        false => format!(" on {}", rule.on.join(", ")),
    };
    let profiles = match rule.profiles.is_empty() {
        true => String::new(),
        false => format!("; with profile {}", rule.profiles.join(", ")),
    };
    let scope = match scope_name(rule.limit.scope) {
        "default" => String::new(),
        scope => format!("; scope {scope}"),
    };
    let parts = [
        told(
            "state",
            &met(rule, state).unwrap_or_else(|| rule.why.clone()),
        ),
        told("match", &rule.targets.join(" ")),
        told(
            "when",
            &format!("{when}{on}{profiles}; {}{scope}", shared(&rule.share)),
        ),
        told("file", &format!("{}:{}", rule.file, rule.line)),
    ];
    parts.concat()
}

/// How the limit is met, where it holds somebody, or why it is not.
fn met(rule: &RuleSample, state: &State) -> Option<String> {
    let words = |direction| {
        let word = match direction {
            Direction::Down => "down",
            Direction::Up => "up",
        };
        let samples = rule.limits.iter().filter_map(|id| state.limit(*id));
        let samples = samples.filter(|sample| sample.members > 0);
        let uses: Vec<Use> = samples
            .filter_map(|sample| Use::of(sample, direction))
            .collect();
        let telling = Use::most_telling(&uses)?;
        let of_several = match (
            uses.len(),
            uses.iter()
                .filter(|it| it.in_words() == telling.in_words())
                .count(),
        ) {
            (1, _) => String::new(),
            (all, so) => format!(" ({so} of its {all} limits)"),
        };
        Some(format!("{word} {}{of_several}", telling.in_words()))
    };
    let words: Vec<String> = Direction::ALL.into_iter().filter_map(words).collect();
    (!words.is_empty()).then(|| words.join("; "))
}

fn shared(share: &str) -> &str {
    match share {
        "process" => "each process has its own",
        "program" => "shared by all of one program",
        "user" => "shared by all of one user",
        "unit" => "shared by all of one unit",
        _ => "shared by all",
    }
}

/// Draws the dialog that makes a rule.
pub fn draw_keep(frame: &mut Frame, dialog: &KeepDialog, look: &Look) {
    const LABEL: u16 = 12;
    let theme = &look.theme;
    let rows = u16::try_from(dialog.matches.len()).unwrap_or(u16::MAX);
    let inside = boxed(
        frame,
        "Keep this limit as a rule",
        72,
        rows.saturating_add(8),
        look,
    );
    let width = usize::from(inside.width);
    let limit = super::arrows(&dialog.limit.to_string(), look);
    let labelled = |label, text: String, style| {
        let mut line = labelled(label, text, style, look);
        line.spans.insert(0, Span::raw("  "));
        line
    };
    let mut lines = vec![
        labelled("Limit", limit, theme.text),
        labelled("Name", dialog.name.text.clone(), typed(&dialog.name, look)),
        match dialog.mistake() {
            Some(words) => Line::styled(format!("  ! {words}"), theme.error),
            None => Line::default(),
        },
        Line::styled("  For every process of the same", theme.dim),
    ];
    for (at, Match { word, target, .. }) in dialog.matches.iter().enumerate() {
        let mark = if at == dialog.chosen {
            look.symbols.chosen
        } else {
            " "
        };
        let text = format!("  {mark} {word:<10}{}", escape(target));
        let line = Line::raw(format!("{:<width$}", cut(&text, width, look)));
        lines.push(if at == dialog.chosen {
            line.style(theme.selected)
        } else {
            line
        });
    }
    let processes = dialog.matches.get(dialog.chosen);
    let processes = processes.map_or(0, |it| it.processes);
    let verb = if processes == 1 { "matches" } else { "match" };
    let shared = match (dialog.is_of_each, processes) {
        (true, _) => "each has its own",
        (false, 0 | 1) => "all that will match share it",
        (false, _) => "they share it",
    };
    let processes = counted(processes, "process", "processes");
    lines.push(Line::styled(
        format!("  {processes} {verb} now: {shared}"),
        theme.limit,
    ));
    lines.push(Line::styled(
        "  It holds while an engine runs, such as the service's.",
        theme.dim,
    ));
    frame.render_widget(Paragraph::new(lines), inside);
    let before = u16::try_from(Span::raw(dialog.name.head()).width()).unwrap_or(u16::MAX);
    frame.set_cursor_position(Position {
        x: inside.x
            + LABEL
                .saturating_add(before)
                .min(inside.width.saturating_sub(1)),
        y: inside.y + 1,
    });
}
