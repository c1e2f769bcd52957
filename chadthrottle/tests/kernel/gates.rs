//! Gates: near downloads, which no window is small enough for, lose next to nothing.

use std::time::Duration;

use chadthrottle::{engine::Handle, engine::LimitId, lifecycle::Session, process::key_of};

use crate::{
    audit::assert_nothing_left,
    iperf::{Client, MB, server, to_server},
    lab::Lab,
    lifecycle::in_this_process,
    limits::{both_ways, only},
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
    let carried = async || engine.carried(id).await.expect("the limit");
    let before = carried().await;
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    let after = carried().await;
    let passed = (after.passed.down_bytes - before.passed.down_bytes) as f64;
    let dropped = (after.dropped.down_bytes - before.dropped.down_bytes) as f64;
    Download {
        passed: passed / (rate * seconds),
        dropped: dropped / (passed + dropped),
    }
}

/// Downloads of that many connections at 1 MB/s, made before the limit or under it.
#[track_caller]
fn download(flows: u32, made_before: bool) -> Download {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let state = tempfile::tempdir().expect("a temporary directory");
    let lab = Lab::new();
    let _server = server(&lab, 5201);
    // What a window has offered already cannot be taken back, so it is kept small.
    let buffer = if made_before { "-w 128K" } else { "" };
    let arguments = to_server(5201, 12, &format!("-R -P {flows} {buffer}"));
    let mut client = Client::held(&lab, &arguments);
    let download = runtime.expect("a runtime").block_on(async {
        let session = Session::start(in_this_process(state.path())).await;
        let session = session.expect("an engine");
        if made_before {
            client.go();
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let key = key_of("/proc".as_ref(), client.pid()).expect("the client");
        let id = session.engine.set_limit(only(key), both_ways("1MB")).await;
        if !made_before {
            client.go();
        }
        // What a fast sender had on its way when the limit came, it has lost and sends again.
        tokio::time::sleep(Duration::from_secs(3)).await;
        let download = measure(&session.engine, id.expect("a limit"), 5.0, MB).await;
        assert!(session.stop());
        download
    });
    println!("{flows} flows, made before: {made_before}: {download:?}");
    download
}

/// With its window open it would lose a fifth, and the policer's pauses alone would let one of
/// eight have most.
#[test]
fn connections_that_are_made_under_a_limit_lose_next_to_nothing() {
    for flows in [1, 8] {
        let Download { passed, dropped } = download(flows, false);
        assert!((0.85..1.1).contains(&passed), "{flows} flows: {passed:.3}");
        assert!(dropped < 0.1, "{flows} flows: {dropped:.3}");
        assert_nothing_left();
    }
}

/// The units of their windows are too large to close them, so they pause by losing a few packets.
#[test]
fn a_connection_that_was_open_before_loses_little() {
    let Download { passed, dropped } = download(1, true);
    assert!((0.8..1.15).contains(&passed), "{passed:.3}");
    assert!(dropped < 0.13, "{dropped:.3}");
    assert_nothing_left();
}
