//! Takes a JSON object apart, field by field, with errors that name the field.
//!
//! Values stay raw until they are taken, so what nobody takes can be passed on as it was written.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::conversation::Verbatim;

/// What is wrong with one parameter of a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ParamError {
    /// Where it stands, `messages[2].content`; empty for the body as a whole.
    pub param: String,
    /// A stable English word.
    pub code: &'static str,
    /// A sentence for the client.
    pub message: String,
}

impl ParamError {
    /// The code of [`Self::unsupported`].
    pub const UNSUPPORTED: &str = "unsupported_parameter";

    /// A required parameter is absent.
    pub fn missing(param: impl Into<String>) -> Self {
        let param = param.into();
        Self { code: "missing_required_parameter", message: format!("'{param}' is required."), param }
    }

    /// A parameter is of the wrong kind.
    pub fn expected(param: impl Into<String>, expected: &str) -> Self {
        let param = param.into();
        Self { code: "invalid_type", message: format!("'{param}' must be {expected}."), param }
    }

    /// A parameter has a value that means nothing; `why` ends the sentence that its name begins.
    pub fn value(param: impl Into<String>, why: impl AsRef<str>) -> Self {
        let param = param.into();
        Self { code: "invalid_value", message: format!("'{param}' {}.", why.as_ref()), param }
    }

    /// A parameter is fine, but the upstream's dialect cannot say it; `why` as for [`Self::value`].
    pub fn unsupported(param: impl Into<String>, why: impl AsRef<str>) -> Self {
        let param = param.into();
        Self { code: Self::UNSUPPORTED, message: format!("'{param}' {}.", why.as_ref()), param }
    }
}

/// The fields of an object that nobody took yet.
#[derive(Debug)]
pub struct Fields<'a> {
    path: String,
    members: BTreeMap<String, &'a RawValue>,
}

impl<'a> Fields<'a> {
    /// Opens a body.
    ///
    /// # Errors
    /// When it is no JSON object.
    pub fn of_body(body: &'a [u8]) -> Result<Self, ParamError> {
        match serde_json::from_slice(body) {
            Ok(members) => Ok(Self { path: String::new(), members }),
            Err(error) => Err(ParamError {
                param: String::new(),
                code: "invalid_json",
                message: format!("The body is not a JSON object: {error}."),
            }),
        }
    }

    /// Opens the object that stands at `path`.
    ///
    /// # Errors
    /// When it is no object.
    pub fn of(path: impl Into<String>, raw: &'a RawValue) -> Result<Self, ParamError> {
        let path = path.into();
        match serde_json::from_str(raw.get()) {
            Ok(members) => Ok(Self { path, members }),
            Err(_) => Err(ParamError::expected(path, "an object")),
        }
    }

    /// Where a field of this object stands.
    pub fn path(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// Where this object stands.
    pub fn own_path(&self) -> &str {
        &self.path
    }

    /// Takes a field as written; null counts as absent.
    pub fn raw(&mut self, name: &str) -> Option<&'a RawValue> {
        self.members.remove(name).filter(|raw| raw.get() != "null")
    }

    /// Takes a field as `T`; null counts as absent.
    ///
    /// # Errors
    /// When the value is no `T`; `expected` completes "must be".
    pub fn take<T: Deserialize<'a>>(&mut self, name: &str, expected: &str) -> Result<Option<T>, ParamError> {
        let Some(raw) = self.raw(name) else { return Ok(None) };
        match serde_json::from_str(raw.get()) {
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(ParamError::expected(self.path(name), expected)),
        }
    }

    /// Takes a text.
    ///
    /// # Errors
    /// When it is no string.
    pub fn text(&mut self, name: &str) -> Result<Option<String>, ParamError> {
        self.take(name, "a string")
    }

    /// Takes a text that must be there.
    ///
    /// # Errors
    /// When it is absent or no string.
    pub fn needed_text(&mut self, name: &str) -> Result<String, ParamError> {
        self.text(name)?.ok_or_else(|| ParamError::missing(self.path(name)))
    }

    /// Takes a number within bounds.
    ///
    /// # Errors
    /// When it is no number, or outside.
    pub fn number(&mut self, name: &str, least: f64, most: f64) -> Result<Option<f64>, ParamError> {
        let Some(value) = self.take::<f64>(name, "a number")? else { return Ok(None) };
        if (least..=most).contains(&value) {
            return Ok(Some(value));
        }
        Err(ParamError::value(self.path(name), format!("must be between {least} and {most}")))
    }

    /// Takes a whole number of at least `least`.
    ///
    /// # Errors
    /// When it is no such number.
    pub fn count(&mut self, name: &str, least: u64) -> Result<Option<u64>, ParamError> {
        let Some(value) = self.take::<u64>(name, "a whole number")? else { return Ok(None) };
        if value >= least {
            return Ok(Some(value));
        }
        Err(ParamError::value(self.path(name), format!("must be at least {least}")))
    }

    /// Takes an object.
    ///
    /// # Errors
    /// When it is no object.
    pub fn object(&mut self, name: &str) -> Result<Option<Fields<'a>>, ParamError> {
        let path = self.path(name);
        self.raw(name).map(|raw| Fields::of(path, raw)).transpose()
    }

    /// Takes an object that must be there.
    ///
    /// # Errors
    /// When it is absent or no object.
    pub fn needed_object(&mut self, name: &str) -> Result<Fields<'a>, ParamError> {
        self.object(name)?.ok_or_else(|| ParamError::missing(self.path(name)))
    }

    /// Takes the elements of an array, each with its path.
    ///
    /// # Errors
    /// When it is no array.
    pub fn list(&mut self, name: &str) -> Result<Option<Vec<(String, &'a RawValue)>>, ParamError> {
        let path = self.path(name);
        Ok(self
            .take::<Vec<&'a RawValue>>(name, "an array")?
            .map(|all| all.into_iter().enumerate().map(|(i, raw)| (format!("{path}[{i}]"), raw)).collect()))
    }

    /// What nobody took, without nulls.
    pub fn rest(self) -> BTreeMap<String, Verbatim> {
        self.members
            .into_iter()
            .filter(|(_, raw)| raw.get() != "null")
            .map(|(name, raw)| (name, Verbatim::of(raw)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_field_by_its_whole_path() {
        let body = br#"{"a":{"b":[{"c":1},{"c":"x"}]},"n":-1,"nothing":null}"#;
        let mut top = Fields::of_body(body).expect("an object");
        let mut a = top.object("a").expect("an object").expect("present");
        let list = a.list("b").expect("an array").expect("present");
        let (path, raw) = &list[0];
        let error = Fields::of(path.clone(), raw).expect("an object").needed_text("c").expect_err("a number");
        assert_eq!((error.param.as_str(), error.code), ("a.b[0].c", "invalid_type"));
        let error = Fields::of("a.b[1]", list[1].1).expect("an object").needed_text("d").expect_err("absent");
        assert_eq!((error.param.as_str(), error.code), ("a.b[1].d", "missing_required_parameter"));
        assert_eq!(top.count("n", 1).expect_err("negative").message, "'n' must be a whole number.");
        assert_eq!(top.text("nothing"), Ok(None));
    }

    #[test]
    fn what_nobody_takes_is_kept_as_written() {
        let mut top = Fields::of_body(br#"{"b":{"z":1.50,"a":1e2},"a":1,"c":null}"#).expect("an object");
        assert_eq!(top.take::<u8>("a", "a number"), Ok(Some(1)));
        let rest = top.rest();
        assert_eq!(rest.len(), 1);
        assert_eq!(rest["b"].as_str(), r#"{"z":1.50,"a":1e2}"#);
    }
}
