//! Secrets as operators write them: the secret itself, `env:NAME` or `file:PATH`.

use std::{
    io::{ErrorKind, Read as _},
    path::Path,
};

use super::Environment;

/// Longer files are no secrets.
const LONGEST: u64 = 64 << 10;

/// Finds the secret that `written` stands for.
pub(super) fn resolve(written: &str, environment: &Environment) -> Result<String, String> {
    let (secret, whose) = if let Some(name) = written.strip_prefix("env:") {
        (variable(name, environment)?, format!("the environment variable {name}"))
    } else if let Some(path) = written.strip_prefix("file:") {
        (file(Path::new(path))?, path.to_owned())
    } else {
        (written.to_owned(), "the secret".to_owned())
    };
    match secret.trim() {
        "" => Err(format!("{whose} is empty")),
        s if s.lines().count() > 1 => Err(format!("{whose} holds more than one line")),
        s if !s.bytes().all(|b| (0x20..0x7f).contains(&b)) => {
            Err(format!("{whose} holds characters that no header can carry"))
        }
        s => Ok(s.to_owned()),
    }
}

fn variable(name: &str, environment: &Environment) -> Result<String, String> {
    if environment.is_not_text(name) {
        return Err(format!("the environment variable {name} is no UTF-8"));
    }
    if environment.is_empty(name) {
        return Err(format!("the environment variable {name} is empty"));
    }
    environment.get(name).map(str::to_owned).ok_or(format!("the environment variable {name} is not set"))
}

fn file(path: &Path) -> Result<String, String> {
    let shown = path.display();
    let sentence = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => format!("there is no file {shown}"),
        ErrorKind::PermissionDenied => format!("the file {shown} may not be read by this user"),
        ErrorKind::IsADirectory => format!("{shown} is a folder, not a file"),
        _ => format!("{shown} cannot be read: {error}"),
    };
    // Not opened before it is known to be one: a pipe without a writer would keep us waiting.
    let kind = std::fs::metadata(path).map_err(sentence)?;
    if kind.is_dir() {
        return Err(format!("{shown} is a folder, not a file"));
    }
    if !kind.is_file() {
        return Err(format!("{shown} is no plain file"));
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(LONGEST + 1).read_to_end(&mut bytes))
        .map_err(sentence)?;
    if bytes.len() as u64 > LONGEST {
        return Err(format!("{shown} is longer than 64 KiB, which is no secret"));
    }
    String::from_utf8(bytes).map_err(|_| format!("{shown} is no UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_and_plain_texts_are_secrets() {
        let environment = Environment::of([("A".into(), " k \n".into()), ("EMPTY".into(), "".into())]);
        for (written, wanted) in [
            ("plain", Ok("plain")),
            ("env:A", Ok("k")),
            ("env:EMPTY", Err("the environment variable EMPTY is empty")),
            ("env:B", Err("the environment variable B is not set")),
            (" ", Err("the secret is empty")),
            ("schlüssel", Err("the secret holds characters that no header can carry")),
        ] {
            assert_eq!(
                resolve(written, &environment),
                wanted.map(str::to_owned).map_err(str::to_owned),
                "{written}"
            );
        }
    }

    #[test]
    fn a_file_is_one_line_of_text() {
        let dir = tempfile::tempdir().expect("a folder");
        let at = |name: &str| dir.path().join(name).display().to_string();
        for (name, bytes, wanted) in [
            ("good", b"k".to_vec(), Ok("k".to_owned())),
            ("newline", b"k\r\n".to_vec(), Ok("k".to_owned())),
            ("empty", Vec::new(), Err(format!("{} is empty", at("empty")))),
            ("blank", b" \n".to_vec(), Err(format!("{} is empty", at("blank")))),
            ("lines", b"a\nb".to_vec(), Err(format!("{} holds more than one line", at("lines")))),
            ("latin", vec![0xfc], Err(format!("{} is no UTF-8", at("latin")))),
            (
                "huge",
                vec![b'a'; 100_000],
                Err(format!("{} is longer than 64 KiB, which is no secret", at("huge"))),
            ),
        ] {
            std::fs::write(dir.path().join(name), bytes).expect("written");
            assert_eq!(resolve(&format!("file:{}", at(name)), &Environment::default()), wanted);
        }
        for (path, words) in [
            (at("absent"), "there is no file"),
            (dir.path().display().to_string(), "is a folder"),
            ("/dev/null".to_owned(), "is no plain file"),
            (String::new(), "there is no file"),
        ] {
            let said = resolve(&format!("file:{path}"), &Environment::default()).expect_err("refused");
            assert!(said.contains(words), "{said}");
        }
    }
}
