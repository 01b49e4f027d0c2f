//! The scanner against bodies cut everywhere, and against serde_json.

use proptest::prelude::*;

use super::*;

const WATCHES: &[Watch] =
    &[Watch::kept("model", 64), Watch::kept("stream", 8), Watch::place("messages"), Watch::kept("n", 16)];

fn scan(parts: &[&[u8]]) -> Result<TopLevel, JsonError> {
    let mut scanner = Scanner::new(WATCHES);
    for part in parts {
        scanner.push(part)?;
    }
    scanner.finish()
}

#[test]
fn fields_are_found_wherever_the_body_is_cut() {
    let body = "{ \"messages\" : [{\"role\":\"user\",\"content\":\"é \\\" \\u00e9 {\",\"model\":\"inner\"}], \"mod\\u0065l\": \"gpt-4o\" ,\"stream\":true,\"n\":-1.5e+3,\"x\":{\"stream\":[]}}\n";
    let bytes = body.as_bytes();
    let whole = scan(&[bytes]).expect("valid");
    let text = |name: &str| {
        let f = whole.field(name).expect(name);
        &body[f.start as usize..f.end as usize]
    };
    assert_eq!(text("model"), "\"gpt-4o\"");
    assert_eq!(text("stream"), "true");
    assert_eq!(text("n"), "-1.5e+3");
    assert!(text("messages").starts_with("[{") && text("messages").ends_with("}]"));
    assert_eq!(whole.field("model").map(|f| f.raw.as_slice()), Some(b"\"gpt-4o\"".as_slice()));
    assert_eq!(whole.len, bytes.len() as u64);
    for cut in 0..=bytes.len() {
        assert_eq!(scan(&[&bytes[..cut], &bytes[cut..]]).as_ref(), Ok(&whole), "cut at {cut}");
    }
}

#[test]
fn what_is_no_object_is_refused_with_the_reason() {
    let deep = format!("{{\"a\":{}1{}}}", "[".repeat(200), "]".repeat(200));
    for (body, error) in [
        ("", JsonError::Empty),
        ("  \n", JsonError::Empty),
        ("[]", JsonError::NotAnObject),
        ("\"x\"", JsonError::NotAnObject),
        ("12", JsonError::NotAnObject),
        ("{", JsonError::Incomplete(1)),
        ("{\"a\":1", JsonError::Incomplete(6)),
        ("{\"a\":1,}", JsonError::Syntax(7)),
        ("{\"a\" 1}", JsonError::Syntax(5)),
        ("{\"a\":01}", JsonError::Syntax(6)),
        ("{\"a\":+1}", JsonError::Syntax(5)),
        ("{\"a\":1.}", JsonError::Syntax(7)),
        ("{\"a\":tru}", JsonError::Syntax(8)),
        ("{\"a\":NaN}", JsonError::Syntax(5)),
        ("{\"a\":\"\n\"}", JsonError::Syntax(6)),
        ("{\"a\":\"\\x\"}", JsonError::Syntax(7)),
        ("{\"a\":[1}", JsonError::Syntax(7)),
        ("{a:1}", JsonError::Syntax(1)),
        ("{} {}", JsonError::Syntax(3)),
        ("{\"model\":1,\"model\":2}", JsonError::Duplicate("model")),
        (&deep, JsonError::TooDeep),
    ] {
        assert_eq!(scan(&[body.as_bytes()]), Err(error), "{body}");
    }
    let long = format!("{{\"model\":\"{}\"}}", "m".repeat(100));
    assert_eq!(scan(&[long.as_bytes()]), Err(JsonError::TooLong("model")));
    assert!(matches!(scan(&[b"{\"a\":\"\xff\"}"]), Err(JsonError::NotUtf8(_))));
    assert!(matches!(scan(&[b"{\"a\":\"\xc3", b"\"}"]), Err(JsonError::NotUtf8(_))));
    assert!(matches!(scan(&[b"{\"a\":\"\xc3\\n\"}"]), Err(JsonError::NotUtf8(_))));
    assert!(matches!(scan(&[b"{\"\xe4\":1}"]), Err(JsonError::NotUtf8(_))));
    assert_eq!(scan(&[b"{\xc3\xa9:1}"]), Err(JsonError::Syntax(1)));
}

proptest! {
    #[test]
    fn bytes_of_every_kind_are_accepted_as_serde_json_accepts_them_wherever_they_are_cut(
        text in proptest::collection::vec(
            prop::sample::select(vec![
                b"a".to_vec(), b" ".to_vec(), "é".into(), "水".into(), "🚰".into(), b"\\n".to_vec(), b"\"".to_vec(),
                b"\xc3".to_vec(), b"\x80".to_vec(), b"\xff".to_vec(), b"\n".to_vec(), b"long enough for vector code".to_vec(),
            ]),
            0..8,
        ),
        cut in any::<prop::sample::Index>(),
    ) {
        let body = [b"{\"a\":\"".as_slice(), &text.concat(), b"\"}"].concat();
        let theirs = serde_json::from_slice::<serde_json::Value>(&body).is_ok();
        let (left, right) = body.split_at(cut.index(body.len() + 1));
        prop_assert_eq!(scan(&[&body]).is_ok(), theirs, "{:?}", String::from_utf8_lossy(&body));
        prop_assert_eq!(scan(&[left, right]).is_ok(), theirs);
    }

    #[test]
    fn it_accepts_exactly_what_serde_json_accepts(body in r#"\{[\[\]{}",:0-9a\\nu.eE tru-]{0,24}\}?"#) {
        let theirs = serde_json::from_str::<serde::de::IgnoredAny>(&body).is_ok();
        let ours = match scan(&[body.as_bytes()]) {
            Err(JsonError::Duplicate(_)) => return Ok(()),
            other => other.is_ok(),
        };
        prop_assert_eq!(ours, theirs, "{}", body);
    }
}

#[test]
fn skimming_from_any_byte_finds_the_same_end() {
    let body = r#"{"a":"x\"}\\","b":[{"c":"{["},1],"d":{}}"#.as_bytes();
    for at in 0..=body.len() {
        let mut scanner = Scanner::new(WATCHES);
        scanner.push(&body[..at]).expect("valid");
        for cut in at..=body.len() {
            let mut skim = scanner.skim();
            skim.push(&body[at..cut]);
            if cut > 0 {
                assert_eq!(skim.is_complete(), cut == body.len(), "from {at} to {cut}");
            }
            skim.push(&body[cut..]);
            assert!(skim.is_complete(), "from {at} cut at {cut}");
        }
    }
}

#[test]
fn members_know_their_keys_and_the_commas_around_them() {
    for body in [
        r#"{"model":"m","x":[1,{"a":2,"b":3}],"stream":true,"n":1}"#,
        "{ \"x\" : {\"y\":1,\"z\":2} ,\n\"model\" : \"m\",\t\"stream\":true , \"n\":1 }",
        r#"{"n":1}"#,
        r#"{"x":1,"n":{"a":1,"b":2},"y":[0,1]}"#,
    ] {
        let top = scan(&[body.as_bytes()]).expect(body);
        for field in ["model", "stream", "n"].iter().filter_map(|name| top.field(name)) {
            let text = &body[field.key as usize..field.start as usize];
            assert!(text.starts_with(&format!("\"{}\"", field.name)), "{body}: {text}");
            let before = body[..field.key as usize].trim_end();
            let comma = before.ends_with(',').then(|| before.len() as u64 - 1);
            assert_eq!(field.comma_before, comma, "{body}: {}", field.name);
            let after = &body[field.end as usize..];
            let comma =
                after.trim_start().starts_with(',').then(|| field.end + after.find(',').unwrap_or(0) as u64);
            assert_eq!(field.comma_after, comma, "{body}: {}", field.name);
        }
    }
}

#[test]
fn words_in_the_objects_of_an_array_are_found_wherever_the_body_is_cut() {
    const WATCHES: &[Watch] = &[
        Watch::place("messages").with_inner(Inner { key: "role", value: "developer" }),
        Watch::place("other"),
    ];
    let body = concat!(
        r#"{"x":[{"role":"developer"}],"messages":[{"role":"developer","content":"developer"},"#,
        r#"{"content":[{"role":"developer"},"role"],"role" : "developer" },{"role":"user","name":"developer"},"#,
        r#"{"role":["developer"]},["developer"],{"role":5},["developer"],{"role":"user"},["developer"],"developer","#,
        r#"{"a":{"role":"developer"}},{"role":"developers"},{"roles":"developer"},{"ro\u006ce":"developer"},{"\nrole":"developer"},{"role":"\ndeveloper"},"#,
        r#"{"role":"d\u0065veloper"},{"role":"de\u0076eloper or someone else"}],"other":[{"role":"developer"}]}"#,
    );
    let scan = |parts: &[&[u8]]| {
        let mut scanner = Scanner::new(WATCHES);
        parts.iter().for_each(|part| scanner.push(part).expect("valid"));
        scanner.finish().expect("complete")
    };
    let whole = scan(&[body.as_bytes()]);
    let found: Vec<_> =
        whole.inner.iter().map(|(start, end)| (*start, &body[*start as usize..*end as usize])).collect();
    let first = body.find(r#""messages":[{"role":""#).expect("there") + 20;
    let second = body.find(r#""role" : "#).expect("there") + 9;
    assert_eq!(found, [(first as u64, "\"developer\""), (second as u64, "\"developer\"")]);
    for cut in 0..=body.len() {
        assert_eq!(scan(&[&body.as_bytes()[..cut], &body.as_bytes()[cut..]]), whole, "cut at {cut}");
    }
}
