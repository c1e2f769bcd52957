//! A delay line: two TUN devices, one in each namespace, and what is written to one comes out of
//! the other a while later, in order. For kernels without netem.

use std::{
    fs::File,
    io::{Read, Write, stdin},
    sync::mpsc::channel,
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow};
use nix::sched::{CloneFlags, setns};
use tun::{Device, Layer};

/// The longest packet.
const MTU: usize = 1500;

/// Runs until its input ends, or it is ended. Says `ready` when both devices are there.
pub fn run(namespaces: [&str; 2], delay: Duration) -> anyhow::Result<()> {
    let [one, two] = namespaces.map(device);
    let (mut one_out, mut one_in) = one?.split();
    let (mut two_out, mut two_in) = two?.split();
    println!("ready");
    std::thread::spawn(|| {
        let _ = stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    std::thread::scope(|scope| {
        let there = scope.spawn(move || carry(&mut one_out, &mut two_in, delay));
        let back = scope.spawn(move || carry(&mut two_out, &mut one_in, delay));
        for direction in [there, back] {
            direction.join().map_err(|_| anyhow!("it panicked"))??;
        }
        Ok(())
    })
}

/// Makes v0 in a namespace. The thread that does it stays there, so it is one of its own.
fn device(namespace: &str) -> anyhow::Result<Device> {
    let path = format!("/run/netns/{namespace}");
    let file = File::open(&path).context(path)?;
    let made = std::thread::spawn(move || {
        setns(file, CloneFlags::CLONE_NEWNET).context("entering a namespace")?;
        let mut config = tun::Configuration::default();
        config.tun_name("v0").layer(Layer::L3).mtu(MTU as u16).up();
        tun::create(&config).context("making a TUN device")
    });
    made.join().map_err(|_| anyhow!("it panicked"))?
}

fn carry(
    from: &mut impl Read,
    to: &mut (impl Write + Send),
    delay: Duration,
) -> anyhow::Result<()> {
    let (sender, receiver) = channel::<(Instant, Vec<u8>)>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for (due, packet) in receiver {
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                // A device that is down loses it, as a wire would.
                let _ = to.write(&packet);
            }
        });
        let mut buffer = [0; MTU + 4];
        loop {
            let len = from.read(&mut buffer)?;
            sender.send((Instant::now() + delay, buffer[..len].to_vec()))?;
        }
    })
}
