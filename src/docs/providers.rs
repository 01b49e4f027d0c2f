//! The table of providers and quirks.

use std::fmt::Write as _;

use crate::provider::{
    Quirk, Registry,
    row::{Auth, Row, Speech},
};

const HEAD: &str = "\
# Providers

Made by `penstock docs providers`; the source is [config/providers.toml](../config/providers.toml). How to add
one: [README](../README.md#add-a-provider).

*One API* has the numbers of One API's channel types that a row stands for. An *address* is what stands before
the endpoint's path; a channel's `base_url` takes the place of all or part of it. `{places}` are filled by the
channel's `params`, `{model}` by the model's name. *Key* tells how the credential is shown: as `Authorization:
Bearer`, in a header of that name, or not at all; in brackets where the provider may want none.
A base URL that names a version itself gets nothing put behind it, so a gateway in between works too:
`base_url = \"https://gateway.ai.cloudflare.com/v1/ACCOUNT/GATEWAY/openai\"`.
*Checked* names the package in which address and paths were read; rows without one are from memory.
";

/// The page `docs/providers.md`.
pub fn providers() -> String {
    let mut page = HEAD.to_owned();
    page.push_str("\n| id | provider | One API | address | key | endpoints | quirks | checked |\n");
    page.push_str("|---|---|---|---|---|---|---|---|\n");
    let registry = Registry::builtin();
    for row in registry.rows() {
        line(&mut page, row);
    }
    let retired: Vec<_> = registry.rows().filter_map(|row| Some((&row.id, row.retired.as_ref()?))).collect();
    if !retired.is_empty() {
        page.push_str("\nRetired:\n\n");
        for (id, why) in retired {
            // Writing to a text cannot fail.
            let _ = writeln!(page, "- `{id}`: {why}.");
        }
    }
    page.push_str(
        "\n## Quirks\n\nSmall rewrites of a passing body, where a provider speaks OpenAI's dialect. ",
    );
    page.push_str("A channel's `quirks` take the place of its\nprovider's.\n\n| quirk | does |\n|---|---|\n");
    for quirk in Quirk::ALL {
        let _ = writeln!(page, "| `{}` | {} |", quirk.name(), quirk.about());
    }
    page
}

fn line(page: &mut String, row: &Row) {
    let numbers: Vec<_> = row.one_api.iter().map(u32::to_string).collect();
    let address = match &row.base_url {
        Some(base) => format!("`{base}{}`", row.prefix_for(&base.to_string())),
        None if row.prefix.is_empty() => "yours".to_owned(),
        None => format!("yours + `{}`", row.prefix),
    };
    let key = match &row.auth {
        Auth::Bearer => "Bearer".to_owned(),
        Auth::Word(word) => format!("`{word} ...`"),
        Auth::Header(name) => format!("`{name}`"),
        Auth::Signed(scheme) => format!("signed: {}", scheme.name()),
        Auth::Token(grant) => format!("token: {}", grant.name()),
        Auth::None => "none".to_owned(),
    };
    let key = if row.needs_credential || row.auth == Auth::None { key } else { format!("({key})") };
    let endpoints: Vec<_> = row.speaks.iter().map(|speech| endpoint(row, speech)).collect();
    let quirks: Vec<_> = row.quirks.iter().map(|q| q.name()).collect();
    let name = match &row.docs {
        Some(docs) => format!("[{}]({docs})", row.name),
        None => row.name.to_string(),
    };
    let checked = row.checked.as_deref().unwrap_or_default();
    let _ = writeln!(
        page,
        "| `{}` | {name} | {} | {address} | {key} | {} | {} | {checked} |",
        row.id,
        numbers.join(", "),
        endpoints.join(", "),
        quirks.join(", "),
    );
}

/// The endpoint, with its path where that is unusual and its dialect where it is not OpenAI's.
fn endpoint(row: &Row, speech: &Speech) -> String {
    let mut text = speech.endpoint.as_str().to_owned();
    if speech.dialect != crate::dialect::Dialect::OpenAi {
        let _ = write!(text, " ({})", speech.dialect.name());
    }
    if row.has_own_path(speech) {
        let _ = write!(text, " `{}`", speech.path);
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_page_in_the_repository_is_what_the_command_prints() {
        let page = include_str!("../../docs/providers.md");
        assert!(page == super::providers(), "make it anew: penstock docs providers > docs/providers.md");
    }
}
