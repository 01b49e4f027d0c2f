//! A number and the time that it belongs to, in one word, so that both change in one compare-and-swap.

/// Bits of the amount.
const BITS: u32 = 40;
/// The tag's bits.
const TAGS: u64 = (1 << (64 - BITS)) - 1;

/// The largest amount that a word holds: 10^12 tokens, a million dollars in millionths.
pub const MOST: u64 = (1 << BITS) - 1;

/// An amount, and the low 24 bits of the number of its bucket or period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tagged(pub(super) u64);

impl Tagged {
    pub(super) fn new(number: u64, amount: u64) -> Self {
        Self((number & TAGS) << BITS | amount.min(MOST))
    }

    pub(super) fn amount(self) -> u64 {
        self.0 & MOST
    }

    /// By how much `number` lies ahead of this word's; negative where it lies behind. Right within 2^23.
    pub(super) fn behind(self, number: u64) -> i64 {
        let ahead = (number & TAGS).wrapping_sub(self.0 >> BITS) & TAGS;
        if ahead > TAGS / 2 { ahead as i64 - (TAGS as i64 + 1) } else { ahead as i64 }
    }

    /// Nothing, at a number that lies so far ahead of this word's.
    pub(super) fn emptied(self, ahead: u64) -> Self {
        Self::new((self.0 >> BITS) + ahead, 0)
    }

    /// The same time with another amount.
    pub(super) fn with(self, amount: u64) -> Self {
        Self(self.0 & !MOST | amount.min(MOST))
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_compared_across_the_wrap() {
        for (tag, number, behind) in
            [(0, 0, 0), (5, 9, 4), (9, 5, -4), (TAGS, TAGS + 3, 3), (TAGS + 3, TAGS, -3)]
        {
            let word = Tagged::new(tag, MOST);
            assert_eq!((word.behind(number), word.amount()), (behind, MOST), "{tag} {number}");
        }
    }

    #[test]
    fn an_amount_stops_at_the_most() {
        assert_eq!(Tagged::new(3, u64::MAX).amount(), MOST);
        assert_eq!(Tagged::new(3, 7).with(u64::MAX).behind(4), 1);
    }
}
