//! Puts what a drill found into a page, between two comments that name it.

use std::{fs, path::Path};

/// Replaces what stands between `<!-- NAME -->` and `<!-- end of NAME -->`.
pub(super) fn replace(file: &Path, name: &str, found: &str) -> Result<(), String> {
    let shown = file.display();
    let page = fs::read_to_string(file).map_err(|e| format!("{shown} cannot be read: {e}"))?;
    let replaced = replaced(&page, name, found).ok_or_else(|| {
        format!("{shown} has no place for it: <!-- {name} -->, then <!-- end of {name} -->")
    })?;
    fs::write(file, replaced).map_err(|e| format!("{shown} cannot be written: {e}"))
}

fn replaced(page: &str, name: &str, found: &str) -> Option<String> {
    let (begin, end) = (format!("<!-- {name} -->"), format!("<!-- end of {name} -->"));
    let (before, rest) = page.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{begin}\n\n{}\n\n{end}{after}", found.trim()))
}

#[cfg(test)]
mod tests {
    use super::replaced;

    #[test]
    fn what_was_found_takes_the_place_of_what_was_found_before() {
        let page = "a\n<!-- x -->\nold\n<!-- end of x -->\nb\n";
        let new = replaced(page, "x", "new\n").expect("a place");
        assert_eq!(new, "a\n<!-- x -->\n\nnew\n\n<!-- end of x -->\nb\n");
        assert_eq!(replaced(&new, "x", "new").as_deref(), Some(&*new));
        assert_eq!(replaced(page, "y", "new"), None);
    }
}
