//! The tables of boot storms, as netrootfs-numbers(7) and netrootfs-many(7) have them.

use anyhow::Result;

use super::trace::Trace;
use super::{LIMIT, Of, Storm};
use crate::speed::contender::Contender;
use crate::speed::tables::{Spread, cell};

/// A table for each kind of server: netrootfs, beside plain files of the same round.
pub fn print(storms: &[Storm]) -> Result<()> {
    for of in [Of::Nbd, Of::Tftp, Of::Http] {
        let storms: Vec<_> = storms.iter().filter(|storm| storm.server.of() == of).collect();
        if !storms.is_empty() {
            print_servers(of, &storms);
        }
    }
    if storms.iter().any(|storm| storm.server.of() == Of::Nbd) {
        let trace = Trace::recorded()?;
        print_costs(trace.bytes() + trace.loaded);
    }
    Ok(())
}

fn print_servers(of: Of, storms: &[&Storm]) {
    let (what, half, all, again) = match of {
        Of::Nbd => ("reads of a recorded boot", "half are up", "all are up", "unheard"),
        _ => ("kernel and initramfs", "half have all", "all have all", "asked again"),
    };
    println!("\nMachines at once, with {what}:\n");
    println!(
        "| server | machines | MB each | rounds | {half} | {all} | {again} | CPU a machine | server | netrootfs | time, to plain | \
         CPU, to plain |\n|---|---|---|---|---|---|---|---|---|---|---|---|"
    );
    let key = |storm: &Storm| (storm.server, storm.machines, storm.cold);
    let mut seen = Vec::new();
    for storm in storms {
        if !seen.contains(&key(storm)) {
            seen.push(key(storm));
            let row: Vec<_> = storms.iter().copied().filter(|other| key(other) == key(storm)).collect();
            print_row(&row);
        }
    }
}

/// Of the same server and as many machines.
fn print_row(row: &[&Storm]) {
    let of = |way: Contender| row.iter().copied().filter(move |storm| storm.contender == way);
    let spread = |value: &dyn Fn(&Storm) -> f64| Spread::of(of(Contender::Kernel).map(value));
    let median = |value: &dyn Fn(&Storm) -> f64| spread(value).map_or(0.0, |spread| spread.median);
    let mib = |value: &dyn Fn(&Storm) -> u64| median(&|storm| value(storm) as f64) / f64::from(1 << 20);
    let ratio = |value: fn(&Storm) -> Option<f64>| {
        let plain = |round| of(Contender::Plain).find(|storm| storm.round == round).and_then(value);
        let ratios = of(Contender::Kernel).filter_map(|storm| Some(value(storm)? / plain(storm.round)?));
        cell(Spread::of(ratios))
    };
    let machines = row[0].machines;
    let seconds = |value: fn(&Storm) -> Option<f64>| {
        let times: Option<Vec<f64>> = of(Contender::Kernel).map(value).collect();
        Spread::of(times?).map(|spread| format!("{:.2} s", spread.median))
    };
    let up = || format!("{:.0} after {} s", median(&|storm| storm.up as f64), LIMIT.as_secs());
    println!(
        "| {}{} | {machines} | {:.1} | {} | {} | {} | {:.0} | {:.3} s | {:.0} MiB | {:.0} MiB | {} | {} |",
        row[0].server.name(),
        if row[0].cold { ", cold" } else { "" },
        row[0].bytes as f64 / 1e6,
        of(Contender::Kernel).count(),
        seconds(|storm| storm.median).unwrap_or_default(),
        seconds(|storm| storm.last).unwrap_or_else(up),
        median(&|storm| storm.again as f64),
        median(&|storm| storm.cpu / machines as f64),
        mib(&|storm| storm.server_memory),
        mib(&|storm| storm.daemon_memory),
        ratio(|storm| storm.last),
        ratio(|storm| storm.last.map(|_| storm.cpu))
    );
}

/// What a network takes for it: N machines of B bytes each through S servers of rate R take N × B ÷ (S × R).
fn print_costs(bytes: u64) {
    /// What is left for data, of 1500 bytes in a frame of 1538 with its gaps.
    const USEFUL: f64 = 1448.0 / 1538.0;
    const GIGABIT: f64 = 1e9 / 8.0 * USEFUL;
    let mb = bytes as f64 / 1e6;
    println!("\nThe network's part, with kernel and initramfs {mb:.1} MB a machine:\n");
    println!(
        "| machines | all sent at 1 Gbit/s | at 10 Gbit/s | servers for two minutes, 1 Gbit/s | 10 Gbit/s |"
    );
    println!("|---|---|---|---|---|");
    for machines in [50, 200, 500, 2000] {
        let seconds = |gigabits: f64| f64::from(machines) * bytes as f64 / (GIGABIT * gigabits);
        let servers = |gigabits: f64| (seconds(gigabits) / 120.0).ceil();
        println!(
            "| {machines} | {:.0} s | {:.0} s | {} | {} |",
            seconds(1.0),
            seconds(10.0),
            servers(1.0),
            servers(10.0)
        );
    }
}
