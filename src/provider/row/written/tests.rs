//! Rows that are right, and the sentence each mistake gets.

use super::*;

fn row(text: &str) -> Result<Row, String> {
    let mut rows = read(&format!("[[provider]]\n{text}")).map_err(|e| e.to_string())?;
    rows.remove(0).into_row().map_err(|e| e.to_string())
}

#[test]
fn what_is_usual_need_not_be_written() {
    let row = row("id = \"acme\"\nbase_url = \"https://api.acme.example\"\n").expect("valid");
    assert_eq!((&*row.id, &*row.name, &*row.prefix), ("acme", "acme", "/v1"));
    assert_eq!((row.auth, row.needs_credential), (Auth::Bearer, true));
    assert_eq!(row.quirks, [Quirk::RequestStreamUsage]);
    let paths: Vec<_> = row.speaks.iter().map(|s| s.path.to_string()).collect();
    assert_eq!(paths, ["/chat/completions", "/completions", "/embeddings", "/moderations"]);
}

#[test]
fn an_endpoint_may_have_a_dialect_and_a_path_of_its_own() {
    let row = row(concat!(
        "id = \"two\"\nendpoints = [\"chat_completions\", \"embeddings\"]\n",
        "dialects = { chat_completions = \"anthropic\" }\n",
        "paths = { embeddings = \"/{model}/vectors?v={v}\" }\nparams = { v = \"2\" }\nauth = \"header:X-Key\"\n",
    ))
    .expect("valid");
    let spoken: Vec<_> = row.speaks.iter().map(|s| (s.dialect, s.path.to_string())).collect();
    let wanted = [
        (Dialect::AnthropicMessages, "/messages".to_owned()),
        (Dialect::OpenAi, "/{model}/vectors?v={v}".to_owned()),
    ];
    assert_eq!(spoken, wanted);
    assert_eq!(row.auth, Auth::Header("x-key".into()));
}

#[test]
fn mistakes_are_refused_with_the_key() {
    for (text, words) in [
        ("id = \"\"", "id: must be"),
        ("id = \"Acme\"", "id: must be"),
        ("id = \"a b\"", "id: must be"),
        (
            "id = \"a\"\ndialect = \"klingon\"",
            "dialect: there is no dialect \"klingon\"; known are openai, anthropic, gemini, openai-responses",
        ),
        ("id = \"a\"\nquirks = [\"sing\"]", "quirks: there is no quirk \"sing\""),
        ("id = \"a\"\nquirks = [\"request-stream-usage\", \"drop-stream-options\"]", "contradict"),
        ("id = \"a\"\nendpoints = []", "endpoints: must name at least one"),
        ("id = \"a\"\nendpoints = [\"chat\"]", "there is no endpoint \"chat\"; known are chat_completions"),
        ("id = \"a\"\nendpoints = [\"embeddings\", \"embeddings\"]", "stands twice"),
        (
            "id = \"a\"\ndialect = \"anthropic\"\nendpoints = [\"embeddings\"]",
            "anthropic has no \"embeddings\"",
        ),
        (
            "id = \"a\"\nendpoints = [\"embeddings\"]\npaths = { completions = \"/x\" }",
            "not one of the provider's",
        ),
        ("id = \"a\"\npaths = { chat = \"/x\" }", "paths: there is no endpoint \"chat\""),
        ("id = \"a\"\npaths = { embeddings = \"x\" }", "must start with a slash"),
        ("id = \"a\"\npaths = { embeddings = \"/../x\" }", "no dots for a part"),
        ("id = \"a\"\npaths = { embeddings = \"/a/./x\" }", "no dots for a part"),
        ("id = \"a\"\npaths = { embeddings = \"//host/x\" }", "no empty part"),
        ("id = \"a\"\npaths = { embeddings = \"/x#y\" }", "no fragment"),
        ("id = \"a\"\npaths = { embeddings = \"/%2e%2e/x\" }", "nothing encoded"),
        ("id = \"a\"\npaths = { embeddings = \"/x?a=1?b=2\" }", "one query"),
        ("id = \"a\"\npaths = { embeddings = \"/a b\" }", "no space"),
        ("id = \"a\"\npaths = { embeddings = \"/ü\" }", "beyond ASCII"),
        (
            "id = \"a\"\npaths = { embeddings = \"/{modell}/x\" }",
            "has a place {modell}, which is no parameter; known are model",
        ),
        ("id = \"a\"\npaths = { embeddings = \"/{model/x\" }", "a brace that encloses no name"),
        ("id = \"a\"\nparams = { model = \"x\" }", "params: \"model\""),
        ("id = \"a\"\nparams = { v = \"../x\" }", "params: \"../x\" must be letters"),
        ("id = \"a\"\nparams = { v = \"..\" }", "not only dots"),
        ("id = \"a\"\nprefix = \"v1\"", "prefix: \"v1\" must start with a slash"),
        ("id = \"a\"\nprefix = \"/v1/\"", "prefix"),
        ("id = \"a\"\nprefix = \"/{model}\"", "prefix"),
        ("id = \"a\"\nbase_url = \"ftp://h\"", "must start with http:// or https://"),
        ("id = \"a\"\nbase_url = \"api.acme.example\"", "must start with http:// or https://"),
        ("id = \"a\"\nbase_url = \"https://\"", "is no address"),
        ("id = \"a\"\nbase_url = \"https://u:p@h\"", "no user"),
        ("id = \"a\"\nbase_url = \"https://h/?x=1\"", "no query"),
        ("id = \"a\"\nbase_url = \"https://h/\"", "no slash"),
        ("id = \"a\"\nbase_url = \"https://h/{model}\"", "must not hold {model}"),
        ("id = \"a\"\nbase_url = \"https://h/{account}\"", "which is no parameter"),
        ("id = \"a\"\nauth = \"basic\"", "auth: \"basic\" must be"),
        ("id = \"a\"\nauth = \"header:\"", "is no header name"),
        ("id = \"a\"\nauth = \"word:a b\"", "auth: \"word:a b\" must be"),
        ("id = \"a\"\nauth = \"header:Host\"", "set by the gateway itself"),
        ("id = \"a\"\nauth = \"none\"\nneeds_credential = true", "contradicts auth"),
        ("id = \"a\"\norganisation_header = \"a b\"", "organisation_header: \"a b\" is no header name"),
        ("id = \"a\"\ndocs = \"http://h\"", "docs"),
    ] {
        let said = row(text).expect_err(text);
        assert!(said.contains(words), "{text}\nsaid: {said}");
    }
}

#[test]
fn unknown_keys_and_wrong_types_are_refused_with_their_place() {
    for (text, words) in [
        ("id = \"a\"\nbase_ulr = \"https://h\"", "base_ulr"),
        ("id = 5", "string"),
        ("name = \"a\"", "id"),
        ("id = \"a\"\nendpoints = \"chat_completions\"", "sequence"),
        ("id = \"a\"\none_api = [-1]", "-1"),
        ("id = \"a\"\nneeds_credential = \"yes\"", "boolean"),
        ("id = \"a\"\npaths = [\"/x\"]", "map"),
    ] {
        let said = row(text).expect_err(text);
        assert!(said.contains(words) && said.contains("line"), "{text}\nsaid: {said}");
    }
}
