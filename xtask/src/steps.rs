//! Steps one after the other, and how long each took.

use std::time::{Duration, Instant};

use anyhow::Context;

/// What has been done so far.
#[derive(Default)]
pub struct Steps {
    took: Vec<(&'static str, Duration)>,
}

impl Steps {
    /// Takes one.
    pub fn step<T>(
        &mut self,
        name: &'static str,
        action: impl FnOnce() -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        println!("\n== {name}");
        let started = Instant::now();
        let result = action().with_context(|| format!("step '{name}' failed"))?;
        self.took.push((name, started.elapsed()));
        Ok(result)
    }

    /// Says that all have been taken.
    pub fn summary(&self) {
        println!("\n== all passed");
        for (name, took) in &self.took {
            println!("{:7.1} s  {name}", took.as_secs_f64());
        }
        let total: Duration = self.took.iter().map(|(_, took)| *took).sum();
        println!("{:7.1} s  in all", total.as_secs_f64());
    }
}
