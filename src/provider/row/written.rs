//! Rows as they are written, in `config/providers.toml` and in an operator's settings, and what may be written.

use std::{collections::BTreeMap, sync::Arc};

use penstock_actors::domain::Endpoint;
use serde::Deserialize;

use super::{
    Auth, Param, Row, Speech, Template, natural,
    template::{is_param, is_reserved},
    usual, usual_paths,
};
use crate::{dialect::Dialect, provider::Quirk};

/// A table `[[provider]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Written {
    id: String,
    name: Option<String>,
    #[serde(default)]
    one_api: Vec<u32>,
    base_url: Option<String>,
    prefix: Option<String>,
    #[serde(default)]
    params: BTreeMap<String, String>,
    auth: Option<String>,
    needs_credential: Option<bool>,
    organisation_header: Option<String>,
    project_header: Option<String>,
    dialect: Option<String>,
    #[serde(default)]
    dialects: BTreeMap<String, String>,
    endpoints: Option<Vec<String>>,
    #[serde(default)]
    paths: BTreeMap<String, String>,
    #[serde(default)]
    stream_paths: BTreeMap<String, String>,
    #[serde(default)]
    path_names: BTreeMap<String, String>,
    quirks: Option<Vec<String>>,
    #[serde(default)]
    hosts: Vec<String>,
    docs: Option<String>,
    checked: Option<String>,
    retired: Option<String>,
}

/// Why a row was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("provider \"{id}\": {field}: {problem}")]
pub struct RowError {
    /// The row.
    pub id: String,
    /// The key in its table.
    pub field: &'static str,
    /// What is wrong, and what is allowed.
    pub problem: String,
}

type Refused = (&'static str, String);

/// Reads the tables `[[provider]]` of a text that may hold other settings too.
///
/// # Errors
/// Where the text is no TOML, or a key of such a table is misspelt or of a wrong type; with its place.
pub fn read(text: &str) -> Result<Vec<Written>, toml::de::Error> {
    #[derive(Deserialize)]
    struct Rows {
        #[serde(default, rename = "provider")]
        rows: Vec<Written>,
    }
    Ok(toml::from_str::<Rows>(text)?.rows)
}

impl Written {
    /// Makes the row.
    ///
    /// # Errors
    /// [`RowError`] with the first key whose value cannot be.
    pub fn into_row(self) -> Result<Row, RowError> {
        let id = self.id.clone();
        self.row().map_err(|(field, problem)| RowError { id, field, problem })
    }

    fn row(self) -> Result<Row, Refused> {
        id(&self.id)?;
        let dialect = self.dialect.as_deref().map_or(Ok(Dialect::OpenAi), dialect)?;
        let params = params(&self.params)?;
        let speaks = speaks(&self, dialect, &params)?;
        let base_url = match self.base_url.as_deref() {
            None => None,
            Some(text) => Some(base_url(text, &params).map_err(|problem| ("base_url", problem))?),
        };
        let prefix = self.prefix.unwrap_or_else(|| "/v1".to_owned());
        if !prefix.is_empty() {
            plain_path(&prefix).map_err(|problem| ("prefix", problem))?;
            if prefix.contains(['?', '{', '}']) || prefix.ends_with('/') {
                return Err(("prefix", format!("\"{prefix}\" must be a plain path that ends with no slash")));
            }
        }
        let auth = self.auth.as_deref().map_or(Ok(Auth::Bearer), auth)?;
        let needs_credential = self.needs_credential.unwrap_or(auth != Auth::None);
        if needs_credential && auth == Auth::None {
            return Err(("needs_credential", "contradicts auth = \"none\"".to_owned()));
        }
        let quirks = match &self.quirks {
            Some(names) => Quirk::by_names(names.iter().map(String::as_str)).map_err(|p| ("quirks", p))?,
            None if speaks.iter().any(|s| s.dialect == Dialect::OpenAi) => vec![Quirk::RequestStreamUsage],
            None => Vec::new(),
        };
        if let Some(link) = self.docs.as_deref().filter(|link| !link.starts_with("https://")) {
            return Err(("docs", format!("\"{link}\" must start with https://")));
        }
        Ok(Row {
            name: self.name.as_deref().unwrap_or(&self.id).into(),
            id: self.id.into(),
            one_api: self.one_api,
            base_url,
            prefix: prefix.into(),
            params,
            auth,
            needs_credential,
            organisation_header: header("organisation_header", self.organisation_header)?,
            project_header: header("project_header", self.project_header)?,
            path_names: path_names(self.path_names)?,
            speaks,
            quirks,
            hosts: hosts(&self.hosts)?,
            docs: self.docs.map(Arc::from),
            checked: self.checked.map(Arc::from),
            retired: self.retired.map(Arc::from),
        })
    }
}

fn id(id: &str) -> Result<(), Refused> {
    let fits = (1..=64).contains(&id.len())
        && id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !id.starts_with('-');
    match fits {
        true => Ok(()),
        false => Err(("id", "must be 1 to 64 lower-case letters, digits and dashes".to_owned())),
    }
}

fn dialect(name: &str) -> Result<Dialect, Refused> {
    let known = || Dialect::ALL.map(Dialect::name).join(", ");
    let found = Dialect::ALL.into_iter().find(|d| d.name() == name);
    found.ok_or_else(|| ("dialect", format!("there is no dialect \"{name}\"; known are {}", known())))
}

fn endpoint(field: &'static str, name: &str) -> Result<Endpoint, Refused> {
    let known = || Endpoint::ALL.map(Endpoint::as_str).join(", ");
    let found = Endpoint::ALL.into_iter().find(|e| e.as_str() == name);
    found.ok_or_else(|| (field, format!("there is no endpoint \"{name}\"; known are {}", known())))
}

fn auth(text: &str) -> Result<Auth, Refused> {
    match Auth::parse(text).map_err(|problem| ("auth", problem))? {
        Auth::Header(name) => {
            let name = header("auth", Some(name.to_string()))?;
            name.map(Auth::Header).ok_or_else(|| ("auth", format!("\"{text}\" names no header")))
        }
        auth => Ok(auth),
    }
}

/// Hosts by name, or with a leading dot all below; never a whole top-level domain.
fn hosts(written: &[String]) -> Result<Vec<Arc<str>>, Refused> {
    let is_part = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    let fits = |host: &&String| {
        let name = host.strip_prefix('.').unwrap_or(host);
        name.contains('.') && name.split('.').all(is_part)
    };
    match written.iter().find(|host| !fits(host)) {
        Some(host) => {
            let problem = "must be the name of a host in lower case, or a dot and what all of them end with";
            Err(("hosts", format!("\"{host}\" {problem}")))
        }
        None => Ok(written.iter().map(|host| host.as_str().into()).collect()),
    }
}

/// Headers that the transport writes itself.
const TRANSPORT: [&str; 6] =
    ["host", "content-length", "transfer-encoding", "connection", "content-type", "expect"];

fn header(field: &'static str, name: Option<String>) -> Result<Option<Arc<str>>, Refused> {
    let Some(name) = name else { return Ok(None) };
    match http::HeaderName::from_bytes(name.as_bytes()) {
        Ok(parsed) if TRANSPORT.contains(&parsed.as_str()) => {
            Err((field, format!("\"{name}\" is set by the gateway itself")))
        }
        Ok(parsed) => Ok(Some(parsed.as_str().into())),
        Err(_) => Err((field, format!("\"{name}\" is no header name"))),
    }
}

fn params(written: &BTreeMap<String, String>) -> Result<Vec<Param>, Refused> {
    let param = |(name, default): (&String, &String)| {
        if !is_param(name) || is_reserved(name) {
            let problem = format!(
                "\"{name}\" must be lower-case letters, digits and underscores, and not \"model\" or \"model_path\""
            );
            return Err(("params", problem));
        }
        if !default.is_empty() && !is_param_value(default) {
            return Err(("params", format!("\"{default}\" {PARAM_VALUE}")));
        }
        let default = (!default.is_empty()).then(|| default.as_str().into());
        Ok(Param { name: name.as_str().into(), default })
    };
    written.iter().map(param).collect()
}

/// Models, and their names in paths.
type PathNames = Vec<(Arc<str>, Arc<str>)>;

fn path_names(written: BTreeMap<String, String>) -> Result<PathNames, Refused> {
    let wrong = written.values().find(|name| !is_param_value(name));
    match wrong {
        Some(name) => Err(("path_names", format!("\"{name}\" {PARAM_VALUE}"))),
        None => Ok(written.into_iter().map(|(model, name)| (model.into(), name.into())).collect()),
    }
}

/// What the value of a parameter may be, as the end of a sentence.
pub const PARAM_VALUE: &str = "must be letters, digits, dashes, underscores and dots, and not only dots";

/// Whether a text may fill a place of an address: it needs no encoding and is no path of its own.
pub fn is_param_value(text: &str) -> bool {
    let fits = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    fits && text.len() <= 256 && text.bytes().any(|b| b != b'.')
}

fn speaks(written: &Written, usually: Dialect, params: &[Param]) -> Result<Vec<Speech>, Refused> {
    let names = match &written.endpoints {
        Some(names) => names.iter().map(|n| endpoint("endpoints", n)).collect::<Result<Vec<_>, _>>()?,
        None => usual(usually).iter().map(|(endpoint, ..)| *endpoint).collect(),
    };
    let tables =
        [("paths", &written.paths), ("stream_paths", &written.stream_paths), ("dialects", &written.dialects)];
    for (field, table) in tables {
        for name in table.keys() {
            if !names.contains(&endpoint(field, name)?) {
                return Err((field, format!("\"{name}\" is not one of the provider's endpoints")));
            }
        }
    }
    let mut speaks: Vec<Speech> = Vec::new();
    for endpoint in names {
        let word = endpoint.as_str();
        let spoken = match written.dialects.get(word) {
            Some(name) => dialect(name).map_err(|(_, p)| ("dialects", p))?,
            None if usual(usually).iter().any(|(known, ..)| *known == endpoint) => usually,
            None => natural(endpoint).unwrap_or(usually),
        };
        let Some((path, stream)) = usual_paths(spoken, endpoint) else {
            return Err(("endpoints", format!("the dialect {} has no \"{word}\"", spoken.name())));
        };
        let made = |field, table: &BTreeMap<String, String>, usual: &str| {
            let text = table.get(word).map_or(usual, String::as_str);
            path_template(text, params).map_err(|problem| (field, problem))
        };
        let path = made("paths", &written.paths, path)?;
        let stream_path = match stream.or(written.stream_paths.get(word).map(String::as_str)) {
            Some(usual) => Some(made("stream_paths", &written.stream_paths, usual)?),
            None => None,
        };
        if speaks.iter().any(|s| s.endpoint == endpoint) {
            return Err(("endpoints", format!("\"{word}\" stands twice")));
        }
        speaks.push(Speech { endpoint, dialect: spoken, path, stream_path });
    }
    match speaks.is_empty() {
        true => Err(("endpoints", "must name at least one".to_owned())),
        false => Ok(speaks),
    }
}

fn path_template(text: &str, params: &[Param]) -> Result<Template, String> {
    plain_path(text)?;
    let template = Template::parse(text)?;
    known_places(&template, params)?;
    Ok(template)
}

fn base_url(text: &str, params: &[Param]) -> Result<Template, String> {
    let template = Template::parse(text)?;
    known_places(&template, params)?;
    if template.names_model() {
        return Err(format!("\"{text}\" must not hold {{model}}; paths may"));
    }
    let shown = template.fill(|_| Some("x"), "x").unwrap_or_default();
    let parsed: http::Uri = shown.parse().map_err(|e| format!("\"{text}\" is no address: {e}"))?;
    match (parsed.scheme_str(), parsed.authority()) {
        (Some("http" | "https"), Some(authority)) if !authority.as_str().contains('@') => {}
        _ => {
            let problem = "must start with http:// or https:// and name a host, and no user";
            return Err(format!("\"{text}\" {problem}"));
        }
    }
    if shown.contains(['?', '#']) || shown.ends_with('/') {
        return Err(format!("\"{text}\" must hold no query and no fragment, and end with no slash"));
    }
    Ok(template)
}

fn known_places(template: &Template, params: &[Param]) -> Result<(), String> {
    let unknown = template.params().find(|name| !params.iter().any(|p| *p.name == **name));
    let Some(name) = unknown else { return Ok(()) };
    let known: Vec<_> = ["model", "model_path"].into_iter().chain(params.iter().map(|p| &*p.name)).collect();
    Err(format!(
        "\"{template}\" has a place {{{name}}}, which is no parameter; known are {}",
        known.join(", ")
    ))
}

/// Checks that a path leads below the base URL and nowhere else.
fn plain_path(text: &str) -> Result<(), String> {
    let bad = |problem: &str| Err(format!("\"{text}\" {problem}"));
    if text == "/" {
        return Ok(());
    }
    if !text.starts_with('/') {
        return bad("must start with a slash");
    }
    if !text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'#' | b'\\' | b'"' | b'<' | b'>' | b'%')) {
        return bad("must hold no space, no fragment, nothing encoded and nothing beyond ASCII");
    }
    let (path, query) = text.split_once('?').unwrap_or((text, ""));
    if query.contains('?') || path.split('/').skip(1).any(|part| matches!(part, "" | "." | "..")) {
        return bad("must have no empty part, no dots for a part, and one query at most");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
