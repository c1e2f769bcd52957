//! What samples change, and what becomes of them while the view is frozen.

use super::*;

#[test]
fn a_frozen_view_shows_nothing_new_and_catches_up() {
    let mut state = state(80, 24, usual());
    press(&mut state, &["p"]);
    let samples = state.history.samples;
    for _ in 0..200 {
        let sample = snapshot(vec![process(1, "new", 1.0, 1.0)]);
        update(&mut state, Action::Snapshot(sample));
    }
    assert_eq!(order(&state), [3100, 4242, 900, 5000]);
    // Limits can be set on what is seen.
    let effects = press(&mut state, &["<Enter>", "1MB", "<Enter>"]);
    assert!(matches!(&effects[..], [Effect::SetLimit { .. }]));
    press(&mut state, &["p"]);
    assert_eq!(order(&state), [1, 3100, 4242, 900]);
    assert!(state.rows[1..].iter().all(|row| row.ended));
    // All of it is in the graphs, once and in order.
    assert_eq!(state.history.samples, samples + 200);
    let rates = [199, 200].map(|age| state.history.total.at(age).unwrap().rate(Direction::Down));
    assert_eq!(rates, [1.0, 5_300_000.0 + 1_001_234.0]);
}

#[test]
fn the_engine_is_asked_for_its_past_when_the_screen_opens_and_when_another_one_is_there() {
    let mut state = state(80, 24, usual());
    let mut asks = |action| update(&mut state, action).contains(&Effect::AskPast);
    let sample = || Action::Snapshot(snapshot(vec![process(1, "a", 1.0, 1.0)]));
    // The fixture has shown the first sample.
    assert!(!asks(sample()));
    assert!(!asks(Action::Past(History::default())));
    let reopened = Action::Reopened {
        renamed: Vec::new(),
        message: Message::error("it is there again"),
    };
    assert!(!asks(reopened));
    assert_eq!([asks(sample()), asks(sample())], [true, false]);
}

#[test]
fn a_question_is_closed_when_there_is_nothing_left_to_ask_about() {
    let free = || snapshot(vec![process(1, "a", 0.0, 0.0)]);
    for (key, words) in [
        ("q", "no limit ends with this screen any more: q quits"),
        ("X", "all limits have ended"),
    ] {
        let mut state = state(80, 24, usual());
        press(&mut state, &[key]);
        update(&mut state, Action::Snapshot(usual()));
        assert!(matches!(state.mode, Mode::Confirm(_)), "{key}");
        assert_eq!(update(&mut state, Action::Snapshot(free())), []);
        assert_eq!((&state.mode, said(&state)), (&Mode::Normal, words));
    }
}

#[test]
fn other_ends_are_asked_for_at_every_other_sample_where_there_is_room_for_them() {
    let asks = |state: &mut State| {
        let effects = update(state, Action::Snapshot(usual()));
        let mut requests = effects.into_iter().filter_map(|effect| match effect {
            Effect::Inspect(request) => Some(request),
            _ => None,
        });
        requests.find(|request| request.purpose == Purpose::Table)
    };
    let mut wide = state(220, 50, usual());
    let asked: Vec<_> = (0..4).map(|_| asks(&mut wide)).collect();
    assert_eq!(asked.iter().filter(|it| it.is_some()).count(), 2);
    // Those with sockets, the busiest first.
    let request = asked.into_iter().flatten().next().unwrap();
    assert_eq!(request.processes, [key(3100), key(4242), key(900)]);
    for keys in [&["4"][..], &["1", "R"], &["1", "d"], &["1", "p"]] {
        press(&mut wide, keys);
        assert!((0..4).all(|_| asks(&mut wide).is_none()), "{keys:?}");
    }
    let mut narrow = state(80, 24, usual());
    assert!((0..4).all(|_| asks(&mut narrow).is_none()));
}

#[test]
fn the_past_of_the_engine_that_comes_during_a_pause_is_in_the_graphs_once() {
    let mut state = state(80, 24, usual());
    let push = |sequence, down| {
        let mut sample = Snapshot::clone(&snapshot(vec![process(1, "a", down, 0.0)]));
        sample.sequence = sequence;
        Action::Snapshot(sample.into())
    };
    press(&mut state, &["p"]);
    let frozen = state.history.samples;
    update(&mut state, push(3, 30.0));
    update(&mut state, push(4, 40.0));
    let past = History {
        sequence: 3,
        seconds: [1, 2, 30]
            .map(|down| crate::model::Both { down, up: 0 })
            .into(),
    };
    update(&mut state, Action::Past(past));
    assert_eq!(state.history.samples, frozen);
    press(&mut state, &["p"]);
    let rates = [3, 2, 1, 0].map(|age| {
        state
            .history
            .total
            .at(age)
            .map(|it| it.rate(Direction::Down))
    });
    assert_eq!(rates, [1.0, 2.0, 30.0, 40.0].map(Some));
}
