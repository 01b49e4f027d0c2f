//! The tables of the open loop.

use crate::stats::Spread;
use crate::steady::{Load, Steady};
use std::fmt;

/// Latencies of calls.
pub fn calls(f: &mut fmt::Formatter<'_>, all: &[Steady], labels: &[String]) -> fmt::Result {
    if all.is_empty() {
        return Ok(());
    }
    writeln!(f, "\n## Latency of 4 KB calls at a given rate, ms\n")?;
    writeln!(
        f,
        "An open loop (`penstock bench`): calls arrive as independent callers do (Poisson), and latency counts from the \
         moment a call was meant to begin. `generator` is how late, at p99, the generator itself was; that is in \
         the latencies too.\n"
    )?;
    let columns = [
        ("p50", "/latency/p50"),
        ("p90", "/latency/p90"),
        ("p99", "/latency/p99"),
        ("p99.9", "/latency/p99.9"),
        ("max", "/latency/max"),
        ("generator", "/client/late/p99"),
    ];
    table(f, all, labels, Load::Calls, "calls/s", &columns)
}

/// Streams against their pace.
pub fn streams(f: &mut fmt::Formatter<'_>, all: &[Steady], labels: &[String]) -> fmt::Result {
    if all.is_empty() {
        return Ok(());
    }
    writeln!(f, "\n## Streams of 50 words, one each 20 ms, begun at a given rate, ms\n")?;
    writeln!(
        f,
        "`behind` is how far after its time by the pace, counted from the first word, each word came; every frame is \
         read and checked.\n"
    )?;
    let columns = [
        ("first word p50", "/first_token/p50"),
        ("p99", "/first_token/p99"),
        ("behind p50", "/behind_pace/p50"),
        ("p99", "/behind_pace/p99"),
        ("p99.9", "/behind_pace/p99.9"),
        ("max", "/behind_pace/max"),
    ];
    table(f, all, labels, Load::Streams, "streams/s", &columns)
}

fn table(
    f: &mut fmt::Formatter<'_>,
    all: &[Steady],
    labels: &[String],
    load: Load,
    unit: &str,
    columns: &[(&str, &str)],
) -> fmt::Result {
    let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    writeln!(f, "| target | {unit} wanted | got | {} |", names.join(" | "))?;
    writeln!(f, "|---|---|---|{}", "---|".repeat(columns.len()))?;
    for (target, label) in labels.iter().enumerate() {
        let own: Vec<&Steady> = all.iter().filter(|one| one.target == target && one.load == load).collect();
        let Some(first) = own.first() else { continue };
        let got = Spread::of(own.iter().map(|one| one.rate[1]));
        write!(f, "| {label} | {} | {:.1} |", first.rate[0], got)?;
        for (_, place) in columns {
            write!(f, " {:.2} |", Spread::of(own.iter().map(|one| one.figure(place))))?;
        }
        writeln!(f)?;
    }
    Ok(())
}
