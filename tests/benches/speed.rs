//! How fast netrootfs serves, beside the plain file and other ways to get at a file inside an ISO: `scripts/bench`.
//!
//! All contenders read the same bytes in one run, one after the other within each round and in the other order in the
//! next, so that a machine that gets slower does so for all. What is compared is each round's ratio to its plain file.
//! Needs root, to empty the page cache.

// A benchmark may end in a panic, as a test may.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::unwrap_used, missing_docs)]

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};

mod speed {
    pub mod bootable;
    pub mod contender;
    pub mod machine;
    pub mod memory;
    pub mod meter;
    pub mod place;
    pub mod plot;
    pub mod processes;
    pub mod rounds;
    pub mod scale;
    pub mod served;
    pub mod storm;
    pub mod tables;
    pub mod workload;
}

use speed::contender::Contender;
use speed::machine::Machine;
use speed::place::Place;
use speed::storm::{Of, Wanted};
use speed::tables::Results;

/// Measures netrootfs beside the plain file, fuseiso and nbdkit; prints tables, writes JSON and a plot.
#[derive(Debug, Parser)]
#[command(name = "scripts/bench")]
struct Options {
    /// Small sizes and one round, to see that it works
    #[arg(long)]
    quick: bool,
    /// MiB of the root image [default: 2048]
    #[arg(long, value_name = "MIB")]
    size: Option<u64>,
    /// Rounds [default: 5]
    #[arg(long)]
    rounds: Option<usize>,
    /// Only these parts; may be given several times
    #[arg(long, value_enum)]
    only: Vec<Part>,
    /// Only workloads, or servers of a storm, whose name contains this, such as "cold, 16 readers"
    #[arg(long, value_name = "TEXT", default_value = "")]
    name: String,
    /// Only storms of these; may be given several times
    #[arg(long, value_enum, value_name = "SERVERS")]
    storm_of: Vec<Of>,
    /// Machines of a storm [default: 1, 16, 64, 256, 1000]
    #[arg(long, value_name = "NUMBER", value_delimiter = ',')]
    machines: Vec<usize>,
    /// Where the ISO and its copies lie meanwhile
    #[arg(long, value_name = "DIR", default_value = "/var/tmp")]
    work: PathBuf,
    /// Where JSON and, unless it is whole, the plot go
    #[arg(long, value_name = "DIR", default_value = env!("CARGO_TARGET_TMPDIR"))]
    out: PathBuf,
    /// Added by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

/// A part that can be measured by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Reads of the files
    Direct,
    /// Reads through an NBD server
    Nbd,
    /// Memory after an image was read
    Memory,
    /// From a new ISO to a boot
    Bootable,
    /// Growth with the number of ISOs
    Scale,
    /// Many machines that boot at once
    Storm,
}

/// Where netrootfs-numbers(7) takes its plot from.
const PLOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/benches/speed.svg");

fn main() -> Result<()> {
    let options = Options::parse();
    ensure!(rustix::process::geteuid().is_root(), "needs root, to empty the page cache");
    let wanted = |part: Part| options.only.is_empty() || options.only.contains(&part);
    let mib = options.size.unwrap_or(if options.quick { 128 } else { 2048 });
    let count = options.rounds.unwrap_or(if options.quick { 1 } else { 5 });
    let machine = Machine::of_now(mib, count);
    println!("{machine}\n");

    let contenders = Contender::with_files();
    let place = Place::new(&options.work, mib << 20).context("the ISO and its copies")?;
    let mut results = Results::new(machine);
    let limit = Duration::from_millis(if options.quick { 200 } else { 1000 });
    if wanted(Part::Direct) {
        results.samples.extend(speed::rounds::direct(&place, &contenders, &options.name, count, limit)?);
    }
    if wanted(Part::Nbd) {
        results.samples.extend(speed::rounds::nbd(&place, &contenders, &options.name, count, limit)?);
    }
    if wanted(Part::Memory) {
        results.memory = speed::memory::measure(&place, &contenders)?;
    }
    if wanted(Part::Bootable) {
        results.bootable = speed::bootable::measure(&place, count.min(3))?;
    }
    if wanted(Part::Storm) {
        let few: &[usize] = if options.quick { &[1, 4] } else { &[1, 16, 64, 256, 1000] };
        let machines = if options.machines.is_empty() { few } else { &options.machines };
        let (of, name) = (&options.storm_of, &options.name);
        results.storms = speed::storm::measure(&place, &Wanted { of, name, machines, rounds: count })?;
    }
    drop(place);
    if wanted(Part::Scale) {
        results.scale = speed::scale::measure(if options.quick { &[1, 10] } else { &[1, 10, 100, 1000] });
    }

    results.print()?;
    let json = options.out.join("speed.json");
    std::fs::write(&json, serde_json::to_string_pretty(&results)?)?;
    let whole = !options.quick && options.only.is_empty() && options.name.is_empty();
    let plot = if whole { PathBuf::from(PLOT) } else { options.out.join("speed.svg") };
    std::fs::write(&plot, speed::plot::render(&results))?;
    println!("\nEvery sample: {}. Plot: {}.", json.display(), plot.display());
    Ok(())
}
