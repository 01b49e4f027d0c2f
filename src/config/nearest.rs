//! What a misspelt name was probably meant to be.

/// The known name that is least far from the written one, where it is near enough to be meant.
pub(super) fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let enough = written.chars().count().div_ceil(3);
    known
        .into_iter()
        .map(|name| (distance(written, name), name))
        .min()
        .filter(|(far, _)| *far <= enough)
        .map(|(_, name)| name)
}

/// A clause that asks for the nearest name; empty where none is near.
pub(super) fn did_you_mean<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(written, known).map(|name| format!("; did you mean {name}?")).unwrap_or_default()
}

/// Insertions, deletions and replacements between two texts.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        let known = ["max_body", "max_event", "drain", "workers"];
        for (written, wanted) in [
            ("max_bodi", Some("max_body")),
            ("maxbody", Some("max_body")),
            ("worker", Some("workers")),
            ("drian", Some("drain")),
            ("dain", Some("drain")),
            ("nothing_like_it", None),
            ("", None),
        ] {
            assert_eq!(nearest(written, known), wanted, "{written}");
        }
    }
}
