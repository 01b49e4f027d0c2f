//! What the parts of the call path cost by themselves: `make microbench`.
//!
//! Each figure is the median, with least and most, of some batches in one thread; caches are warm. They show
//! where a part changed, not what a call costs: that is `make bench`.
#![allow(clippy::unwrap_used, reason = "a bench may fail where it stands")]

mod micro {
    pub mod books;
}

use bytes::Bytes;
use penstock::app::{self, Source};
use penstock::config::Overrides;
use penstock::dialect::AnswerReader as _;
use penstock::dialect::openai::{REQUEST, StreamReader};
use penstock::provider::Edit;
use penstock::relay::budget::ByteBudget;
use penstock::relay::spool::SpoolWriter;
use penstock::wire::json::Scanner;
use penstock::wire::sse::SseFramer;
use penstock_actors::channel::{ChannelCell, gate::Gate};
use penstock_actors::router::{Plan, RouteTable};
use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Length of a batch, and how many there are.
const BATCH: Duration = Duration::from_millis(20);
const BATCHES: usize = 15;

fn main() {
    if !std::env::args().any(|word| word == "--bench") {
        eprintln!("nothing measured: run it with `make microbench` or `cargo bench --bench micro`");
        return;
    }
    println!("{:<44} {:>10} {:>22} {:>10}", "", "ns", "least–most", "MB/s");
    gate();
    routes();
    bodies();
    streams();
    micro::books::books();
}

fn gate() {
    let gate = Gate::new(64);
    measure("gate: enter and leave", 0, || drop(black_box(gate.try_enter())));
    let full = Gate::new(0);
    measure("gate: refused", 0, || drop(black_box(full.try_enter())));
}

fn routes() {
    for channels in [1, 8, 64] {
        let table = table(channels);
        let mut state = 1_u64;
        let mut roll = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state
        };
        measure(&format!("route: plan and first of {channels} channels"), 0, || {
            let model = table.resolve("alias");
            let mut plan = Plan::new(&table, model, "default", None).unwrap();
            black_box(plan.next(&mut roll));
        });
    }
}

fn bodies() {
    for (name, size) in [("0.2 KB", 200), ("4 KB", 4096), ("150 KB", 150 << 10)] {
        let body = request(size);
        measure(&format!("scan: top level of {name}"), body.len(), || {
            let mut scanner = Scanner::new(REQUEST);
            scanner.push(&body).unwrap();
            black_box(scanner.finish().unwrap());
        });
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let spool = runtime.block_on(async {
            let mut writer = SpoolWriter::new(ByteBudget::new(u64::MAX).hold());
            writer.push(body.clone()).await.unwrap();
            writer.finish().await.unwrap()
        });
        let mut scanner = Scanner::new(REQUEST);
        scanner.push(&body).unwrap();
        let top = scanner.finish().unwrap();
        let model = top.field("model").unwrap();
        let edit = Edit { start: model.start, end: model.end, with: Bytes::from_static(b"\"other-model\"") };
        measure(&format!("splice: the model's name in {name}"), body.len(), || {
            drop(black_box(spool.edited(std::slice::from_ref(&edit))));
        });
    }
}

fn streams() {
    let frames = 100;
    let one = frame("water falls");
    let all = Bytes::from(one.repeat(frames));
    measure("sse: framing of 100 frames in one read", all.len(), || {
        let mut framer = SseFramer::new(1 << 20);
        framer.push(all.clone(), |frame| drop(black_box(frame))).unwrap();
    });
    let each = Bytes::from(one);
    measure("sse: framing of 1 frame a read", each.len(), || {
        let mut framer = SseFramer::new(1 << 20);
        framer.push(each.clone(), |frame| drop(black_box(frame))).unwrap();
    });
    for (name, model) in [("same model", "penstock-echo"), ("model renamed", "fast")] {
        let mut reader = StreamReader::new(model, 1 << 20, false);
        let mut events = Vec::with_capacity(8);
        measure(&format!("stream: 1 frame passed on, {name}"), each.len(), || {
            reader.push(each.clone(), &mut events).unwrap();
            black_box(&events);
            events.clear();
        });
    }
}

/// Runs `work` in batches and prints what one run took; `bytes` is what it goes through, 0 for nothing.
fn measure(name: &str, bytes: usize, mut work: impl FnMut()) {
    let mut batch = |times: u64| {
        let start = Instant::now();
        for _ in 0..times {
            work();
        }
        start.elapsed()
    };
    let mut times = 1;
    while batch(times) < BATCH / 4 {
        times *= 2;
    }
    times *= 4;
    let mut all: Vec<f64> = (0..BATCHES).map(|_| batch(times).as_nanos() as f64 / times as f64).collect();
    all.sort_by(f64::total_cmp);
    let (median, least, most) = (all[BATCHES / 2], all[0], all[BATCHES - 1]);
    let speed = if bytes == 0 { "–".to_owned() } else { format!("{:.0}", bytes as f64 * 1e3 / median) };
    println!("{name:<44} {median:>10.1} {:>22} {speed:>10}", format!("{least:.1}–{most:.1}"));
}

/// A table of so many equal channels for one model, behind an alias.
fn table(channels: usize) -> RouteTable {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("penstock.toml");
    let channel = |n| {
        format!(
            "[[channel]]\nname = \"c{n}\"\nprovider = \"openai\"\ncredential = \"k\"\nmodels = [\"m\"]\nconcurrency = 64\n"
        )
    };
    let channels: String = (0..channels).map(channel).collect();
    std::fs::write(&file, format!("{channels}[aliases]\nalias = \"m\"\n")).unwrap();
    let overrides = Overrides { data_dir: Some(dir.path().join("data")), ..Overrides::default() };
    let catalog = app::load(&Source { file: Some(file), overrides, ..Source::default() }).unwrap().catalog;
    let cells: HashMap<_, _> = catalog
        .channels
        .iter()
        .zip(0..)
        .map(|(spec, slot)| (spec.name.clone(), ChannelCell::new(slot, Arc::clone(spec))))
        .collect();
    RouteTable::build(&catalog, &cells)
}

fn request(size: usize) -> Bytes {
    let before = r#"{"model":"penstock-echo","stream":true,"messages":[{"role":"user","content":""#;
    let after = r#""}],"temperature":0.5}"#;
    let words = "The quick brown fox said \\\"hello\\\" to the lazy dog and went on.\\n";
    let room = size - before.len() - after.len();
    let mut text = words.repeat(room / words.len());
    text.push_str(&"x".repeat(room - text.len()));
    Bytes::from(format!("{before}{text}{after}"))
}

fn frame(text: &str) -> String {
    format!(
        "data: {{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\
         \"penstock-echo\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}},\"finish_reason\":null}}]}}\n\n"
    )
}
