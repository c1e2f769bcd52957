//! Gates: near downloads, which no window is small enough for, lose next to nothing.

use std::time::Duration;

use chadthrottle::{engine::Handle, model::LimitId, process::key_of};
use chadthrottle_common::tuning::gate::CLOSED_WINDOW;

use crate::{
    audit::assert_nothing_left,
    client::Client as Bystander,
    following::Limit,
    iperf::{Client, MB, server, to_server},
    lab::Lab,
    lifecycle::with_engine,
    limits::{both_ways, only},
    program::Chadthrottle,
    traffic::Traffic,
};

/// What a limit's downloads have made of a while.
#[derive(Debug)]
struct Download {
    /// Of the limit.
    passed: f64,
    /// Of what arrived.
    dropped: f64,
}

async fn measure(engine: &Handle, id: LimitId, seconds: f64, rate: f64) -> Download {
    let carried = async || engine.commands().carried(id).await.expect("the limit");
    let before = carried().await;
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    let after = carried().await;
    let passed = (after.passed.down - before.passed.down) as f64;
    let dropped = (after.dropped.down - before.dropped.down) as f64;
    Download {
        passed: passed / (rate * seconds),
        dropped: dropped / (passed + dropped),
    }
}

#[track_caller]
fn assert_shared_evenly(connections: &[f64]) {
    let least = connections.iter().copied().fold(f64::INFINITY, f64::min);
    let most = connections.iter().copied().fold(0.0, f64::max);
    assert!(most < 2.0 * least, "{connections:?}");
}

/// Who asked for the connections of the process that is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Itself,
    TheOtherEnd,
}

/// Downloads of that many connections at 1 MB/s, made under the limit.
#[track_caller]
fn download(flows: u32, asked: Asked) -> Download {
    let lab = Lab::new();
    let server = server(&lab, 5201);
    let reverse = if asked == Asked::Itself { "-R" } else { "" };
    let arguments = to_server(5201, 12, &format!("{reverse} -P {flows}"));
    let mut client = Client::held(&lab, &arguments);
    let limited = match asked {
        Asked::Itself => client.pid(),
        Asked::TheOtherEnd => server.pid(),
    };
    let download = with_engine(async |engine| {
        let key = key_of("/proc".as_ref(), limited).expect("it runs");
        let id = engine
            .commands()
            .set_limit(only(key), both_ways("1MB"))
            .await;
        client.go();
        // The beginning does not count.
        tokio::time::sleep(Duration::from_secs(3)).await;
        measure(engine, id.expect("a limit"), 5.0, MB).await
    });
    println!("{flows} flows, asked for by {asked:?}: {download:?}");
    download
}

/// With windows open they would lose a fifth, and with the policer's pauses alone one of eight would
/// have most.
#[test]
fn connections_that_are_asked_for_under_a_limit_lose_next_to_nothing() {
    for (flows, most) in [(1, 0.1), (8, 0.05)] {
        let Download { passed, dropped } = download(flows, Asked::Itself);
        assert!((0.85..1.1).contains(&passed), "{flows} flows: {passed:.3}");
        assert!(dropped < most, "{flows} flows: {dropped:.3}");
        assert_nothing_left();
    }
}

/// What they were asked for before their windows closed is not refused because the limit is used up meanwhile: each would
/// wait for its timer, be asked for as much, and lose one packet in three for seconds. And the first has not all that is
/// saved, which the others would owe for.
#[test]
fn connections_that_begin_together_under_a_slow_limit_lose_next_to_nothing() {
    for (flows, limit, rate) in [(8, "100KB", 100e3), (4, "500KB", 500e3), (8, "1MB", MB)] {
        let lab = Lab::new();
        let _server = server(&lab, 5201);
        let arguments = to_server(5201, 6, &format!("-R -P {flows}"));
        let mut client = Client::held(&lab, &arguments);
        let begun = with_engine(async |engine| {
            let key = key_of("/proc".as_ref(), client.pid()).expect("it runs");
            let id = engine
                .commands()
                .set_limit(only(key), both_ways(limit))
                .await;
            client.go();
            let begun = measure(engine, id.expect("a limit"), 5.0, rate).await;
            tokio::time::sleep(Duration::from_secs(2)).await;
            begun
        });
        let connections = client.report().connections();
        println!("{flows} of {limit}: {begun:?}, {connections:?}");
        // The bound's 64 KB may pass at first.
        assert!((0.85..1.25).contains(&begun.passed), "{begun:?}");
        assert!(begun.dropped < 0.02, "{begun:?}");
        assert_shared_evenly(&connections);
        assert_nothing_left();
    }
}

/// Their windows are large, and cannot be taken back: the policer holds them. It refused what came while
/// the limit was used up: one had everything, and most nothing, while their senders' timers doubled. And
/// what one received at once when it was fast had used the limit up for three seconds.
#[test]
fn downloads_that_were_there_before_share_evenly_and_at_once() {
    const LIMIT: f64 = 200e3;
    let lab = Lab::new();
    let _server = server(&lab, 5201);
    // The first four seconds do not count.
    let mut client = Client::held(&lab, &to_server(5201, 8, "-R -P 8 -O 4 -C cubic"));
    let (first, later) = with_engine(async |engine| {
        let key = key_of("/proc".as_ref(), client.pid()).expect("it runs");
        client.go();
        // In which they get fast.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let id = engine
            .commands()
            .set_limit(only(key), both_ways("200KB"))
            .await;
        let id = id.expect("a limit");
        let first = measure(engine, id, 2.5, LIMIT).await;
        let later = measure(engine, id, 8.0, LIMIT).await;
        // Until they have ended: what they would carry without the limit does not count.
        tokio::time::sleep(Duration::from_secs(1)).await;
        (first, later)
    });
    let connections = client.report().connections();
    println!("{first:?}, {later:?}, {connections:?}");
    assert!(first.passed > 0.4, "{first:?}");
    assert!((0.8..1.1).contains(&later.passed), "{later:?}");
    assert_shared_evenly(&connections);
    assert_nothing_left();
}

/// A window that is closed at the moment in which its connection needs no gate any more is ours, and
/// not what its program has made of it.
#[test]
fn a_window_that_was_closed_is_put_back_to_what_it_was() {
    let mut client = Bystander::start();
    with_engine(async |engine| {
        let key = key_of("/proc".as_ref(), client.pid()).expect("the client");
        let slow = engine
            .commands()
            .set_limit(only(key), both_ways("1MB"))
            .await;
        let id = slow.expect("a limit");
        client.connect("connect");
        client.ask("fetch");
        // It is closed several times a second, so each round comes at another moment of that.
        for round in 0..40 {
            tokio::time::sleep(Duration::from_millis(260 + 7 * (round % 7))).await;
            let change = async |rate| engine.commands().change_limit(id, both_ways(rate)).await;
            change("100MB").await.expect("it is set");
            let window = client.options()[0].window;
            assert!(window > CLOSED_WINDOW, "round {round}: {window}");
            change("1MB").await.expect("it is set");
        }
        engine
            .commands()
            .remove_limit(id)
            .await
            .expect("it was set");
        let window = client.options()[0].window;
        assert!(window > 30_000, "{window} bytes");
    });
    drop(client);
    assert_nothing_left();
}

/// The units of their windows are too large to close them, so they pause by losing a few packets.
#[test]
fn a_connection_that_is_accepted_under_a_limit_loses_little() {
    let Download { passed, dropped } = download(1, Asked::TheOtherEnd);
    assert!((0.85..1.1).contains(&passed), "{passed:.3}");
    assert!(dropped < 0.1, "{dropped:.3}");
    assert_nothing_left();
}

/// A process that is limited, and one at the other end that its connections go to.
struct TwoWays {
    // In the order in which they end.
    limit: Limit,
    client: Traffic,
    far: Traffic,
    _program: Chadthrottle,
    _lab: Lab,
}

impl TwoWays {
    /// Both run these scenarios; the client begins under the limit.
    #[track_caller]
    fn start(far: &str, client: &str, down: &str) -> Self {
        let lab = Lab::new();
        let far = Traffic::start(&lab.server, far);
        far.says("ready");
        let program = Chadthrottle::new();
        let mut client = Traffic::start(&lab.client, client);
        client.says("here");
        let limit = Limit::start(&program, &format!("{} --down {down}", client.pid()));
        client.go_on();
        Self {
            far,
            client,
            limit,
            _program: program,
            _lab: lab,
        }
    }
}

/// A download goes on beside what its process sends by the same connection, and is there again when the limit ends: what
/// it sends must not keep the other end from asking for room.
#[track_caller]
fn goes_on_beside_what_is_sent(quiet: u32) {
    let two = TwoWays::start("pour", &format!("chatter {quiet} 0.05"), "200KB");
    let client = &two.client;
    let seconds: Vec<u64> = (0..10).map(|_| client.says("second").down).collect();
    println!("sends after {quiet} s, bytes that came in each second: {seconds:?}");
    // The first seconds have what was on its way when the limit came.
    for pair in seconds[3..].windows(2) {
        let came = pair.iter().sum::<u64>();
        assert!((150_000..900_000).contains(&came), "{seconds:?}");
    }
    drop(two.limit);
    client.says("second");
    client.says("second");
    let freely = client.says("second").down;
    println!("and without the limit: {freely}");
    assert!(freely > 2_000_000, "{freely}");
    assert_nothing_left();
}

#[test]
fn a_download_goes_on_beside_what_its_connection_sends() {
    goes_on_beside_what_is_sent(0);
}

#[test]
fn a_download_goes_on_when_its_connection_begins_to_send() {
    goes_on_beside_what_is_sent(4);
}

/// The kernel keeps a closed window without units closed until there is room for more than a segment.
#[test]
fn downloads_with_small_receive_buffers_go_on_when_their_connections_begin_to_send() {
    const CONNECTIONS: usize = 8;
    let two = TwoWays::start("pour", &format!("chatters {CONNECTIONS} 8192 10"), "200KB");
    let waited: Vec<u64> = (0..CONNECTIONS)
        .map(|_| two.client.says("waited").down)
        .collect();
    println!("the longest that each connection waited, in ms: {waited:?}");
    assert!(waited.iter().all(|ms| *ms < 3_000), "{waited:?}");
    drop(two.limit);
    assert_nothing_left();
}

/// A reset is sent once: whoever has nothing to send would wait for ever.
#[test]
fn the_other_end_hears_that_a_connection_is_gone() {
    const CONNECTIONS: usize = 24;
    let two = TwoWays::start("answer", &format!("aborts {CONNECTIONS}"), "50KB");
    two.client.says("gone");
    for _ in 0..CONNECTIONS {
        two.far.says("ended");
    }
    drop(two.limit);
    assert_nothing_left();
}
