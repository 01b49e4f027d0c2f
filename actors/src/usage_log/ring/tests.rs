//! The ring on real threads; its interleavings are loom's.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize},
    thread,
    time::Duration,
};

use super::*;

fn drain(reader: &mut Reader<4>, max: usize) -> (Vec<u64>, Read) {
    let mut seen = Vec::new();
    let read = reader.read(max, |words| seen.push(words[0]));
    (seen, read)
}

#[test]
fn every_consumer_sees_every_event_in_order() {
    let ring = Ring::<4>::new(8, 2);
    (0..4).for_each(|n| ring.push(&[n]));
    for consumer in 0..2 {
        let mut reader = ring.reader(consumer);
        assert_eq!(drain(&mut reader, 3), (vec![0, 1, 2], Read::Events(3)));
        assert_eq!(drain(&mut reader, 3), (vec![3], Read::Events(1)));
        assert_eq!(drain(&mut reader, 3), (vec![], Read::Events(0)));
    }
}

#[test]
fn an_event_has_as_many_words_as_were_pushed() {
    let ring = Ring::<4>::new(2, 1);
    let mut reader = ring.reader(0);
    for words in [&[1, 2, 3, 4][..], &[], &[9]] {
        ring.push(words);
        let mut seen = None;
        assert_eq!(reader.read(1, |w| seen = Some(w.to_vec())), Read::Events(1));
        assert_eq!(seen.as_deref(), Some(words));
    }
    ring.push(&[0; 5]);
    assert_eq!((ring.head(), ring.dropped()), (3, 1), "more words than a slot has");
}

#[test]
fn a_consumer_more_than_half_a_ring_behind_goes_on_at_the_head() {
    let ring = Ring::<4>::new(8, 2);
    let (mut quick, mut slow) = (ring.reader(0), ring.reader(1));
    (0..4).for_each(|n| ring.push(&[n]));
    assert_eq!(drain(&mut quick, 8).1, Read::Events(4));
    ring.push(&[4]);
    assert_eq!((ring.lag(0), ring.lag(1)), (1, 5));
    assert_eq!(drain(&mut slow, 8), (vec![], Read::Behind(5)));
    assert_eq!(drain(&mut quick, 8), (vec![4], Read::Events(1)));
    ring.push(&[5]);
    assert_eq!(drain(&mut slow, 8), (vec![5], Read::Events(1)));
}

#[test]
fn a_reader_goes_on_where_the_one_before_it_stopped() {
    let ring = Ring::<4>::new(8, 1);
    (0..4).for_each(|n| ring.push(&[n]));
    assert_eq!(drain(&mut ring.reader(0), 3).0, [0, 1, 2]);
    assert_eq!(drain(&mut ring.reader(0), 3).0, [3]);
}

#[test]
fn a_push_into_a_slot_that_is_still_being_written_is_dropped_and_counted() {
    let ring = Ring::<4>::new(2, 1);
    let straggler = ring.claim().expect("free");
    ring.push(&[1]);
    ring.push(&[2]);
    ring.push(&[3]);
    assert_eq!((ring.head(), ring.dropped()), (2, 2));
    let mut reader = ring.reader(0);
    ring.slot(straggler).sequence.store(standing(straggler), Ordering::Release);
    ring.push(&[4]);
    assert_eq!((ring.head(), ring.dropped()), (3, 2), "the ring goes on once the straggler is done");
    assert_eq!(reader.skip(), 3);
}

/// Three consumers under four producers; the third is frozen until the producers have finished.
#[test]
fn a_frozen_consumer_leaves_the_others_every_event_and_their_lag() {
    const EACH: u64 = 100_000;
    let ring = Ring::<4>::new(1 << 14, 3);
    let done = AtomicBool::new(false);
    let waiting = AtomicUsize::new(0);
    let consume = |consumer: usize| {
        let (mut reader, mut sum, mut seen, mut missed) = (ring.reader(consumer), 0u64, 0u64, 0);
        loop {
            let finished = done.load(Ordering::Acquire);
            let read = reader.read(512, |words| {
                assert!(words[1] == words[0] ^ 0xFF && words[2] == words[0].wrapping_mul(3), "torn");
                sum += words[0];
                seen += 1;
            });
            match read {
                Read::Behind(events) => missed += events,
                Read::Events(0) if finished => return (sum, seen, missed),
                Read::Events(0) => thread::yield_now(),
                Read::Events(_) => {}
            }
        }
    };
    thread::scope(|s| {
        let live = [0, 1].map(|consumer| s.spawn(move || consume(consumer)));
        let producers: Vec<_> = (0..4)
            .map(|producer| {
                let (ring, waiting) = (&ring, &waiting);
                s.spawn(move || {
                    for n in 0..EACH {
                        // The live consumers are kept in sight, so that what they miss is never for want of a core.
                        while ring.lag(0).max(ring.lag(1)) > ring.capacity() / 4 {
                            waiting.fetch_add(1, Ordering::Relaxed);
                            thread::sleep(Duration::from_micros(50));
                        }
                        let value = producer * EACH + n;
                        ring.push(&[value, value ^ 0xFF, value.wrapping_mul(3)]);
                    }
                })
            })
            .collect();
        for producer in producers {
            producer.join().expect("no panic");
        }
        done.store(true, Ordering::Release);
        let total = 4 * EACH;
        for consumer in live {
            let (sum, seen, missed) = consumer.join().expect("no panic");
            assert_eq!((seen, missed, ring.dropped()), (total, 0, 0));
            assert_eq!(sum, (0..total).sum());
        }
        assert_eq!(ring.lag(2), total, "the frozen one has read nothing");
        let (_, seen, missed) = consume(2);
        assert_eq!(seen + missed, total);
        assert!(missed > 0);
    });
}

/// Producers far faster than the reader: what it sees is whole and in order, what it misses is counted.
#[test]
fn an_overrun_reader_sees_whole_events_and_knows_how_many_it_missed() {
    const EACH: u64 = 200_000;
    let ring = Ring::<4>::new(64, 1);
    let done = AtomicBool::new(false);
    let (mut seen, mut missed) = (0, 0);
    thread::scope(|s| {
        let producers: Vec<_> = (0..3u64)
            .map(|producer| {
                let ring = &ring;
                s.spawn(move || (0..EACH).for_each(|n| ring.push(&[producer, n, n ^ producer])))
            })
            .collect();
        let waiter = s.spawn(|| {
            for producer in producers {
                producer.join().expect("no panic");
            }
            done.store(true, Ordering::Release);
        });
        let (mut reader, mut last) = (ring.reader(0), [None; 3]);
        loop {
            let finished = done.load(Ordering::Acquire);
            let read = reader.read(16, |words| {
                let (producer, n, check) = (words[0] as usize, words[1], words[2]);
                assert_eq!(check, n ^ producer as u64, "torn");
                assert!(last[producer].is_none_or(|l| l < n), "out of order");
                last[producer] = Some(n);
                seen += 1;
            });
            match read {
                Read::Behind(events) => missed += events,
                Read::Events(0) if finished => break,
                Read::Events(_) => {}
            }
        }
        waiter.join().expect("no panic");
    });
    assert_eq!(seen + missed + ring.dropped(), 3 * EACH);
}
