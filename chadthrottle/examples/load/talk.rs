//! What a kernel test and its load say to each other, as the tests' `Traffic` reads it.

use std::io::stdin;

use serde_json::json;

/// A line for the test. What is no count of IP bytes says so at its place.
pub fn say(who: &str, down: u64, up: u64) {
    let pid = std::process::id();
    println!(
        "{}",
        json!({ "who": who, "pid": pid, "down": down, "up": up })
    );
}

/// Waits until the test says go on, or has ended.
pub fn wait() {
    let _ = stdin().read_line(&mut String::new());
}
