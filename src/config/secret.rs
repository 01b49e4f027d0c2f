//! Secrets as operators write them: the secret itself, `env:NAME` or `file:PATH`.

/// Finds the secret that `written` stands for.
pub(super) fn resolve(written: &str) -> Result<String, String> {
    let secret = if let Some(name) = written.strip_prefix("env:") {
        std::env::var(name).map_err(|_| format!("the environment variable {name} is not set"))?
    } else if let Some(path) = written.strip_prefix("file:") {
        std::fs::read_to_string(path).map_err(|e| format!("{path}: {e}"))?
    } else {
        written.to_owned()
    };
    let secret = secret.trim();
    match secret {
        "" => Err("the secret is empty".to_owned()),
        s if !s.bytes().all(|b| (0x20..0x7f).contains(&b)) => {
            Err("the secret holds characters that no header can carry".to_owned())
        }
        s => Ok(s.to_owned()),
    }
}
