//! Every view of the screen against a running engine, and the ways from one to another.

use std::net::{TcpListener, TcpStream};

use crate::{audit::assert_nothing_left, engine::limits, program::Chadthrottle, pty::Screen};

#[test]
fn every_view_shows_a_connection_whose_process_is_limited_and_let_go() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let address = listener.local_addr().expect("its address");
    let _stream = TcpStream::connect(address).expect("a connection");
    let (us, port) = (std::process::id().to_string(), address.port());
    let program = Chadthrottle::new();
    let mut screen = Screen::open(&program, "");
    screen.shows("what to do first", |text| {
        text.contains("Up and Down choose")
    });
    // Of all processes the one with the connection, by what only its sockets tell.
    screen.press(&format!("/port:{port}\r"));
    let row = |text: &str| {
        let mut lines = text.lines().map(str::to_owned);
        lines.find(|line| line.split_whitespace().any(|word| word == us))
    };
    screen.shows("its row, and the views", |text| {
        row(text).is_some() && text.contains("4 connections  5 units")
    });
    screen.press("4");
    screen.shows("its connection", |text| {
        text.contains(&format!("127.0.0.1:{port}")) && text.contains("connections by")
    });
    screen.press("\r1MB\r");
    screen.shows("that it is limited, and how that is taken back", |text| {
        text.contains("down 1 MB/s") && text.contains("u takes it back")
    });
    assert_eq!(limits(&program)[0]["down_bytes_per_s"], 1_000_000);
    for (key, words) in [
        ("\t", "unit by"),
        ("\t", "user by"),
        ("1", "process by"),
        ("3", "as a tree"),
        ("2", "program by"),
    ] {
        screen.press(key);
        screen.shows(words, |text| {
            text.contains(words) && text.contains(" 1 MB/s")
        });
    }
    screen.press("R");
    screen.shows("the rules", |text| text.contains(" on"));
    // From there the palette takes it back.
    screen.press(":undo\r");
    screen.shows("that it is taken back", |text| {
        text.contains(": limit removed")
    });
    assert_eq!(limits(&program), [] as [serde_json::Value; 0]);
    screen.shows("no limit", |text| text.contains("no limits"));
    screen.press("?");
    screen.shows("the help", |text| text.contains("step by step"));
    screen.press("\t\t");
    screen.shows("its page on filters", |text| text.contains("remote:10.0."));
    screen.press("\x1b");
    screen.shows("no help", |text| !text.contains("remote:10.0."));
    screen.press("q");
    screen.ends();
    assert_nothing_left();
}
