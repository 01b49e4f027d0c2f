//! Headers in which providers say how their limits stand, kept as lines. What they mean is the dialects' matter.

/// Beginnings of their names.
const BEGINNINGS: [&str; 4] = ["x-ratelimit-", "anthropic-ratelimit-", "ratelimit-", "x-tokenlimit-"];
/// More bytes than this are none of a provider's that can be meant.
const MOST: usize = 4 << 10;

/// Whether a header is one of them.
pub(super) fn is_about(name: &str) -> bool {
    // Most headers end here.
    matches!(name.as_bytes(), [b'x' | b'X' | b'a' | b'A' | b'r' | b'R', _, _, _, _, _, _, _, _, _, ..])
        && BEGINNINGS.iter().any(|b| name.get(..b.len()).is_some_and(|n| n.eq_ignore_ascii_case(b)))
}

/// Adds one as a line; one that is no text is left out.
pub(super) fn add(lines: &mut String, name: &str, value: &[u8]) {
    let Ok(value) = std::str::from_utf8(value.trim_ascii()) else { return };
    if lines.len() + name.len() + value.len() + 2 > MOST {
        return;
    }
    if lines.is_empty() {
        lines.reserve(320);
    }
    let begin = lines.len();
    lines.push_str(name);
    lines[begin..].make_ascii_lowercase();
    lines.push(':');
    lines.push_str(value);
    lines.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_told_by_their_names_and_kept_within_bounds() {
        for (name, wanted) in [
            ("X-RateLimit-Limit-Requests", true),
            ("anthropic-ratelimit-tokens-reset", true),
            ("RateLimit-Limit", true),
            ("x-tokenlimit-limit", true),
            ("x-ratelimit", false),
            ("x-request-id", false),
            ("access-control-allow-origin", false),
            ("\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}", false),
        ] {
            assert_eq!(is_about(name), wanted, "{name}");
        }
        let mut lines = String::new();
        add(&mut lines, "X-RateLimit-Limit", b" 5 ");
        add(&mut lines, "x-ratelimit-odd", b"\xff");
        assert_eq!(lines, "x-ratelimit-limit:5\n");
        (0..1_000).for_each(|_| add(&mut lines, "x-ratelimit-limit", b"5"));
        assert!(lines.len() <= MOST);
    }
}
