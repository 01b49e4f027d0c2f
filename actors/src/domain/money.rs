//! Money and the factors it is multiplied by. Integers only: a float never touches an amount.

use std::{
    fmt,
    iter::Sum,
    ops::{Add, AddAssign, Neg, Sub, SubAssign},
};

/// An amount in nano-dollars (10^-9 USD).
///
/// An `i64` of them reaches nine thousand million dollars; sums saturate there instead of wrapping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Money(i64);

impl Money {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// More than anyone has: what an account without a limit can pay.
    pub const MAX: Self = Self(i64::MAX);
    /// One dollar.
    pub const DOLLAR: Self = Self(1_000_000_000);
    /// One of One API's quota units: 500,000 are a dollar.
    pub const QUOTA_UNIT: Self = Self(2_000);

    /// An amount of nano-dollars.
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// The amount in nano-dollars.
    pub const fn nanos(self) -> i64 {
        self.0
    }

    /// The amount in One API's quota units, rounded up.
    pub const fn quota_units(self) -> i64 {
        let unit = Self::QUOTA_UNIT.0;
        self.0.div_euclid(unit) + (self.0.rem_euclid(unit) != 0) as i64
    }

    /// Pico-dollars (10^-12 USD) rounded half up to nano-dollars: the one rounding of a charge.
    pub fn from_picos(picos: i128) -> Self {
        let nanos = (picos + 500).div_euclid(1_000);
        Self(i64::try_from(nanos).unwrap_or(if nanos < 0 { i64::MIN } else { i64::MAX }))
    }

    /// Whether the amount is below zero.
    pub const fn is_negative(self) -> bool {
        self.0 < 0
    }
}

impl Add for Money {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sub for Money {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Neg for Money {
    type Output = Self;

    fn neg(self) -> Self {
        Self(self.0.saturating_neg())
    }
}

impl AddAssign for Money {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl SubAssign for Money {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

impl Sum for Money {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

/// Dollars with nine decimals: `0.000012500`.
impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, nanos) = (if self.0 < 0 { "-" } else { "" }, self.0.unsigned_abs());
        write!(f, "{sign}{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000)
    }
}

/// A price: pico-dollars per unit. A dollar per million tokens is 1,000,000 of them per token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PicosPerUnit(pub i64);

/// A factor in integer millionths: 1,000,000 is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ratio(pub i64);

impl Ratio {
    /// Changes nothing.
    pub const ONE: Self = Self(1_000_000);
}

impl Default for Ratio {
    fn default() -> Self {
        Self::ONE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn picos_are_rounded_half_up_once() {
        for (picos, nanos) in [(0, 0), (499, 0), (500, 1), (1_499, 1), (1_500, 2), (-500, 0), (-501, -1)] {
            assert_eq!(Money::from_picos(picos).nanos(), nanos, "{picos}");
        }
        assert_eq!(Money::from_picos(i128::MAX / 2), Money::MAX);
    }

    #[test]
    fn quota_units_are_rounded_up() {
        for (nanos, units) in [(0, 0), (1, 1), (2_000, 1), (2_001, 2), (-1, 0), (-2_000, -1)] {
            assert_eq!(Money::from_nanos(nanos).quota_units(), units, "{nanos}");
        }
    }

    #[test]
    fn amounts_print_as_dollars_with_nine_decimals() {
        for (nanos, shown) in [(0, "0.000000000"), (12_500, "0.000012500"), (-1_000_000_001, "-1.000000001")]
        {
            assert_eq!(Money::from_nanos(nanos).to_string(), shown);
        }
    }
}
