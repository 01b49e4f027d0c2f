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
    let (secret, whose) = find(written, environment)?;
    one(&secret, &whose)
}

/// Finds the secrets that `written` stands for: one a line, empty lines aside.
pub(super) fn several(written: &str, environment: &Environment) -> Result<Vec<String>, String> {
    let (secrets, whose) = find(written, environment)?;
    if packed(&secrets).is_some() {
        return Ok(vec![one(&secrets, &whose)?]);
    }
    let lines: Vec<_> = secrets.lines().filter(|line| !line.trim().is_empty()).collect();
    match lines.is_empty() {
        true => Err(format!("{whose} is empty")),
        false => lines.into_iter().map(|line| one(line, &whose)).collect(),
    }
}

/// A key file in JSON, without the line breaks and spaces between its members.
fn packed(secret: &str) -> Option<String> {
    let text = secret.trim();
    let object: serde_json::Map<String, serde_json::Value> =
        text.starts_with('{').then(|| serde_json::from_str(text).ok())??;
    serde_json::to_string(&object).ok()
}

fn one(secret: &str, whose: &str) -> Result<String, String> {
    let packed = packed(secret);
    match packed.as_deref().unwrap_or(secret).trim() {
        "" => Err(format!("{whose} is empty")),
        s if s.lines().count() > 1 => Err(format!("{whose} holds more than one line")),
        s if !s.bytes().all(|b| (0x20..0x7f).contains(&b)) => {
            Err(format!("{whose} holds characters that no header can carry"))
        }
        s => Ok(s.to_owned()),
    }
}

/// The text that `written` stands for, and how it is called.
fn find(written: &str, environment: &Environment) -> Result<(String, String), String> {
    Ok(if let Some(name) = written.strip_prefix("env:") {
        (variable(name, environment)?, format!("the environment variable {name}"))
    } else if let Some(path) = written.strip_prefix("file:") {
        (file(Path::new(path))?, path.to_owned())
    } else {
        (written.to_owned(), "the secret".to_owned())
    })
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
    fn several_stand_one_a_line_and_a_key_file_of_json_is_one() {
        let environment = Environment::of([
            ("LIST".into(), " a \n\nb\r\n".into()),
            ("JSON".into(), "{\n  \"type\": \"x\",\n  \"key\": \"l1\\nl2\"\n}\n".into()),
            ("ODD".into(), "a\nschl\u{fc}ssel".into()),
        ]);
        let found = |written| several(written, &environment);
        assert_eq!(found("env:LIST"), Ok(vec!["a".to_owned(), "b".to_owned()]));
        let key = r#"{"key":"l1\nl2","type":"x"}"#.to_owned();
        assert_eq!(found("env:JSON"), Ok(vec![key.clone()]));
        assert_eq!(resolve("env:JSON", &environment), Ok(key));
        assert!(found("env:ODD").is_err() && found("env:NONE").is_err() && found("\n").is_err());
        assert!(resolve("env:LIST", &environment).is_err());
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
