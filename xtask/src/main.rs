// SPDX-License-Identifier: MIT

//! `cargo xtask`: build the kernel programs, run the program, test everything.

mod apt;
mod bench;
mod build_ebpf;
mod check;
mod constants;
mod deny;
mod dist;
#[cfg(test)]
mod example;
mod kernel_tests;
mod kernels;
mod object_file;
mod packages;
mod pictures;
mod run;
mod shell;
mod sources;
mod steps;
mod test;
mod toolchain;
mod varlinkctl;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    bin_name = "cargo xtask",
    about = "What this repository does to itself"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build the kernel programs from source and write the committed object
    BuildEbpf {
        /// Write to this directory instead of chadthrottle/ebpf
        #[arg(long, value_name = "DIR")]
        output: Option<PathBuf>,
        /// Let the programs write lines for the log, for finding errors: run a debug build
        /// of chadthrottle with CHADTHROTTLE_EBPF_OBJECT set to the object, and -vv
        #[arg(long, requires = "output")]
        log: bool,
        /// Build nothing: say whether the committed object belongs to the sources
        #[arg(long, conflicts_with = "output")]
        check: bool,
    },
    /// Build the release binary and run it, through sudo where needed
    Run {
        /// Arguments for chadthrottle
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<std::ffi::OsString>,
    },
    /// Measure what it costs and how well it holds, and write it to docs/benchmarks.md
    Bench {
        #[command(subcommand)]
        bench: bench::Bench,
    },
    /// Boot older kernels and check there that the committed programs load and hold
    Kernels {
        /// Only this one, such as 5.10; may be given several times
        #[arg(long, value_name = "RELEASE")]
        only: Vec<String>,
    },
    /// Make packages in target/dist: .deb, .rpm, archives, bill of materials, hashes
    Dist {
        /// Install, upgrade and remove those that are there already, on Debian in virtual machines
        #[arg(long)]
        test: bool,
    },
    /// Licences, sources, versions and known faults of dependencies, by cargo-deny, which is fetched where it is missing
    Deny,
    /// Formatter, lints, unit tests and documentation: no root, no tools, about a minute
    Check,
    /// Move each constant of the policer and the levers far away, in a copy, and see whether a simulation minds
    Constants {
        /// Only those whose names contain this
        #[arg(long, value_name = "NAME")]
        only: Option<String>,
    },
    /// Draw the screen with made-up samples and write the pictures of the documentation to docs/pictures
    Pictures,
    /// Say where a varlinkctl is, and fetch one where the system has none: for CHADTHROTTLE_VARLINKCTL, which the
    /// kernel tests look for
    Varlinkctl,
    /// Run kernel tests as root, three at a time, with the tools that are there
    KernelTests {
        /// Only those whose names contain this, such as 'levers::'; may be given several times
        #[arg(value_name = "NAME")]
        names: Vec<String>,
    },
    /// What `test` has done at the lowest priority while kernel tests wait
    #[command(hide = true)]
    AtLeisure,
    /// Install what the tests need, rebuild the kernel programs, run all tests
    Test,
}

fn main() -> std::process::ExitCode {
    match carry_out() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nxtask: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}

fn carry_out() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::BuildEbpf { check: true, .. } => {
            build_ebpf::check()?;
            println!("the committed object belongs to the sources");
            Ok(())
        }
        Command::BuildEbpf { output, log, .. } => {
            let toolchain = toolchain::find_or_install()?;
            let directory = output.unwrap_or_else(build_ebpf::committed);
            let variant = if log {
                build_ebpf::Variant::Log
            } else {
                build_ebpf::Variant::Committed
            };
            build_ebpf::build(&toolchain, &directory, variant)?;
            println!("wrote {}", directory.display());
            Ok(())
        }
        Command::Run { arguments } => run::run(&arguments),
        Command::Bench { bench } => bench::bench(&bench),
        Command::Kernels { only } => kernels::kernels(&only),
        Command::Dist { test: false } => dist::dist(),
        Command::Dist { test: true } => dist::test(),
        Command::Deny => deny::deny(),
        Command::Check => check::check(),
        Command::Constants { only } => constants::constants(only.as_deref()),
        Command::Pictures => pictures::write(),
        Command::Varlinkctl => {
            println!("{}", varlinkctl::find_or_fetch()?.display());
            Ok(())
        }
        Command::KernelTests { names } => kernel_tests::kernel_tests(&names),
        Command::AtLeisure => test::at_leisure(),
        Command::Test => test::test(),
    }
}
