//! The plot: a row for each workload, a dot for each contender at its part of the plain file's speed.

use std::fmt::Write;

use crate::speed::contender::Contender;
use crate::speed::tables::Results;

/// Of the plain file's speed, in powers of two.
const AXIS: std::ops::RangeInclusive<i32> = -6..=2;

const LEFT: f64 = 300.0;
const WIDTH: f64 = 560.0;
const TOP: f64 = 66.0;
const ROW: f64 = 20.0;

/// SVG on a white ground, so that it reads on any page.
pub fn render(results: &Results) -> String {
    let (workloads, contenders) = (results.workloads(), results.contenders());
    let bottom = TOP + ROW * workloads.len() as f64;
    let (width, height) = (LEFT + WIDTH + 30.0, bottom + 30.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n<text x=\"10\" y=\"20\" \
         font-size=\"14\">Speed as part of the plain file's; dot: median, line: least to most</text>\n"
    );
    let mut x = 10.0;
    for contender in &contenders {
        let colour = colour(*contender);
        let _ = writeln!(svg, "<circle cx=\"{x}\" cy=\"40\" r=\"4\" fill=\"{colour}\"/>");
        let _ = writeln!(svg, "<text x=\"{}\" y=\"44\">{contender}</text>", x + 9.0);
        x += 120.0;
    }
    for power in AXIS {
        let (x, value) = (at(2f64.powi(power)), 2f64.powi(power.abs()));
        let label = if power < 0 { format!("1/{value}") } else { value.to_string() };
        let stroke = if power == 0 { "#444" } else { "#ddd" };
        let _ = writeln!(svg, "<path d=\"M{x} {TOP}V{bottom}\" stroke=\"{stroke}\"/>");
        let _ =
            writeln!(svg, "<text x=\"{x}\" y=\"{}\" text-anchor=\"middle\">{label}</text>", bottom + 16.0);
    }
    for (row, workload) in workloads.iter().enumerate() {
        let y = TOP + ROW * (row as f64 + 0.5);
        let _ = writeln!(svg, "<text x=\"10\" y=\"{}\">{workload}</text>", y + 4.0);
        for (waits_for, contender) in contenders.iter().enumerate() {
            let Some(ratio) = results.ratio(*workload, *contender) else { continue };
            // Beside each other, so that none hides another.
            let y = y + (waits_for as f64 - (contenders.len() as f64 - 1.0) / 2.0) * 3.0;
            let (x, from, to, colour) = (at(ratio.median), at(ratio.min), at(ratio.max), colour(*contender));
            let _ = writeln!(svg, "<path d=\"M{from:.1} {y}H{to:.1}\" stroke=\"{colour}\"/>");
            let _ = writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y}\" r=\"3.5\" fill=\"{colour}\"/>");
        }
    }
    svg + "</svg>\n"
}

/// Where a ratio lies; what is outside of the axis, at its end.
fn at(ratio: f64) -> f64 {
    let (first, last) = (f64::from(*AXIS.start()), f64::from(*AXIS.end()));
    LEFT + WIDTH * (ratio.log2().clamp(first, last) - first) / (last - first)
}

fn colour(contender: Contender) -> &'static str {
    match contender {
        Contender::Plain => "#444444",
        Contender::Kernel => "#0072b2",
        Contender::Cache => "#009e73",
        Contender::Fuseiso => "#d55e00",
        Contender::Nbdkit => "#cc79a7",
    }
}
