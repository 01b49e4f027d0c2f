//! A `.env` file: `NAME=value` lines, as One API reads them. Nothing is expanded.

/// The names and values of a file's text.
///
/// # Errors
/// The line, counted from 1, and what is wrong with it; never the value.
pub(super) fn parse(text: &str) -> Result<Vec<(String, String)>, (usize, &'static str)> {
    let mut found = Vec::new();
    for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
        let at = |problem| (index + 1, problem);
        let (name, value) = line.split_once('=').ok_or(at("a line must be NAME=value or # a comment"))?;
        let name = name.trim_end();
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Err(at("a name has letters, digits and underscores only"));
        }
        found.push((name.to_owned(), value_of(value.trim()).map_err(at)?));
    }
    Ok(found)
}

fn value_of(written: &str) -> Result<String, &'static str> {
    let Some(quote @ ('"' | '\'')) = written.chars().next() else {
        // A comment needs a space before it: a secret may hold a #.
        let end = written.find(" #").unwrap_or(written.len());
        return Ok(written[..end].trim_end().to_owned());
    };
    let mut value = String::new();
    let mut rest = written[1..].chars();
    loop {
        match rest.next() {
            None => return Err("the quotation mark is not closed"),
            Some(c) if c == quote => break,
            Some('\\') if quote == '"' => match rest.next() {
                Some('n') => value.push('\n'),
                Some(c @ ('"' | '\\' | '$')) => value.push(c),
                Some(c) => value.extend(['\\', c]),
                None => return Err("the quotation mark is not closed"),
            },
            Some(c) => value.push(c),
        }
    }
    match rest.as_str().trim_start() {
        "" => Ok(value),
        rest if rest.starts_with('#') => Ok(value),
        _ => Err("something stands after the closing quotation mark"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_with_quotes_comments_and_exports() {
        for (line, value) in [
            ("A=b", "b"),
            ("  A = b  ", "b"),
            ("export A=b", "b"),
            ("A=", ""),
            ("A=b#c # d", "b#c"),
            ("A='b # $c' # d", "b # $c"),
            ("A=\"b\\\"\\n\\$\"", "b\"\n$"),
            ("A=b=c", "b=c"),
            ("\u{feff}A=b\r\n", "b"),
        ] {
            assert_eq!(parse(line), Ok(vec![("A".into(), value.into())]), "{line}");
        }
        assert_eq!(parse("# c\n\n"), Ok(vec![]));
    }

    #[test]
    fn wrong_lines_are_named() {
        for (text, line) in [("A=b\nnothing\n", 2), ("=b", 1), ("A B=c", 1), ("A=\"b", 1), ("\nA='b'c", 2)] {
            assert_eq!(parse(text).map_err(|(line, _)| line), Err(line), "{text}");
        }
    }
}
