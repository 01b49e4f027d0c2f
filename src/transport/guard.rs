//! Which addresses that a client names may be fetched. Pure: what a URL says, where a redirect leads, which of a
//! name's addresses are public.
//!
//! Sources: RFC 3986; the IANA registries of special-purpose addresses (RFC 6890 and what updates it). What other
//! software might read in another way (numbers in other bases, dots at the end, other scripts) is refused, not
//! guessed at.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Longest URL, in bytes.
const LONGEST: usize = 8 << 10;

/// What an operator allows beside the public addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowed {
    /// Host names, in lower case; whatever their addresses are.
    pub names: Vec<String>,
    /// Ranges of addresses: the first, and how many of its bits count.
    pub ranges: Vec<(IpAddr, u8)>,
}

/// Where a medium is, as far as it was checked without asking for a name's addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Whether TLS is spoken.
    pub tls: bool,
    /// Who is asked.
    pub host: Host,
    /// TCP port.
    pub port: u16,
    /// Path and query; nothing but visible ASCII.
    pub path: String,
}

/// A host as a URL names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// A name, in lower case.
    Name(String),
    /// An address.
    Address(IpAddr),
}

/// Why an address is not fetched; ends the sentence that the address begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    /// Another scheme, or none.
    #[error("must begin with http:// or https://")]
    Scheme,
    /// No URL, or one that can be read in two ways.
    #[error("is not a plain URL")]
    Malformed,
    /// A user name or password.
    #[error("must not hold a user name or password")]
    UserInfo,
    /// A host that is neither a plain name nor a plain address.
    #[error("must name its host by a full domain name in ASCII or by an IP address in the usual notation")]
    Host,
    /// An address that is not public.
    #[error("leads to an address that is not public")]
    Private,
    /// A port of other services.
    #[error("must use port 80, 443 or one above 1023")]
    Port,
}

impl Place {
    /// Reads a URL.
    ///
    /// # Errors
    /// [`Forbidden`], whatever its host's addresses are.
    pub fn read(url: &str) -> Result<Self, Forbidden> {
        if url.len() > LONGEST {
            return Err(Forbidden::Malformed);
        }
        let (scheme, rest) = url.split_once("://").ok_or(Forbidden::Scheme)?;
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return Err(Forbidden::Scheme),
        };
        // Browsers read a backslash as a slash, others do not; white space and controls are dropped by some.
        if rest.chars().any(|c| c == '\\' || c.is_whitespace() || c.is_control()) {
            return Err(Forbidden::Malformed);
        }
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if authority.contains('@') {
            return Err(Forbidden::UserInfo);
        }
        let (host, port) = split_port(authority)?;
        let port = port.unwrap_or(if tls { 443 } else { 80 });
        Ok(Self { tls, host: Host::read(host)?, port, path: path_of(path) })
    }

    /// Where a redirect leads (RFC 3986, section 5.2).
    ///
    /// # Errors
    /// [`Forbidden`], as for a URL.
    pub fn follow(&self, location: &str) -> Result<Self, Forbidden> {
        let location = location.split('#').next().unwrap_or_default();
        let scheme = if self.tls { "https" } else { "http" };
        let has_scheme = location.split_once(':').is_some_and(|(s, _)| {
            !s.is_empty() && s.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
        });
        let base = || format!("{scheme}://{}", self.authority());
        let path = self.path.split('?').next().unwrap_or_default();
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        match location {
            "" => Err(Forbidden::Malformed),
            there if has_scheme => Self::read(there),
            there if there.starts_with("//") => Self::read(&format!("{scheme}:{there}")),
            there if there.starts_with('/') => Self::read(&format!("{}{there}", base())),
            there if there.starts_with('?') => Self::read(&format!("{}{path}{there}", base())),
            there => Self::read(&format!("{}{folder}/{there}", base())),
        }
    }

    /// Host and port as a URL has them; the port only where it is not the usual one.
    pub fn authority(&self) -> String {
        let host = match &self.host {
            Host::Name(name) => name.clone(),
            Host::Address(IpAddr::V4(address)) => address.to_string(),
            Host::Address(IpAddr::V6(address)) => format!("[{address}]"),
        };
        match (self.tls, self.port) {
            (true, 443) | (false, 80) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }

    /// Whether the place may be asked, now that its host's addresses are known. All must be allowed: which one
    /// answers is not ours to choose.
    ///
    /// # Errors
    /// [`Forbidden`] where one is not.
    pub fn admit(&self, addresses: &[IpAddr], allowed: &Allowed) -> Result<(), Forbidden> {
        if let Host::Name(name) = &self.host
            && allowed.names.contains(name)
        {
            return Ok(());
        }
        let is_allowed = |address: &IpAddr| allowed.ranges.iter().any(|range| is_within(*address, *range));
        if !addresses.is_empty() && addresses.iter().all(is_allowed) {
            return Ok(());
        }
        // A name without a dot is one of the operator's own network.
        if matches!(&self.host, Host::Name(name) if !name.contains('.')) {
            return Err(Forbidden::Private);
        }
        if addresses.is_empty() || !addresses.iter().all(|address| is_public(*address) || is_allowed(address))
        {
            return Err(Forbidden::Private);
        }
        // Below, services listen that a line of HTTP may harm.
        if !matches!(self.port, 80 | 443 | 1024..) {
            return Err(Forbidden::Port);
        }
        Ok(())
    }
}

impl Host {
    fn read(host: &str) -> Result<Self, Forbidden> {
        if let Some(inner) = host.strip_prefix('[') {
            let inner = inner.strip_suffix(']').ok_or(Forbidden::Host)?;
            // Zones (`%eth0`) are no part of what the parser takes.
            return inner.parse::<Ipv6Addr>().map(|a| Self::Address(a.into())).map_err(|_| Forbidden::Host);
        }
        // The parser takes four decimal numbers without zeros in front, and nothing else.
        if let Ok(address) = host.parse::<Ipv4Addr>() {
            return Ok(Self::Address(address.into()));
        }
        let labels: Vec<&str> = host.split('.').collect();
        let is_label = |label: &&str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        // What ends in a number is an address to many resolvers: 127.1, 0x7f.1, 2130706433.
        let last = labels.last().copied().unwrap_or_default();
        let is_number = last.bytes().all(|b| b.is_ascii_digit())
            || last.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("0x"));
        if host.len() > 253 || !labels.iter().all(is_label) || is_number {
            return Err(Forbidden::Host);
        }
        Ok(Self::Name(host.to_ascii_lowercase()))
    }
}

fn split_port(authority: &str) -> Result<(&str, Option<u16>), Forbidden> {
    let behind_host = authority.rfind(']').map_or(0, |at| at + 1);
    match authority[behind_host..].find(':') {
        None => Ok((authority, None)),
        Some(colon) => {
            let (host, port) = (&authority[..behind_host + colon], &authority[behind_host + colon + 1..]);
            let is_number = (1..=5).contains(&port.len()) && port.bytes().all(|b| b.is_ascii_digit());
            match port.parse() {
                Ok(port @ 1..) if is_number => Ok((host, Some(port))),
                _ => Err(Forbidden::Malformed),
            }
        }
    }
}

/// Path and query without the fragment; what is no visible ASCII is written as bytes (RFC 3986, section 2.1).
fn path_of(text: &str) -> String {
    let text = text.split('#').next().unwrap_or_default();
    let mut path = String::with_capacity(text.len() + 1);
    if !text.starts_with('/') {
        path.push('/');
    }
    for byte in text.bytes() {
        match byte {
            b'"' | b'<' | b'>' | b'`' | b'{' | b'}' | b'|' | b'^' => path.push_str(&format!("%{byte:02X}")),
            0x21..=0x7e => path.push(char::from(byte)),
            _ => path.push_str(&format!("%{byte:02X}")),
        }
    }
    path
}

/// Ranges of IPv4 that are no public hosts'.
const NOT_PUBLIC_V4: [([u8; 4], u8); 17] = [
    ([0, 0, 0, 0], 8),
    ([10, 0, 0, 0], 8),
    // Carriers' own translation.
    ([100, 64, 0, 0], 10),
    ([127, 0, 0, 0], 8),
    // Link-local; clouds tell machines their secrets there.
    ([169, 254, 0, 0], 16),
    ([172, 16, 0, 0], 12),
    ([192, 0, 0, 0], 24),
    // Documentation.
    ([192, 0, 2, 0], 24),
    ([192, 88, 99, 0], 24),
    ([192, 168, 0, 0], 16),
    // Benchmarks.
    ([198, 18, 0, 0], 15),
    ([198, 51, 100, 0], 24),
    ([203, 0, 113, 0], 24),
    // Azure's own service, which looks public.
    ([168, 63, 129, 16], 32),
    ([192, 31, 196, 0], 24),
    // Multicast; reserved and broadcast.
    ([224, 0, 0, 0], 4),
    ([240, 0, 0, 0], 4),
];

/// Ranges of IPv6 inside 2000::/3 that are no public hosts'. All else of IPv6 is none: loopback, addresses of IPv4
/// inside those of IPv6, translation (64:ff9b::/96, 64:ff9b:1::/48), local and multicast ones.
const NOT_PUBLIC_V6: [(Ipv6Addr, u8); 5] = [
    // Teredo (2001::/32), ORCHID, benchmarks and other protocols' own.
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    // Documentation.
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
    // 6to4, which holds an address of IPv4.
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0), 48),
];

/// Whether an address is one of the public internet's hosts.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => !NOT_PUBLIC_V4
            .iter()
            .any(|(first, bits)| is_within(address, (Ipv4Addr::from(*first).into(), *bits))),
        IpAddr::V6(_) => {
            let global = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0).into(), 3);
            is_within(address, global)
                && !NOT_PUBLIC_V6.iter().any(|(first, bits)| is_within(address, ((*first).into(), *bits)))
        }
    }
}

fn is_within(address: IpAddr, (first, bits): (IpAddr, u8)) -> bool {
    let same = |a: u128, b: u128, width: u32| {
        let ignored = width.saturating_sub(u32::from(bits));
        a.checked_shr(ignored).unwrap_or(0) == b.checked_shr(ignored).unwrap_or(0)
    };
    match (address, first) {
        (IpAddr::V4(a), IpAddr::V4(b)) => same(a.to_bits().into(), b.to_bits().into(), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => same(a.to_bits(), b.to_bits(), 128),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
