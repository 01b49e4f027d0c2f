//! The page around the tables: what was done, how to do it again, what the figures do not say.

use super::settings::Settings;
use super::target::labels;

/// Puts the tables of a run into a page that stands by itself.
pub fn around(settings: &Settings, tables: &str) -> String {
    let title = labels(&settings.targets).join(" beside ");
    let rough = if settings.is_quick {
        "\n> A quick run (`BENCH_QUICK=1`): it shows that everything works. Its figures are rough; quote none of them.\n"
    } else {
        ""
    };
    format!("# {title}\n\nWritten by `make bench`; change nothing here by hand.\n{rough}\n{tables}\n{METHOD}")
}

const METHOD: &str = "\
## How it was done

- Everything runs on one machine over the loopback: one upstream (`penstock mock`), each gateway with one worker, one
  driver. The gateway has a core to itself; where there are fewer than four cores, upstream and driver share another.
- All targets stand in front of the same upstream and get the same requests in the same run, in interleaved rounds.
  What a right answer is, is learnt from the upstream; any other fails the run.
- Processor time is the scheduler's run time of all threads of a target, divided by the calls or frames that ended in the
  window. It says what a call costs also where something else was the limit.
- nginx has one worker, kept-alive connections on both sides, no logs, request bodies in memory and no buffering of
  streams; HAProxy one thread, `http-reuse always` and `http-no-delay`. Neither reads a body, checks a key, counts
  usage or picks a channel; Penstock does.
- `penstock` is the program that `make optimised` builds and the container image ships: a release build laid out by a
  profile of itself at work (`packaging/optimise.sh`). `plain` is what `cargo build --release` gives.
- Peers are other gateways from their registry packages, at the versions above, with one worker, without logs or a
  database, as their makers advise for production. They take part in a third of the rounds, with at most 8 streams at
  once in a window and a lower rate in the open loop: compare their processor time, not their latencies, with the others'.
- Open loops are driven by `penstock bench`, whose latencies count from the moment that a call was meant to begin.

## How to do it again

```sh
BENCH_OUT=docs/bench.md make bench   # everything; about 20 minutes on an otherwise idle machine
BENCH_QUICK=1 make bench             # two minutes, rough
```

`benches/README.md` lists the variables; `benches/prepare.sh` installs what is measured beside Penstock, and what cannot be
installed is left out and named above.

## What the figures do not say

- Nothing of a real network, of TLS, or of HTTP/2: both sides are plain HTTP/1.1 on the loopback.
- Nothing of several cores: each gateway has one. None of how a gateway spreads load over many.
- Nothing absolute: another processor or kernel moves all of them. Read ratios, and only within one run; the ranges say how
  far a run's own rounds lie apart.
- With one connection (`-1`) everyone sleeps and wakes for each call; on a virtual machine that costs more than the call
  itself, and varies with the neighbours.
- Throughput and latency at full load tell of driver and upstream as much as of the gateway wherever `busy` is far below 100.
- Peers do other things too, and were set up by people who know them less well than their makers.
";
