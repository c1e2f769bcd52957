//! What has passed by when, and whether that is within the bound.

use std::{
    fs::{self, File},
    io::{Read, Seek, SeekFrom},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{JoinHandle, sleep, spawn},
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow};
use nix::sched::{CloneFlags, setns};

/// Between two looks at the counters.
const INTERVAL: Duration = Duration::from_millis(20);
/// An interface counts it with each packet.
const ETHERNET_HEADER: u64 = 14;
/// What a bare acknowledgement is at least, in IP bytes, by the version of IP. No limit charges it.
const ACKNOWLEDGEMENT_V4: u64 = 52;
const ACKNOWLEDGEMENT_V6: u64 = 72;

/// The least that may pass at once, in bytes, however slow the limit is.
const LEAST_BURST: f64 = 65_536.0;
/// Of what the limit allows, for what it does not charge: acknowledgements, and ticks of clocks.
const TOLERANCE: f64 = 0.1;

/// Bytes that had passed by these instants, in seconds. Both only grow.
#[derive(Clone, Default)]
pub struct Series(pub Vec<(f64, f64)>);

impl Series {
    pub fn bytes(&self) -> f64 {
        match (self.0.first(), self.0.last()) {
            (Some((_, first)), Some((_, last))) => last - first,
            _ => 0.0,
        }
    }

    /// What came from one instant to another.
    pub fn between(&self, from: f64, until: f64) -> Self {
        let within = |(time, _): &&(f64, f64)| (from..until).contains(time);
        Self(self.0.iter().filter(within).copied().collect())
    }

    /// The most that passed in any time beyond what the limit gives for that time.
    fn most_ahead(&self, limit: f64) -> f64 {
        let (mut least, mut most) = (f64::INFINITY, 0.0_f64);
        for (time, bytes) in &self.0 {
            let ahead = bytes - limit * time;
            least = least.min(ahead);
            most = most.max(ahead - least);
        }
        most
    }

    /// Whether in any time at most `limit` × that time and one second of it passed, or 64 KB.
    pub fn is_within(&self, limit: f64) -> bool {
        let lasted = match (self.0.first(), self.0.last()) {
            (Some((first, _)), Some((last, _))) => last - first,
            _ => 0.0,
        };
        let burst = limit.max(LEAST_BURST);
        self.most_ahead(limit) <= burst + TOLERANCE * (burst + limit * lasted)
    }
}

/// Watches what leaves by a namespace's interface v0 and is no bare acknowledgement, in IP bytes.
pub struct Wire {
    over: Arc<AtomicBool>,
    thread: JoinHandle<anyhow::Result<Series>>,
}

impl Wire {
    /// Instants are seconds since `began`; `peer` is the namespace at the other end, which counts the
    /// acknowledgements that arrive.
    pub fn watch(namespace: &str, peer: &str, is_v6: bool, began: Instant) -> anyhow::Result<Self> {
        let acknowledgement = if is_v6 {
            ACKNOWLEDGEMENT_V6
        } else {
            ACKNOWLEDGEMENT_V4
        };
        let [here, there] = [namespace, peer].map(|name| {
            let path = format!("/run/netns/{name}");
            File::open(&path).context(path)
        });
        let (here, there) = (here?, there?);
        let over = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&over);
        // The thread that enters the namespace stays there.
        let thread = spawn(move || {
            setns(there, CloneFlags::CLONE_NEWNET).context("entering a namespace")?;
            // It stays that of this namespace.
            let mut arrived = File::open("/proc/thread-self/net/netstat")?;
            setns(here, CloneFlags::CLONE_NEWNET).context("entering a namespace")?;
            let mut series = Series::default();
            let mut most = 0;
            while !ended.load(Relaxed) {
                // Read first: none is taken off before it was counted.
                let acknowledgements = pure_acknowledgements(&mut arrived)?;
                let bytes = sent()?.saturating_sub(acknowledgements * acknowledgement);
                most = bytes.max(most);
                series.0.push((began.elapsed().as_secs_f64(), most as f64));
                sleep(INTERVAL);
            }
            Ok(series)
        });
        Ok(Self { over, thread })
    }

    pub fn end(self) -> anyhow::Result<Series> {
        self.over.store(true, Relaxed);
        let series = self.thread.join();
        series.map_err(|_| anyhow!("watching an interface"))?
    }
}

/// IP bytes that have left by v0 of this thread's namespace.
fn sent() -> anyhow::Result<u64> {
    let text = fs::read_to_string("/proc/thread-self/net/dev")?;
    let numbers = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("v0:"))
        .context("no v0")?;
    let mut sent = numbers.split_whitespace().skip(8).map(str::parse::<u64>);
    let (Some(Ok(bytes)), Some(Ok(packets))) = (sent.next(), sent.next()) else {
        return Err(anyhow!("not understood: {numbers}"));
    };
    Ok(bytes.saturating_sub(packets * ETHERNET_HEADER))
}

/// `TCPPureAcks` of a namespace: TCP packets without data that have arrived.
fn pure_acknowledgements(netstat: &mut File) -> anyhow::Result<u64> {
    let mut text = String::new();
    netstat.seek(SeekFrom::Start(0))?;
    netstat.read_to_string(&mut text)?;
    let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:"));
    let (Some(names), Some(values)) = (lines.next(), lines.next()) else {
        return Err(anyhow!("no TcpExt"));
    };
    let (_, value) = names
        .split_whitespace()
        .zip(values.split_whitespace())
        .find(|(name, _)| *name == "TCPPureAcks")
        .context("no TCPPureAcks")?;
    Ok(value.parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many bytes each tenth of a second, for five seconds.
    fn steady(bytes: f64) -> Series {
        Series(
            (0..=50)
                .map(|tenth| (f64::from(tenth) / 10.0, f64::from(tenth) * bytes))
                .collect(),
        )
    }

    #[test]
    fn a_second_of_the_limit_may_pass_at_once_but_only_once() {
        let mut series = steady(10_000.0);
        for (_, bytes) in series.0.iter_mut().filter(|(time, _)| *time > 2.0) {
            *bytes += 90_000.0;
        }
        assert!(series.is_within(100_000.0));
        for (_, bytes) in series.0.iter_mut().filter(|(time, _)| *time > 4.0) {
            *bytes += 90_000.0;
        }
        assert!(!series.is_within(100_000.0));
        assert!(series.between(4.5, 9.0).is_within(100_000.0));
    }

    #[test]
    fn a_slow_limit_may_be_ahead_by_64_kb() {
        let burst = |bytes| Series(vec![(0.0, 0.0), (0.1, bytes)]);
        assert!(burst(60_000.0).is_within(1_000.0));
        assert!(!burst(80_000.0).is_within(1_000.0));
    }

    #[test]
    fn half_as_much_again_is_not_within_it() {
        assert!(steady(10_000.0).is_within(100_000.0));
        assert!(!steady(15_000.0).is_within(100_000.0));
    }
}
