//! Medians, spreads and ratios of what was measured, and the tables of them.

use std::collections::BTreeSet;

use anyhow::Result;
use serde::Serialize;

use crate::speed::bootable::Bootable;
use crate::speed::contender::Contender;
use crate::speed::machine::Machine;
use crate::speed::memory::Memory;
use crate::speed::meter::Sample;
use crate::speed::rounds::Measured;
use crate::speed::scale::Growth;
use crate::speed::storm::{self, Storm};
use crate::speed::workload::{Workload, size};

/// All that was measured.
#[derive(Debug, Serialize)]
pub struct Results {
    pub machine: Machine,
    pub samples: Vec<Measured>,
    pub memory: Vec<Memory>,
    pub bootable: Vec<Bootable>,
    pub scale: Vec<Growth>,
    pub storms: Vec<Storm>,
}

/// The middle of several values, and the outermost.
#[derive(Debug, Clone, Copy)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    /// `None` of no values.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let median = (values[(values.len() - 1) / 2] + values[values.len() / 2]) / 2.0;
        Some(Self { median, min, max })
    }
}

impl Results {
    pub fn new(machine: Machine) -> Self {
        let (samples, memory, bootable, scale, storms) = Default::default();
        Self { machine, samples, memory, bootable, scale, storms }
    }

    /// The workloads that were run, in their order.
    pub fn workloads(&self) -> Vec<Workload> {
        let mut seen = BTreeSet::new();
        let all = self.samples.iter().map(|measured| measured.workload);
        all.filter(|workload| seen.insert(*workload)).collect()
    }

    /// Those that are compared with the plain file.
    pub fn contenders(&self) -> Vec<Contender> {
        let all: BTreeSet<_> = self.samples.iter().map(|measured| measured.contender).collect();
        all.into_iter().filter(|contender| *contender != Contender::Plain).collect()
    }

    /// The rate of a contender as part of the plain file's in the same round.
    pub fn ratio(&self, workload: Workload, contender: Contender) -> Option<Spread> {
        let plain: Vec<_> = self.of(workload, Contender::Plain).collect();
        let ratio = |measured: &Measured| {
            let plain = plain.iter().find(|plain| plain.round == measured.round)?;
            Some(measured.sample.rate() / plain.sample.rate())
        };
        Spread::of(self.of(workload, contender).filter_map(ratio))
    }

    fn of(&self, workload: Workload, contender: Contender) -> impl Iterator<Item = &Measured> {
        let is = move |one: &&Measured| one.workload == workload && one.contender == contender;
        self.samples.iter().filter(is)
    }

    fn spread(&self, workload: Workload, contender: Contender, value: fn(&Sample) -> f64) -> Option<Spread> {
        Spread::of(self.of(workload, contender).map(|measured| value(&measured.sample)))
    }

    /// Every workload with its spread, and then what goes into the manual.
    pub fn print(&self) -> Result<()> {
        if !self.samples.is_empty() {
            println!(
                "## Every workload\n\nThe plain file in GB/s, the others as part of it: median (least–most).\n"
            );
            self.print_every();
        }
        println!("\n## For src/manual/netrootfs-numbers.7.md\n\n{}.\n", self.machine);
        if !self.samples.is_empty() {
            self.print_short();
            self.print_cpu();
        }
        self.print_memory();
        self.print_bootable();
        self.print_scale();
        storm::table::print(&self.storms)
    }

    fn print_every(&self) {
        let contenders = self.contenders();
        println!("| | plain file | {} |", join(&contenders, " | ", ToString::to_string));
        println!("|---|{}", "---|".repeat(contenders.len() + 1));
        for workload in self.workloads() {
            let plain = self.spread(workload, Contender::Plain, |sample| sample.rate() / 1e9);
            let others = join(&contenders, " | ", |one| cell(self.ratio(workload, *one)));
            println!("| {workload} | {} | {others} |", cell(plain));
        }
    }

    fn print_short(&self) {
        println!("Speed as part of the plain file's; reads of 4 KiB/128 KiB/1 MiB:\n");
        let direct = self.contenders().into_iter().filter(|one| *one != Contender::Nbdkit).collect();
        self.print_ratios(direct, |workload| !workload.nbd);
        println!("\nThrough an NBD server:\n");
        self.print_ratios(self.contenders(), |workload| workload.nbd);
    }

    /// A row for all sizes of a workload.
    fn print_ratios(&self, contenders: Vec<Contender>, wanted: fn(&Workload) -> bool) {
        println!("| | {} |", join(&contenders, " | ", ToString::to_string));
        println!("|---|{}", "---|".repeat(contenders.len()));
        let mut rows: Vec<(String, Vec<Workload>)> = Vec::new();
        for workload in self.workloads().into_iter().filter(wanted) {
            let whole = workload.to_string();
            let name = whole.trim_end_matches(&size(workload.size)).trim_end_matches(", ").to_owned();
            match rows.iter_mut().find(|(known, _)| *known == name) {
                Some((_, workloads)) => workloads.push(workload),
                None => rows.push((name, vec![workload])),
            }
        }
        for (name, workloads) in rows {
            let medians = |one: &Contender| {
                join(&workloads, "/", |workload| match self.ratio(*workload, *one) {
                    Some(ratio) => format!("{:.2}", ratio.median),
                    None => "–".to_owned(),
                })
            };
            println!("| {name} | {} |", join(&contenders, " | ", medians));
        }
    }

    fn print_cpu(&self) {
        let alone = |workload: &Workload| !workload.nbd && workload.readers == 1;
        let workloads: Vec<_> = self.workloads().into_iter().filter(alone).collect();
        if workloads.is_empty() {
            return;
        }
        let mut contenders = vec![Contender::Plain];
        contenders.extend(self.contenders().into_iter().filter(|one| *one != Contender::Nbdkit));
        println!("\nCPU seconds of reader and daemon for a GiB; in parentheses of the whole machine:\n");
        println!("| | {} |", join(&contenders, " | ", ToString::to_string));
        println!("|---|{}", "---|".repeat(contenders.len()));
        for workload in workloads {
            let per_gib = |one: &Contender| {
                let gib = |sample: &Sample| sample.bytes as f64 / f64::from(1 << 30);
                // All rounds together: the machine's CPU time is counted in hundredths.
                let all: Vec<_> = self.of(workload, *one).map(|measured| measured.sample).collect();
                let sum = |value: fn(&Sample) -> f64| all.iter().map(value).sum::<f64>();
                let bytes: f64 = all.iter().map(gib).sum();
                format!("{:.2} ({:.2})", sum(|one| one.cpu) / bytes, sum(|one| one.machine_cpu) / bytes)
            };
            println!("| {workload} | {} |", join(&contenders, " | ", per_gib));
        }
    }

    fn print_memory(&self) {
        if self.memory.is_empty() {
            return;
        }
        println!("\nMiB in memory after an image of {} MiB was read once:\n", self.machine.image_mib);
        println!(
            "| | the file's pages | the ISO's pages | page cache grew by | daemon |\n|---|---|---|---|---|"
        );
        let mib = |bytes: f64| format!("{:.0}", bytes / f64::from(1 << 20));
        for one in &self.memory {
            println!(
                "| {} | {} | {} | {} | {} |",
                one.contender,
                mib(one.own_pages as f64),
                mib(one.iso_pages as f64),
                mib(one.page_cache as f64),
                mib(one.daemon as f64)
            );
        }
    }

    fn print_bootable(&self) {
        if self.bootable.is_empty() {
            return;
        }
        println!("\nFrom a new ISO to its kernel by TFTP and the first block of its root by NBD:\n");
        println!("| | files are there | kernel and root have arrived | disk space |\n|---|---|---|---|");
        for one in &self.bootable {
            let seconds = |times: &[f64]| match Spread::of(times.iter().copied()) {
                Some(s) => format!("{:.2} s ({:.2}–{:.2})", s.median, s.min, s.max),
                None => String::new(),
            };
            let disk = one.disk as f64 / f64::from(1 << 20);
            println!("| {} | {} | {} | {disk:.1} MiB |", one.way, seconds(&one.there), seconds(&one.arrived));
        }
    }

    fn print_scale(&self) {
        if self.scale.is_empty() {
            return;
        }
        println!("\nGrowth with the number of ISOs, of 4 MiB and with two boot menus each:\n");
        println!(
            "| ISOs | mounted, cold | mounted, warm | removed one is gone | reading nbd.conf | killed, serves again | memory |"
        );
        println!("|---|---|---|---|---|---|---|");
        for one in &self.scale {
            println!(
                "| {} | {:.0} ms | {:.0} ms | {:.0} ms | {:.1} ms | {:.0} ms | {:.0} MiB |",
                one.isos,
                one.cold_ms,
                one.warm_ms,
                one.rescan_ms,
                one.conf_ms,
                one.takeover_ms,
                one.memory_mib
            );
        }
    }
}

/// The middle, and the outermost.
pub fn cell(spread: Option<Spread>) -> String {
    match spread {
        Some(spread) => format!("{:.2} ({:.2}–{:.2})", spread.median, spread.min, spread.max),
        None => String::new(),
    }
}

fn join<T>(all: &[T], between: &str, text: impl Fn(&T) -> String) -> String {
    all.iter().map(text).collect::<Vec<_>>().join(between)
}
