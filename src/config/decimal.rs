//! Decimal numbers as operators write them, read exactly: no float ever holds one.

use serde::de::IgnoredAny;
use toml::Spanned;

/// A number in a settings file, of which only the place is kept: its digits are read from the text itself.
pub(super) type Written = Spanned<IgnoredAny>;

/// Reads the number that stands at a place: bare or quoted, `12`, `0.075`, `"1_000.5"`.
///
/// Gives it in units of 10^-`places`. Digits beyond are refused, unless `beyond` says to drop them.
pub(super) fn read(text: &str, written: &Written, places: u32, beyond: Beyond) -> Result<i64, String> {
    let shown = text.get(written.span()).unwrap_or_default().trim();
    let bare = shown.strip_prefix(['"', '\'']).and_then(|s| s.strip_suffix(['"', '\''])).unwrap_or(shown);
    parse(bare, places, beyond)
}

/// What happens to digits beyond the last place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beyond {
    Refuse,
    Drop,
}

/// Reads a number's digits, as [`read`] does.
pub(super) fn parse(text: &str, places: u32, beyond: Beyond) -> Result<i64, String> {
    let digits = text.replace('_', "");
    if digits.starts_with('-') {
        return Err("must not be negative".to_owned());
    }
    let (whole, fraction) = digits.split_once('.').unwrap_or((&digits, ""));
    let is_number = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || digits.ends_with('.') || !is_number(whole) || !is_number(fraction) {
        return Err("must be a decimal number like 12 or 0.075, without an exponent".to_owned());
    }
    let kept = fraction.len().min(places as usize);
    if beyond == Beyond::Refuse && fraction[kept..].bytes().any(|b| b != b'0') {
        return Err(format!("must have at most {places} decimals"));
    }
    let scaled = format!("{whole}{:0<width$}", &fraction[..kept], width = places as usize);
    scaled.parse().map_err(|_| "is too large".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_exactly() {
        let table = [
            ("0", 0),
            ("12", 12_000_000),
            ("0.075", 75_000),
            ("1_000.5", 1_000_500_000),
            ("0.1000000", 100_000),
        ];
        for (text, millionths) in table {
            assert_eq!(parse(text, 6, Beyond::Refuse), Ok(millionths), "{text}");
        }
        assert_eq!(parse("0.14285714285714285", 9, Beyond::Drop), Ok(142_857_142));
        assert_eq!(parse("9", 0, Beyond::Refuse), Ok(9));
    }

    #[test]
    fn what_is_no_plain_number_is_refused() {
        for text in
            ["", "-1", "-0.0", ".5", "5.", "1e3", "nan", "inf", "1.2.3", "0x10", "+1", " 1", "[1]", "٣"]
        {
            assert!(parse(text, 6, Beyond::Refuse).is_err(), "{text:?}");
        }
        assert_eq!(parse("0.0000001", 6, Beyond::Refuse), Err("must have at most 6 decimals".to_owned()));
        assert_eq!(parse("99999999999999", 6, Beyond::Refuse), Err("is too large".to_owned()));
    }
}
