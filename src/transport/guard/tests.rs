//! The rules as tables: what is refused, in every notation that the world has thought of.

use proptest::prelude::*;

use super::*;

fn address(text: &str) -> IpAddr {
    text.parse().expect(text)
}

#[test]
fn only_public_addresses_are_public() {
    for text in [
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "10.255.255.255",
        "100.64.0.1",
        "100.100.100.200",
        "100.127.255.255",
        "127.0.0.1",
        "127.255.255.254",
        "168.63.129.16",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.1",
        "192.0.0.192",
        "192.0.2.1",
        "192.31.196.1",
        "192.88.99.1",
        "192.168.0.1",
        "198.18.0.1",
        "198.19.255.255",
        "198.51.100.7",
        "203.0.113.9",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::7f00:1",
        "::ffff:127.0.0.1",
        "::ffff:8.8.8.8",
        "::ffff:0:8.8.8.8",
        "64:ff9b::7f00:1",
        "64:ff9b::808:808",
        "64:ff9b:1::1",
        "100::1",
        "2001::1",
        "2001:0:7f00:1::",
        "2001:2::1",
        "2001:10::1",
        "2001:20::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "2002:808:808::1",
        "2620:4f:8000::1",
        "3fff::1",
        "5f00::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fec0::1",
        "ff02::1",
    ] {
        assert!(!is_public(address(text)), "{text}");
    }
    for text in [
        "1.1.1.1",
        "8.8.8.8",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "168.63.129.15",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.1",
        "192.167.255.255",
        "198.17.255.255",
        "198.20.0.0",
        "223.255.255.255",
        "2001:200::1",
        "2001:4860:4860::8888",
        "2003::1",
        "2606:4700::1111",
        "2a00::1",
    ] {
        assert!(is_public(address(text)), "{text}");
    }
}

#[test]
fn urls_that_can_be_read_in_two_ways_are_refused() {
    use Forbidden::{Host, Malformed, Scheme, UserInfo};
    for (url, wanted) in [
        ("", Scheme),
        ("files/x.png", Scheme),
        ("//h.example/x", Scheme),
        ("ftp://h.example/x", Scheme),
        ("file:///etc/passwd", Scheme),
        ("gopher://h.example:70/x", Scheme),
        ("data:image/png;base64,QQ==", Scheme),
        ("http:/h.example/x", Scheme),
        ("http://user@h.example/", UserInfo),
        ("http://user:secret@h.example/", UserInfo),
        ("http://h.example@127.0.0.1/", UserInfo),
        ("http://h.example\\@127.0.0.1/", Malformed),
        ("http:\\\\127.0.0.1/", Scheme),
        ("http://h.example\t.evil/", Malformed),
        ("http://h.example /", Malformed),
        ("http://h.example/a b", Malformed),
        ("http://h.example/a\r\nhost: x", Malformed),
        ("http://h.example\0/", Malformed),
        ("http://h.example\u{2028}/", Malformed),
        ("http://h.example:/", Malformed),
        ("http://h.example:0/", Malformed),
        ("http://h.example:65536/", Malformed),
        ("http://h.example:+80/", Malformed),
        ("http://h.example:080080/", Malformed),
        ("http://h.example:80:80/", Malformed),
        ("http://", Host),
        ("http:///x", Host),
        ("http://./", Host),
        ("http://h.example./", Host),
        ("http://127.0.0.1./", Host),
        ("http://h..example/", Host),
        ("http://.h.example/", Host),
        ("http://-h.example/", Host),
        ("http://h%2eexample/", Host),
        ("http://%31%32%37.0.0.1/", Host),
        ("http://h.example%00.evil/", Host),
        ("http://127.1/", Host),
        ("http://127.0.1/", Host),
        ("http://0177.1/", Host),
        ("http://0177.0.0.1/", Host),
        ("http://127.0.0.01/", Host),
        ("http://2130706433/", Host),
        ("http://017700000001/", Host),
        ("http://0x7f000001/", Host),
        ("http://0X7F.1/", Host),
        ("http://127.0.0.0x1/", Host),
        ("http://256.256.256.256/", Host),
        ("http://1.2.3.4.5/", Host),
        ("http://0/", Host),
        ("http://\u{ff11}\u{ff12}\u{ff17}.0.0.1/", Host),
        ("http://\u{2460}\u{2461}\u{2466}.0.0.1/", Host),
        ("http://127\u{3002}0\u{3002}0\u{3002}1/", Host),
        ("http://loc\u{e1}lhost/", Host),
        ("http://b\u{fc}cher.example/", Host),
        ("http://[::1/", Malformed),
        ("http://::1/", Malformed),
        ("http://[fe80::1%25eth0]/", Host),
        ("http://[fe80::1%eth0]/", Host),
        ("http://[v1.x]/", Host),
        ("http://[127.0.0.1]/", Host),
        ("http://[::1]x/", Host),
        ("http://h.example,127.0.0.1/", Host),
    ] {
        assert_eq!(Place::read(url), Err(wanted), "{url}");
    }
    assert_eq!(Place::read(&format!("http://h.example/{}", "a".repeat(LONGEST))), Err(Malformed));
    assert_eq!(Place::read(&format!("http://{}.example/", "a".repeat(64))), Err(Host));
}

#[test]
fn plain_urls_are_read() {
    for (url, tls, authority, path) in [
        ("http://h.example", false, "h.example", "/"),
        ("HTTPS://H.Example/A?b=c#d", true, "h.example", "/A?b=c"),
        ("https://h.example:443/", true, "h.example", "/"),
        ("https://h.example:80/", true, "h.example:80", "/"),
        ("http://h.example:8080?x", false, "h.example:8080", "/?x"),
        ("http://8.8.8.8/x", false, "8.8.8.8", "/x"),
        ("http://[2606:4700::1111]:8443/x", false, "[2606:4700::1111]:8443", "/x"),
        ("https://xn--bcher-kva.example/b%20c", true, "xn--bcher-kva.example", "/b%20c"),
        ("https://h.example/\u{56fe}.png?q=\u{e9}", true, "h.example", "/%E5%9B%BE.png?q=%C3%A9"),
        ("https://h.example/a|b{c}\"", true, "h.example", "/a%7Cb%7Bc%7D%22"),
        ("https://h_1.example/@x:y", true, "h_1.example", "/@x:y"),
    ] {
        let place = Place::read(url).expect(url);
        assert_eq!(
            (place.tls, place.authority().as_str(), place.path.as_str()),
            (tls, authority, path),
            "{url}"
        );
    }
}

#[test]
fn redirects_are_read_as_urls_are() {
    let from = Place::read("https://h.example:8443/a/b?c").expect("plain");
    for (location, wanted) in [
        ("https://other.example/x", Ok("https other.example /x")),
        ("http://other.example/x#y", Ok("http other.example /x")),
        ("//other.example/x", Ok("https other.example /x")),
        ("/x?y", Ok("https h.example:8443 /x?y")),
        ("x", Ok("https h.example:8443 /a/x")),
        ("?x", Ok("https h.example:8443 /a/b?x")),
        ("../x", Ok("https h.example:8443 /a/../x")),
        ("", Err(Forbidden::Malformed)),
        ("#x", Err(Forbidden::Malformed)),
        ("//u@other.example/", Err(Forbidden::UserInfo)),
        ("file:///etc/passwd", Err(Forbidden::Scheme)),
        ("javascript:alert(1)", Err(Forbidden::Scheme)),
        ("http://0x7f.1/", Err(Forbidden::Host)),
        ("//127.1/", Err(Forbidden::Host)),
        ("/\\evil.example", Err(Forbidden::Malformed)),
    ] {
        let told = from.follow(location).map(|place| {
            format!("{} {} {}", if place.tls { "https" } else { "http" }, place.authority(), place.path)
        });
        assert_eq!(told.as_deref().map_err(|e| *e), wanted, "{location}");
    }
}

fn admit(url: &str, addresses: &[&str], allowed: &Allowed) -> Result<(), Forbidden> {
    let addresses: Vec<IpAddr> = addresses.iter().map(|text| address(text)).collect();
    Place::read(url).expect(url).admit(&addresses, allowed)
}

#[test]
fn a_name_is_admitted_by_all_of_its_addresses() {
    let nobody = Allowed::default();
    for (url, addresses, wanted) in [
        ("http://h.example/", &["8.8.8.8", "2606:4700::1"][..], Ok(())),
        ("http://h.example/", &["8.8.8.8", "10.0.0.1"], Err(Forbidden::Private)),
        ("http://h.example/", &["::1", "8.8.8.8"], Err(Forbidden::Private)),
        ("http://h.example/", &[], Err(Forbidden::Private)),
        ("http://localhost/", &["8.8.8.8"], Err(Forbidden::Private)),
        ("http://h.example:22/", &["8.8.8.8"], Err(Forbidden::Port)),
        ("http://h.example:6379/", &["8.8.8.8"], Ok(())),
    ] {
        assert_eq!(admit(url, addresses, &nobody), wanted, "{url} {addresses:?}");
    }
}

#[test]
fn operators_allow_names_and_ranges() {
    let allowed = Allowed {
        names: vec!["files".to_owned(), "media.intern.example".to_owned()],
        ranges: vec![(address("10.1.0.0"), 16), (address("fd00::"), 8), (address("192.168.1.5"), 32)],
    };
    for (url, addresses, wanted) in [
        ("http://files:81/", &["127.0.0.1"][..], Ok(())),
        ("http://FILES/", &["10.9.9.9"], Ok(())),
        ("http://media.intern.example/", &["192.168.9.9"], Ok(())),
        ("http://x.media.intern.example/", &["192.168.9.9"], Err(Forbidden::Private)),
        ("http://h.example/", &["10.1.255.255", "8.8.8.8"], Ok(())),
        ("http://h.example:22/", &["10.1.255.255"], Ok(())),
        ("http://h.example:22/", &["10.1.255.255", "8.8.8.8"], Err(Forbidden::Port)),
        ("http://h.example/", &["10.2.0.0"], Err(Forbidden::Private)),
        ("http://h.example/", &["192.168.1.5"], Ok(())),
        ("http://h.example/", &["192.168.1.4"], Err(Forbidden::Private)),
        ("http://h.example/", &["fdff::1"], Ok(())),
        ("http://h.example/", &["::ffff:10.1.0.1"], Err(Forbidden::Private)),
    ] {
        assert_eq!(admit(url, addresses, &allowed), wanted, "{url} {addresses:?}");
    }
    let all = Allowed { names: Vec::new(), ranges: vec![(address("0.0.0.0"), 0)] };
    assert_eq!(admit("http://h.example/", &["127.0.0.1"], &all), Ok(()));
    assert_eq!(admit("http://h.example/", &["::1"], &all), Err(Forbidden::Private));
}

proptest! {
    #[test]
    fn whatever_a_client_writes_is_refused_or_becomes_a_plain_request(url in "(https?://)?[ -~\u{e9}\u{ff11}]{0,40}") {
        if let Ok(place) = Place::read(&url) {
            let uri: http::Uri = format!("http://{}{}", place.authority(), place.path).parse().expect("a URI");
            prop_assert_eq!(uri.host().map(str::len).unwrap_or_default() > 0, true);
            prop_assert!(!uri.authority().expect("one").as_str().contains('@'));
            prop_assert!(place.path.starts_with('/') && place.path.bytes().all(|b| (0x21..=0x7e).contains(&b)));
        }
    }
}
