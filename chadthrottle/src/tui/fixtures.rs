//! Made-up samples for the tests of the screen.

use std::sync::Arc;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::layout::Size;

use super::{
    effect::Effect,
    state::State,
    update::{Action, update},
};
use crate::{
    config::Config,
    model::{
        Ability, Both, Connections, EngineInfo, Limit, LimitId, LimitSample, Origin, ProcessKey,
        ProcessSample, RuleSample, Snapshot, Traffic, testing,
    },
    units::Rate,
};

/// A process with rates in bytes a second.
pub fn process(pid: u32, name: &str, down: f64, up: f64) -> ProcessSample {
    let traffic = |rate: f64| Traffic {
        bytes_per_s: rate,
        bytes: rate as u64 * 60,
        ..Traffic::default()
    };
    ProcessSample {
        key: ProcessKey {
            pid,
            start_ticks: 100,
        },
        parent: 1,
        name: name.into(),
        exe: format!("/usr/bin/{name}").into(),
        command: format!("{name} --some argument").into(),
        uid: 1815,
        user: "ada".into(),
        cgroup: "/".into(),
        sockets: 1,
        traffic: Both { down, up }.map(traffic),
        loopback: Both::default(),
        limit: None,
        ended: false,
    }
}

/// Identity of a made-up process.
pub fn key(pid: u32) -> ProcessKey {
    ProcessKey {
        pid,
        start_ticks: 100,
    }
}

/// The latest message.
pub fn said(state: &State) -> &str {
    state.message.as_ref().map_or("", |message| &message.text)
}

/// A limit in bytes a second.
pub fn limit(down: Option<u64>, up: Option<u64>) -> Limit {
    Limit {
        down: down.map(Rate::clamped),
        up: up.map(Rate::clamped),
        ..Limit::NONE
    }
}

/// A sample of them, and of the limits that they have.
pub fn snapshot(processes: Vec<ProcessSample>) -> Arc<Snapshot> {
    let mut limits: Vec<LimitSample> = Vec::new();
    for process in &processes {
        let Some((id, limit)) = process.limit else {
            continue;
        };
        let found = limits.iter().position(|it| it.id == id);
        let at = found.unwrap_or_else(|| {
            limits.push(LimitSample {
                id,
                limit,
                unseen_bytes: 0,
                children: true,
                open_ended: false,
                members: 0,
                traffic: Both::default(),
                connections: Connections {
                    down: 2,
                    up: 0,
                    pausing: 0,
                },
            });
            limits.len() - 1
        });
        limits[at].members += 1;
        limits[at].traffic += process.traffic;
    }
    limits.sort_by_key(|limit| limit.id);
    Arc::new(Snapshot {
        sequence: 2,
        processes,
        limits,
        ..Snapshot::default()
    })
}

/// A browser, a limited download, an idle shell and one that has ended.
pub fn usual() -> Arc<Snapshot> {
    let mut wget = process(4242, "wget", 1_001_234.0, 21_000.0);
    wget.limit = Some((LimitId(1), limit(Some(1_000_000), None)));
    let mut ended = process(5000, "curl", 0.0, 0.0);
    ended.ended = true;
    snapshot(vec![
        process(900, "bash", 0.0, 0.0),
        process(3100, "firefox", 5_300_000.0, 120_000.0),
        wget,
        ended,
    ])
}

/// Where a limit comes from that the process `pid` has set.
pub fn origin(id: LimitId, pid: u32) -> Origin {
    Origin {
        pid,
        ..testing::origin(id.0)
    }
}

/// A rule that is on, for processes of its name.
pub fn rule(name: &str) -> RuleSample {
    RuleSample {
        name: name.into(),
        targets: vec![format!("name:{name}")],
        limit: limit(Some(1_000_000), None),
        share: "all".to_owned(),
        when: Vec::new(),
        on: Vec::new(),
        profiles: Vec::new(),
        is_on: true,
        why: "on".to_owned(),
        enabled: true,
        file: "/etc/chadthrottle/rules.toml".to_owned(),
        line: 1,
        limits: Vec::new(),
        members: 0,
        carried_today: Both::default(),
    }
}

/// A screen of that size that shows the sample.
pub fn state(width: u16, height: u16, snapshot: Arc<Snapshot>) -> State {
    let info = EngineInfo {
        sees_socket_use: true,
        levers: Ability {
            levers: true,
            hears_of_packets: true,
            shrinking: true,
        },
        attach: "link".to_owned(),
        cgroup: "/sys/fs/cgroup".into(),
    };
    let mut state = State::new(info, Size { width, height }, &Config::default());
    update(&mut state, Action::Snapshot(snapshot));
    state
}

/// Presses keys: a word types its letters, `<Name>` is a key. Gives the effects of the last one.
pub fn press(state: &mut State, keys: &[&str]) -> Vec<Effect> {
    let mut effects = Vec::new();
    for word in keys {
        let code = match *word {
            "<Enter>" => KeyCode::Enter,
            "<Esc>" => KeyCode::Esc,
            "<Tab>" => KeyCode::Tab,
            "<Up>" => KeyCode::Up,
            "<Down>" => KeyCode::Down,
            "<Left>" => KeyCode::Left,
            "<Right>" => KeyCode::Right,
            "<S-Tab>" => KeyCode::BackTab,
            "<PgUp>" => KeyCode::PageUp,
            "<PgDn>" => KeyCode::PageDown,
            "<Home>" => KeyCode::Home,
            "<End>" => KeyCode::End,
            "<Backspace>" => KeyCode::Backspace,
            "<Ctrl-C>" | "<Ctrl-P>" | "<Ctrl-U>" | "<Ctrl-Z>" => {
                let letter = word.as_bytes()[6].to_ascii_lowercase() as char;
                let key = KeyEvent::new(KeyCode::Char(letter), KeyModifiers::CONTROL);
                effects = update(state, Action::Key(key));
                continue;
            }
            letters => {
                for c in letters.chars() {
                    let key = KeyEvent::new(KeyCode::Char(c), KeyModifiers::NONE);
                    effects = update(state, Action::Key(key));
                }
                continue;
            }
        };
        effects = update(state, Action::Key(KeyEvent::new(code, KeyModifiers::NONE)));
    }
    effects
}
