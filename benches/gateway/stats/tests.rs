//! Spreads and percentiles.

use super::{Spread, percentile};

#[test]
fn a_spread_is_the_middle_and_the_ends() {
    assert_eq!(Spread::of([3.0, 1.0, 2.0]), Spread { median: 2.0, min: 1.0, max: 3.0 });
    assert_eq!(Spread::of([4.0, 1.0]), Spread { median: 2.5, min: 1.0, max: 4.0 });
    assert_eq!(format!("{:.2}", Spread::of([1.0])), "1.00 (1.00–1.00)");
    assert_eq!(Spread::of([]).median, 0.0);
}

#[test]
fn percentiles_take_the_nearest_rank() {
    let values: Vec<u64> = (1..=100).collect();
    for (percent, expected) in [(0.0, 1), (50.0, 50), (99.0, 99), (100.0, 100)] {
        assert_eq!(percentile(&values, percent), expected);
    }
    assert_eq!(percentile(&[7], 99.0), 7);
    assert_eq!(percentile(&[], 50.0), 0);
}
