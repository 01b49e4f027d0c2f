//! What is fetched for clients: defaults, and who may be asked beside public hosts.

use std::{net::IpAddr, time::Duration};

use super::Resolver;
use crate::config::{Media, problem::At, raw};

const MAX_BYTES: u64 = 20 << 20;
const MAX_COUNT: u32 = 20;
const TIMEOUT: Duration = Duration::from_secs(10);
const LONGEST_TIMEOUT: Duration = Duration::from_secs(600);
const MAX_REDIRECTS: u32 = 3;
const MOST_REDIRECTS: u32 = 20;

impl Resolver<'_> {
    pub(super) fn media(&mut self, raw: raw::Media) -> Media {
        let at = |key: &str| At::Setting(format!("media.{key}"));
        let mut media = Media {
            fetch: raw.fetch.unwrap_or(true),
            max_bytes: raw.max_bytes.map_or(MAX_BYTES, |size| size.0),
            max_count: raw.max_count.unwrap_or(MAX_COUNT),
            timeout: raw.timeout.map_or(TIMEOUT, |span| span.0),
            max_redirects: raw.max_redirects.unwrap_or(MAX_REDIRECTS),
            allow_names: Vec::new(),
            allow_ranges: Vec::new(),
        };
        if media.max_bytes == 0 {
            self.refuse(&at("max_bytes"), "must be more than 0; fetch = false fetches nothing");
        }
        if media.timeout.is_zero() || media.timeout > LONGEST_TIMEOUT {
            self.refuse(&at("timeout"), "must be more than 0 and at most 10 minutes");
        }
        if media.max_redirects > MOST_REDIRECTS {
            self.refuse(&at("max_redirects"), format!("must be at most {MOST_REDIRECTS}"));
        }
        for written in raw.allow_hosts {
            match allowed(&written) {
                Some(One::Name(name)) => media.allow_names.push(name),
                Some(One::Range(range)) => media.allow_ranges.push(range),
                None => {
                    let problem = format!(
                        "\"{written}\" is neither a host name, as files.example, nor an address or a range of them, as \
                         10.1.0.0/16"
                    );
                    self.refuse(&at("allow_hosts"), problem);
                }
            }
        }
        media
    }
}

enum One {
    Name(String),
    Range((IpAddr, u8)),
}

/// Reads one host that is allowed.
fn allowed(written: &str) -> Option<One> {
    let (address, bits) = match written.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (written, None),
    };
    if let Ok(address) = address.parse::<IpAddr>() {
        let width = if address.is_ipv4() { 32 } else { 128 };
        let is_number = |bits: &&str| bits.len() <= 3 && bits.bytes().all(|b| b.is_ascii_digit());
        let bits = match bits {
            None => width,
            Some(bits) => Some(bits).filter(is_number)?.parse().ok().filter(|bits| *bits <= width)?,
        };
        return Some(One::Range((address, bits)));
    }
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    let last = written.rsplit('.').next().unwrap_or_default();
    let is_name =
        written.len() <= 253 && written.split('.').all(is_label) && !last.bytes().all(|b| b.is_ascii_digit());
    is_name.then(|| One::Name(written.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_addresses_and_ranges_are_told_apart() {
        for (written, wanted) in [
            ("Files", "files"),
            ("media.intern.example", "media.intern.example"),
            ("10.1.0.0/16", "10.1.0.0/16"),
            ("10.1.2.3", "10.1.2.3/32"),
            ("::1", "::1/128"),
            ("fd00::/8", "fd00::/8"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("", "-"),
            ("10.1.0.0/33", "-"),
            ("10.1.0.0/+8", "-"),
            ("10.1.0.0/", "-"),
            ("10.1", "-"),
            ("files:80", "-"),
            ("http://files", "-"),
            ("*.example", "-"),
            ("files.", "-"),
            ("b\u{fc}cher.example", "-"),
        ] {
            let told = match allowed(written) {
                Some(One::Name(name)) => name,
                Some(One::Range((address, bits))) => format!("{address}/{bits}"),
                None => "-".to_owned(),
            };
            assert_eq!(told, wanted, "{written}");
        }
    }
}
