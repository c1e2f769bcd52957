//! A bucket in debt: nothing takes it deeper than the bound, and nobody waits for longer than that.

use crate::{
    audit::assert_nothing_left,
    lab::{Lab, SERVER_V4},
    load,
    program::Chadthrottle,
};

#[test]
fn small_packets_are_held_too_and_an_exchange_goes_on_within_a_second_after_them() {
    for pace in ["", " --free"] {
        let lab = Lab::new();
        let _server = load::peer(&lab);
        let before = load::sent(&lab);
        let started = std::time::Instant::now();
        let exchanges = format!("exchanges {SERVER_V4}{pace}");
        let program = Chadthrottle::new();
        let output = load::limited(&program, "--up 100KB/s", &lab.client, &exchanges)
            .output()
            .expect("chadthrottle");
        let lasted = started.elapsed().as_secs_f64();
        let said = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        let took: f64 = said.trim().parse().unwrap_or_else(|_| panic!("{errors}"));
        // On a wire each packet has a header of 14 bytes more, of 108.
        let through = (load::sent(&lab) - before) / 1.13;
        println!("{exchanges}: {through} bytes in {lasted} s, ten exchanges: {took} s");
        assert!(through < 100e3 * lasted + 100e3, "{through} in {lasted} s");
        // A second of debt at most, and a probe timer or two.
        assert!(took < 3.0, "{took} s");
        assert_nothing_left();
    }
}
