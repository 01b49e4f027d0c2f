//! The queue's decisions over millions of calls on virtual time: what always holds, and how fair and how right
//! they are. `make simulate` prints the figures.

mod figures;
mod learned;
mod learning;
mod random;
mod world;

use std::time::Duration;

use penstock_actors::router::fairness::Band;

use self::{
    figures::{Figures, Refusals, jain, percentile},
    random::Random,
    world::{Call, Event, Fate, Hopeless, World},
};

/// Less in a build for tests, all of it in one for figures.
const SCALE: u64 = if cfg!(debug_assertions) { 1 } else { 20 };

fn ms(ms: f64) -> Duration {
    Duration::from_secs_f64(ms.max(0.0) / 1e3)
}

fn call(random: &mut Random, key: i64, estimated: u64, actual: u64) -> Call {
    Call {
        key,
        band: Band::Normal,
        estimated,
        actual,
        service: ms(random.exponential(200.0)),
        max_wait: Duration::from_secs(30),
        patience: None,
        channels: vec![0],
    }
}

/// A heavy key with long prompts at three times what 16 slots serve, and a light one with 5 calls a second.
fn heavy_and_light(seconds: f64, seed: u64, band_of_light: Band, hopeless: Hopeless) -> World {
    let (mut world, mut random) = (World::new(&[16]), Random(seed));
    world.hopeless = hopeless;
    for (key, rate) in [(1, 240.0), (2, 5.0)] {
        let mut at = 0.0;
        while at < seconds {
            at += random.exponential(1.0 / rate);
            let tokens = if key == 1 { 3_000 + random.below(5_000) } else { 50 + random.below(100) };
            let actual = tokens * 3 / 4 + random.below(tokens / 2);
            let mut call = call(&mut random, key, tokens + tokens / 4, actual);
            call.band = if key == 2 { band_of_light } else { Band::Normal };
            world.at(Duration::from_secs_f64(at), Event::Arrives(Box::new(call)));
        }
    }
    while world.now < Duration::from_secs_f64(seconds) && world.step() {}
    world
}

/// The waits of a key's calls that were served, sorted.
fn waits(world: &World, key: i64) -> Vec<Duration> {
    let served = world.done.iter().filter(|d| d.call.key == key);
    let mut waits: Vec<_> = served
        .filter_map(|d| if let Fate::Served { waited } = d.fate { Some(waited) } else { None })
        .collect();
    waits.sort_unstable();
    waits
}

#[test]
fn a_light_key_hardly_notices_a_heavy_one() {
    let seconds = 65.0 * SCALE as f64;
    let world = heavy_and_light(seconds, 7, Band::Normal, Hopeless::Refused);
    let light = waits(&world, 2);
    // The same trace where the light key's calls always take the next slot that is free.
    let oracle = waits(&heavy_and_light(seconds, 7, Band::High, Hopeless::Refused), 2);
    let turnover = 200.0 / 16.0;
    let turns = |of: &[Duration], q: f64| percentile(of, q).as_secs_f64() * 1e3 / turnover;
    let use_of_limit = world.busy().as_secs_f64() / (16.0 * seconds);
    let figures = Figures::of(&world.done, 5_000);
    println!(
        "heavy and light key, limit 16, service exponential (200 ms), three times overload, {seconds} s"
    );
    println!("  calls {}, of the light key {}", world.done.len(), light.len());
    println!("  use of the limit {:.2} %", use_of_limit * 100.0);
    for (q, name) in [(0.5, "p50"), (0.99, "p99")] {
        println!(
            "  light key's wait {name}: {:.2} slot turnovers; ideal {:.2}; ratio {:.3}",
            turns(&light, q),
            turns(&oracle, q),
            turns(&light, q) / turns(&oracle, q)
        );
    }
    figures.print();
    let kept = heavy_and_light(seconds, 7, Band::Normal, Hopeless::Kept);
    let refusals = Refusals::of(&world.done, &kept.done);
    refusals.print();
    refusals.check();
    assert!(use_of_limit >= 0.98, "{use_of_limit}");
    assert!(turns(&light, 0.5) <= 1.5 && turns(&light, 0.99) <= 7.0);
    let slack = if SCALE > 1 { 1.2 } else { 1.6 };
    assert!(turns(&light, 0.5) <= slack * turns(&oracle, 0.5));
    assert!(turns(&light, 0.99) <= slack * turns(&oracle, 0.99));
    if SCALE > 1 {
        figures.check();
    }
}

/// Inside a key the earliest deadline goes first: who can wait for a second only is served though thousands wait that
/// can wait for longer, and is not refused for their sake.
#[test]
fn a_short_deadline_is_kept_in_a_long_line() {
    let seconds = 60.0 * SCALE as f64;
    let (mut world, mut random) = (World::new(&[16]), Random(23));
    let mut at = 0.0;
    while at < seconds {
        at += random.exponential(1.0 / 100.0);
        let mut call = call(&mut random, 1, 100, 100);
        call.max_wait = Duration::from_secs(if random.below(10) == 0 { 1 } else { 1_000 });
        world.at(Duration::from_secs_f64(at), Event::Arrives(Box::new(call)));
    }
    while world.now < Duration::from_secs_f64(seconds) && world.step() {}
    let short = world.done.iter().filter(|d| d.call.max_wait == Duration::from_secs(1));
    let fates: Vec<_> = short.map(|d| d.fate).collect();
    let served = fates.iter().filter(|fate| matches!(fate, Fate::Served { .. })).count();
    println!(
        "calls that can wait a second only beside a line of thousands: {served} of {} served",
        fates.len()
    );
    assert!(served * 100 >= fates.len() * 99, "{served} of {}", fates.len());
}

/// Models on channel A alone, on B alone and on both, in turns crowded: who is served where is no matter of the number
/// of calls that wait at a channel alone.
#[test]
fn waits_are_foreseen_where_channels_share_a_part_of_their_calls() {
    let seconds = 600.0 * SCALE as f64;
    let (mut world, mut random) = (World::new(&[12, 4]), Random(17));
    let channels = [vec![0], vec![1], vec![0, 1]];
    let mut at = 0.0;
    while at < seconds {
        // One model after the other is asked for most.
        let crowded = (at / 20.0) as u64 % 4;
        at += random.exponential(1.0 / 84.0);
        let model = if random.below(10) < 5 && crowded < 3 { crowded } else { random.below(3) };
        let key = 1 + random.below(4) as i64;
        let mut call = call(&mut random, key, 100, 100);
        call.channels = channels[model as usize].clone();
        call.max_wait = Duration::from_secs(20);
        world.at(Duration::from_secs_f64(at), Event::Arrives(Box::new(call)));
    }
    while world.now < Duration::from_secs_f64(seconds) && world.step() {}
    for (of, name) in channels.iter().zip(["A", "B", "A or B"]) {
        let done: Vec<_> = world.done.iter().filter(|d| d.call.channels == *of).cloned().collect();
        println!("calls for {name}, of which channels share a part:");
        let figures = Figures::of(&done, 100);
        figures.print();
        figures.check_among_others();
    }
}

/// Keys that always have calls waiting, each with its own channels and size of call; tokens served a key.
fn backlogged(limits: &[u32], keys: &[(Vec<usize>, u64)], seconds: u64) -> Vec<f64> {
    let (mut world, mut random) = (World::new(limits), Random(11));
    let next = |random: &mut Random, key: usize| {
        let (channels, size) = &keys[key];
        let actual = size / 2 + random.below(*size);
        let estimated = *size * (1 + random.below(3)) / 2;
        let mut call = call(random, key as i64, estimated, actual);
        (call.channels, call.max_wait) = (channels.clone(), Duration::from_secs(100_000));
        call
    };
    for key in 0..keys.len() {
        for _ in 0..40 {
            let call = next(&mut random, key);
            world.at(Duration::ZERO, Event::Arrives(Box::new(call)));
        }
    }
    let mut tokens = vec![0.0; keys.len()];
    let mut seen = 0;
    while world.now < Duration::from_secs(seconds) && world.step() {
        while seen < world.done.len() {
            let key = world.done[seen].call.key as usize;
            tokens[key] += world.done[seen].call.actual as f64;
            seen += 1;
            let call = next(&mut random, key);
            let now = world.now;
            world.at(now, Event::Arrives(Box::new(call)));
        }
    }
    tokens
}

#[test]
fn keys_that_wait_all_the_time_get_equal_shares_of_tokens() {
    let ten: Vec<_> = (0..10).map(|n| (vec![0], 100 << (n % 6))).collect();
    let shares = backlogged(&[16], &ten, 60 * SCALE);
    println!("ten keys, calls of 100 to 3,200 tokens, backlogged: Jain index {:.4}", jain(&shares));
    assert!(jain(&shares) >= 0.99, "{shares:?}");
    let three = [(vec![0, 1], 400), (vec![0, 1], 1_600), (vec![0], 800)];
    let shares = backlogged(&[8, 8], &three, 60 * SCALE);
    println!("two keys on channels A and B, one on A only: Jain index {:.4}", jain(&shares));
    assert!(jain(&shares) >= 0.99, "{shares:?}");
}

/// Anything may happen: bursts, calls of every band, clients that leave, limits that change.
#[test]
fn whatever_happens_slots_never_rest_while_calls_wait_and_nothing_is_left_behind() {
    let calls = 50_000 * SCALE;
    let began = std::time::Instant::now();
    let (mut world, mut random) = (World::new(&[4, 9, 1]), Random(3));
    let mut at = 0.0;
    for n in 0..calls {
        at += random.exponential(if n / 5_000 % 2 == 0 { 0.006 } else { 0.03 });
        let key = random.below(30) as i64;
        let mut call = call(&mut random, key, 200, 150);
        call.band = Band::ALL[random.below(3) as usize];
        call.max_wait = ms(random.unit() * 4_000.0);
        call.patience = (random.below(4) == 0).then(|| ms(random.unit() * 2_000.0));
        call.channels = match random.below(4) {
            0 => vec![0, 1, 2],
            1 => vec![1],
            2 => vec![2, 0],
            _ => vec![0],
        };
        world.at(Duration::from_secs_f64(at), Event::Arrives(Box::new(call)));
        if n % 997 == 0 {
            let (channel, limit) = (random.below(3) as usize, random.below(12) as u32);
            world.at(Duration::from_secs_f64(at), Event::Limit { channel, limit });
        }
    }
    let mut steps = 0u64;
    while world.step() {
        steps += 1;
        if steps.is_multiple_of(101) {
            assert_eq!(world.faults(), Vec::<String>::new(), "at {:?}", world.now);
        }
    }
    world.sweep();
    assert_eq!((world.leftovers(), world.limit_broken), (Vec::new(), 0));
    assert_eq!(world.done.len() as u64, calls);
    let fates = |fate: fn(&Fate) -> bool| world.done.iter().filter(|d| fate(&d.fate)).count();
    println!(
        "{calls} calls at random in {:.1} s: served {}, refused on arrival {}, expired {}, left {}; no fault",
        began.elapsed().as_secs_f64(),
        fates(|f| matches!(f, Fate::Served { .. })),
        fates(|f| *f == Fate::Refused),
        fates(|f| *f == Fate::Expired),
        fates(|f| *f == Fate::Left)
    );
}

/// A key with ten thousand waiting calls beside one with one, and a low band below a busy high one.
#[test]
fn nobody_starves() {
    let (mut world, mut random) = (World::new(&[8]), Random(5));
    for n in 0..10_000u64 {
        let mut heavy = call(&mut random, 1, 1_000, 1_000);
        (heavy.band, heavy.max_wait) = (Band::High, Duration::from_secs(1_000_000));
        world.at(Duration::from_micros(n), Event::Arrives(Box::new(heavy)));
    }
    let mut light = call(&mut random, 2, 1_000, 1_000);
    light.band = Band::High;
    let mut low = call(&mut random, 3, 1_000, 1_000);
    (low.band, low.max_wait) = (Band::Low, Duration::from_secs(1_000_000));
    for one in [light, low] {
        world.at(Duration::from_secs(1), Event::Arrives(Box::new(one)));
    }
    while world.step() {}
    for (key, most) in [(2, 2.0), (3, 5.0)] {
        let done = world.done.iter().find(|d| d.call.key == key).expect("it came to its end");
        let Fate::Served { waited } = done.fate else { panic!("key {key}: {:?}", done.fate) };
        assert!(waited.as_secs_f64() < most, "key {key} waited {waited:?}");
    }
}
