//! Addresses with places to fill: `/deployments/{model}/chat/completions?api-version={api_version}`.

/// A text with places for the model and for a channel's parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Model,
    ModelPath,
    Param(String),
}

const MODEL: &str = "model";
const MODEL_PATH: &str = "model_path";

impl Template {
    /// Reads a template; its places are `{model}`, `{model_path}` for a model whose name is several segments, and
    /// `{name}` of a parameter.
    ///
    /// # Errors
    /// A sentence, where braces do not match or hold no name.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, place) = rest.split_at(at);
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            let (name, after) = place
                .strip_prefix('{')
                .and_then(|inner| inner.split_once('}'))
                .filter(|(name, _)| is_param(name))
                .ok_or_else(|| format!("\"{text}\" has a brace that encloses no name"))?;
            parts.push(match name {
                MODEL => Part::Model,
                MODEL_PATH => Part::ModelPath,
                name => Part::Param(name.to_owned()),
            });
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self(parts))
    }

    /// Names of the parameters it has places for.
    pub fn params(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| if let Part::Param(name) = part { Some(name.as_str()) } else { None })
    }

    /// Whether it has a place for the model.
    pub fn names_model(&self) -> bool {
        self.0.iter().any(|part| matches!(part, Part::Model | Part::ModelPath))
    }

    /// The text, with parameters filled in and the model percent-encoded, so that it stays one segment, or as
    /// many as it has itself.
    ///
    /// `None` where a parameter has no value, or where the model's name would be a path of its own: `..`.
    pub fn fill<'a>(&self, param: impl Fn(&str) -> Option<&'a str>, model: &str) -> Option<String> {
        let mut out = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Param(name) => out.push_str(param(name)?),
                Part::Model => segment(model, &mut out)?,
                Part::ModelPath => {
                    for (n, part) in model.split('/').enumerate() {
                        out.push_str(if n == 0 { "" } else { "/" });
                        segment(part, &mut out)?;
                    }
                }
            }
        }
        Some(out)
    }
}

impl std::fmt::Display for Template {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|part| match part {
            Part::Text(text) => f.write_str(text),
            Part::Model => write!(f, "{{{MODEL}}}"),
            Part::ModelPath => write!(f, "{{{MODEL_PATH}}}"),
            Part::Param(name) => write!(f, "{{{name}}}"),
        })
    }
}

/// Writes a name as one segment of a path; `None` where it would be another.
fn segment(name: &str, out: &mut String) -> Option<()> {
    if matches!(name, "" | "." | "..") {
        return None;
    }
    for (n, part) in name.split('@').enumerate() {
        // RFC 3986 reserves nothing for it in paths, and names of models begin with it.
        out.push_str(if n == 0 { "" } else { "@" });
        part.bytes().for_each(|byte| encode(byte, out));
    }
    Some(())
}

/// Whether a name is a place of its own, so that no parameter can have it.
pub(super) fn is_reserved(name: &str) -> bool {
    matches!(name, MODEL | MODEL_PATH)
}

/// Whether a text may name a parameter.
pub(super) fn is_param(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

/// Writes a byte of a path's segment: as it is where RFC 3986 reserves nothing, else as `%XX`.
fn encode(byte: u8, out: &mut String) {
    match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
        _ => {
            const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
            out.push('%');
            out.push(char::from(DIGITS[usize::from(byte >> 4)]));
            out.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(template: &str, model: &str) -> Option<String> {
        Template::parse(template).expect("a template").fill(|name| (name == "v").then_some("2024"), model)
    }

    #[test]
    fn places_are_filled() {
        for (template, model, wanted) in [
            ("/chat", "m", Some("/chat")),
            ("/{model}/chat?v={v}", "gpt-4.1", Some("/gpt-4.1/chat?v=2024")),
            ("{model}{model}", "a", Some("aa")),
            ("/{other}", "m", None),
            ("", "m", Some("")),
            ("/run/{model_path}", "@cf/meta/llama 3", Some("/run/@cf/meta/llama%203")),
            ("/run/{model_path}", "@cf/../../keys", None),
            ("/run/{model_path}", "a//b", None),
            ("/run/{model_path}", "/a", None),
        ] {
            assert_eq!(filled(template, model).as_deref(), wanted, "{template}");
            assert_eq!(Template::parse(template).expect("a template").to_string(), template);
        }
    }

    #[test]
    fn no_models_name_leaves_its_segment() {
        for (model, wanted) in [
            ("../x", Some("/..%2Fx/c")),
            ("a/../../b", Some("/a%2F..%2F..%2Fb/c")),
            ("m?x=1", Some("/m%3Fx%3D1/c")),
            ("m#x", Some("/m%23x/c")),
            ("a b", Some("/a%20b/c")),
            ("模型", Some("/%E6%A8%A1%E5%9E%8B/c")),
            ("%2e%2e", Some("/%252e%252e/c")),
            ("a\\b\r\nHost: x", Some("/a%5Cb%0D%0AHost%3A%20x/c")),
            ("...", Some("/.../c")),
            ("..", None),
            (".", None),
            ("", None),
        ] {
            assert_eq!(filled("/{model}/c", model).as_deref(), wanted, "{model}");
        }
    }

    #[test]
    fn a_models_name_of_several_segments_keeps_its_slashes_and_nothing_else() {
        for (model, wanted) in [
            ("meta/llama-3", Some("/meta/llama-3/c")),
            ("a", Some("/a/c")),
            ("a/b?c/d e", Some("/a/b%3Fc/d%20e/c")),
            ("a/../b", None),
            ("/a", None),
            ("a/", None),
            ("a//b", None),
            ("..", None),
            ("", None),
        ] {
            assert_eq!(filled("/{model_path}/c", model).as_deref(), wanted, "{model}");
        }
    }

    #[test]
    fn braces_that_enclose_no_name_are_refused() {
        for text in ["/{", "/}", "/{}", "/{mo del}", "/{{model}}", "/{model", "/model}", "/{Model}", "/{../}"]
        {
            assert!(Template::parse(text).is_err(), "{text}");
        }
    }
}
