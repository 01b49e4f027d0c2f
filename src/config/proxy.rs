//! Proxies as operators write them: `http://user:password@host:port`.
//!
//! What was written may hold a password, so no sentence repeats it.

use http::uri::Authority;
use penstock_actors::domain::{Credential, Proxy, ProxyKind, ProxyLogin};

/// The word for no proxy, where one is set for all.
pub(super) const NONE: &str = "none";

/// Reads a proxy's address.
///
/// # Errors
/// A sentence that says what is wrong, and does not repeat what was written.
pub(super) fn parse(address: &str) -> Result<Proxy, String> {
    let known = "must start with http://, https://, socks5:// or socks5h://, or be \"none\"";
    let (scheme, rest) = address.split_once("://").ok_or(known)?;
    let (kind, default_port) = match scheme.to_ascii_lowercase().as_str() {
        "http" => (ProxyKind::Http, 80),
        "https" => (ProxyKind::Https, 443),
        "socks5" => (ProxyKind::Socks5, 1080),
        "socks5h" => (ProxyKind::Socks5h, 1080),
        _ => return Err(known.to_owned()),
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.contains(['/', '?', '#']) {
        return Err("must end with its host and port; in a login, write / as %2F, ? as %3F, # as %23".into());
    }
    let (login, place) = match rest.rsplit_once('@') {
        None => (None, rest),
        Some((login, place)) => (Some(self::login(login, kind)?), place),
    };
    let authority: Authority = place.parse().map_err(|_| "must name a host, and a port if need be")?;
    let port = match place[authority.host().len()..].strip_prefix(':') {
        None => default_port,
        Some(digits) => digits.parse().ok().filter(|port| *port > 0).ok_or("its port must be 1 to 65535")?,
    };
    if authority.host().is_empty() {
        return Err("must name a host".to_owned());
    }
    Ok(Proxy { kind, host: authority.host().into(), port, login })
}

fn login(written: &str, kind: ProxyKind) -> Result<ProxyLogin, String> {
    let (user, password) = written.split_once(':').unwrap_or((written, ""));
    let (user, password) = (decoded(user)?, decoded(password)?);
    if user.is_empty() {
        return Err("must name a user before the @".to_owned());
    }
    match kind {
        // RFC 7617, section 2.
        ProxyKind::Http | ProxyKind::Https if user.contains(':') => {
            Err("a user name for an HTTP proxy must not hold a colon".to_owned())
        }
        // RFC 1929, section 2.
        ProxyKind::Socks5 | ProxyKind::Socks5h if password.is_empty() => {
            Err("a SOCKS5 login needs a password after the user name".to_owned())
        }
        ProxyKind::Socks5 | ProxyKind::Socks5h if user.len().max(password.len()) > 255 => {
            Err("a SOCKS5 user name and password must be at most 255 bytes each".to_owned())
        }
        _ => Ok(ProxyLogin { user: Credential::new(user), password: Credential::new(password) }),
    }
}

/// RFC 3986, section 2.1.
fn decoded(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                let value = digit().and_then(|high| Some(high << 4 | digit()?));
                value.ok_or("a % in its login must be followed by two hexadecimal digits; write % as %25")?
                    as u8
            }
            other => other,
        });
    }
    let text = String::from_utf8(bytes).map_err(|_| "its login is not valid UTF-8")?;
    match text.chars().any(char::is_control) {
        true => Err("its login must not hold control characters".to_owned()),
        false => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_read_with_its_login_and_usual_port() {
        use ProxyKind::*;
        for (written, kind, host, port, login) in [
            ("http://p", Http, "p", 80, None),
            ("HTTPS://p.example/", Https, "p.example", 443, None),
            ("socks5://10.0.0.1:9050", Socks5, "10.0.0.1", 9050, None),
            ("socks5h://[::1]:1", Socks5h, "[::1]", 1, None),
            ("socks5h://[::1]", Socks5h, "[::1]", 1080, None),
            ("http://u:p%40ss%3Aword@p:3128", Http, "p", 3128, Some(("u", "p@ss:word"))),
            ("http://token@p:3128", Http, "p", 3128, Some(("token", ""))),
            ("socks5://us%C3%A9r:a@b@p", Socks5, "p", 1080, Some(("us\u{e9}r", "a@b"))),
        ] {
            let proxy = parse(written).expect("valid");
            assert_eq!((proxy.kind, &*proxy.host, proxy.port), (kind, host, port), "{written}");
            let shown = proxy.login.as_ref().map(|l| (l.user.expose(), l.password.expose()));
            assert_eq!(shown, login, "{written}");
            let hidden = format!("{proxy:?}").matches("Credential(hidden)").count();
            assert_eq!(hidden, if login.is_some() { 2 } else { 0 });
        }
    }

    #[test]
    fn bad_ones_are_refused_without_being_repeated() {
        for written in [
            "",
            "host:3128",
            "ftp://zebra@p",
            "socks4://p",
            "http://",
            "http://zebra@",
            "http://zebra:zebra@:1",
            "http://p:0",
            "http://p:65536",
            "http://p:zebra",
            "http://p:",
            "http://p/zebra",
            "http://u:ze/bra@p",
            "http://p?zebra",
            "http://zeb%ra@p",
            "http://zeb%0Dra@p",
            "http://zeb%FFra@p",
            "http://:zebra@p",
            "http://ze%3Abra:x@p",
            "socks5://zebra@p",
            "http://[::1",
            "http://ze bra",
        ] {
            let refusal = parse(written).expect_err(written);
            assert!(!refusal.contains("zebra") && !refusal.is_empty(), "{written}: {refusal}");
        }
        let long = format!("socks5://u:{}@p", "x".repeat(256));
        assert!(parse(&long).is_err());
    }
}
