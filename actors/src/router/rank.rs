//! Which of two candidates carries less. Pure: it sees numbers, not channels.

use std::time::Duration;

/// What is known of a candidate's load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load {
    /// Requests in flight.
    pub in_flight: u32,
    /// What it can take: its limit, or its weight where it has none.
    pub capacity: u32,
    /// Share of attempts that brought an answer.
    pub success_rate: f32,
    /// Smoothed time to first byte; zero where unknown.
    pub first_byte: Duration,
}

/// How much worse the first draw must be before the second is taken: weights rule while loads are alike.
const MARGIN: f32 = 1.25;
/// A success rate below this weighs no heavier.
const LEAST_SUCCESS: f32 = 0.02;
/// A slower first byte weighs at most this much.
const MOST_LATENCY: f32 = 3.0;

/// Whether the second of two draws should be taken instead of the first.
pub fn prefers_second(first: Load, second: Load) -> bool {
    burden(first, second) > MARGIN * burden(second, first)
}

/// Utilisation, failures and slowness as one number; 1 for an idle, well and quick channel.
fn burden(of: Load, against: Load) -> f32 {
    let used = of.in_flight as f32 / of.capacity.max(1) as f32;
    let success = of.success_rate.clamp(LEAST_SUCCESS, 1.0);
    let slowness = if of.first_byte.is_zero() || against.first_byte.is_zero() {
        1.0
    } else {
        (of.first_byte.as_secs_f32() / against.first_byte.as_secs_f32()).clamp(1.0, MOST_LATENCY)
    };
    (1.0 + used) / success * slowness.sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Load = Load { in_flight: 0, capacity: 10, success_rate: 1.0, first_byte: Duration::ZERO };

    #[test]
    fn the_first_draw_stands_while_loads_are_alike() {
        assert!(!prefers_second(IDLE, IDLE));
        assert!(!prefers_second(Load { in_flight: 2, ..IDLE }, IDLE));
    }

    #[test]
    fn a_fuller_failing_or_slower_candidate_gives_way() {
        let ms = Duration::from_millis;
        for (first, second) in [
            (Load { in_flight: 9, ..IDLE }, IDLE),
            (Load { success_rate: 0.5, ..IDLE }, IDLE),
            (Load { success_rate: 0.0, ..IDLE }, Load { in_flight: 10, ..IDLE }),
            (Load { first_byte: ms(900), ..IDLE }, Load { first_byte: ms(300), ..IDLE }),
        ] {
            assert!(prefers_second(first, second), "{first:?} against {second:?}");
            assert!(!prefers_second(second, first), "{second:?} against {first:?}");
        }
    }
}
