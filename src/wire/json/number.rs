//! The grammar of numbers (RFC 8259, section 6), a byte at a time.

/// How far a number is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NumberState {
    Minus,
    Zero,
    Int,
    Dot,
    Frac,
    E,
    Sign,
    Exp,
}

/// The state after one more byte; `None` where the byte is no part of the number.
pub(super) fn step(state: NumberState, byte: u8) -> Option<NumberState> {
    use NumberState::{Dot, E, Exp, Frac, Int, Minus, Sign, Zero};
    match (state, byte) {
        (Minus, b'0') => Some(Zero),
        (Minus, b'1'..=b'9') | (Int, b'0'..=b'9') => Some(Int),
        (Zero | Int, b'.') => Some(Dot),
        (Dot | Frac, b'0'..=b'9') => Some(Frac),
        (Zero | Int | Frac, b'e' | b'E') => Some(E),
        (E, b'+' | b'-') => Some(Sign),
        (E | Sign | Exp, b'0'..=b'9') => Some(Exp),
        _ => None,
    }
}

/// Whether a number may end here.
pub(super) fn may_end(state: NumberState) -> bool {
    use NumberState::{Exp, Frac, Int, Zero};
    matches!(state, Zero | Int | Frac | Exp)
}
