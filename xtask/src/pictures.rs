//! Pictures of the screen for the documentation.

use crate::shell::{cargo, root, run};

/// Has the test of the screen that knows whether they are stale write them.
pub fn write() -> anyhow::Result<()> {
    let mut test = cargo();
    test.args([
        "test",
        "--locked",
        "--quiet",
        "--package=chadthrottle",
        "--lib",
    ]);
    test.args([
        "--",
        "--exact",
        "tui::view::pictures::pictures_show_the_screen_as_it_is",
    ]);
    run(test.env("CHADTHROTTLE_WRITE_PICTURES", "1"))?;
    println!("wrote {}", root().join("docs/pictures").display());
    Ok(())
}
