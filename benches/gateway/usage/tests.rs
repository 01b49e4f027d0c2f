//! Threads by their names, and `/proc` where it is odd.

use super::{CpuReading, group, parent, resident};
use std::collections::BTreeMap;

fn reading(threads: &[(u32, &str, u64)]) -> CpuReading {
    threads.iter().copied().collect()
}

#[test]
fn threads_are_grouped_by_what_they_do() {
    for (comm, expected) in [
        ("actix-server wo", "HTTP workers"),
        ("actix-rt|system", "arbiter"),
        ("http-12", "http"),
        ("journal", "journal"),
        ("nginx", "nginx"),
        ("7", "7"),
    ] {
        assert_eq!(group(comm), expected);
    }
}

#[test]
fn what_is_spent_is_the_difference_and_new_threads_count_whole() {
    let before = reading(&[(1, "penstock", 10), (2, "actix-rt|system", 100), (4, "gone", 5)]);
    let after = reading(&[(1, "penstock", 15), (2, "actix-rt|system", 300), (3, "actix-rt|system", 7)]);
    let spent = after.since(&before);
    let expected = [("penstock", 5), ("arbiter 1", 200), ("arbiter 2", 7)];
    let expected: BTreeMap<String, u64> = expected.into_iter().map(|(n, ns)| (n.to_owned(), ns)).collect();
    assert_eq!((spent.groups.clone(), spent.total(), spent.ended), (expected, 212, 1));
}

#[test]
fn proc_files_are_read_where_they_are_odd() {
    assert_eq!(parent("12 (a) b) R) S 34 12 12 0"), Some(34));
    assert_eq!(parent(""), None);
    assert_eq!(resident("Name:\tx\nVmRSS:\t    4321 kB\n"), 4321);
    assert_eq!(resident("Name:\tx\n"), 0);
}
