//! The models that may serve a call, one after another: those that the request lists, then the backups that the
//! operator names for the first of them, and the key's own.

use std::{cell::Cell, collections::HashMap};

use penstock_actors::domain::Uncertain;

use crate::provider::Failure;

/// Backups that an operator names. Immutable; replaced whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backups {
    /// By model.
    pub of_models: HashMap<String, Vec<String>>,
    /// By the name of a key.
    pub of_keys: HashMap<String, Vec<String>>,
    /// Models that one request may list.
    pub most_listed: usize,
    /// What becomes of calls whose failed attempt may have been worked on, by model, over what channels say.
    pub uncertain: HashMap<String, Uncertain>,
}

impl Backups {
    fn are_none(&self) -> bool {
        self.of_models.is_empty() && self.of_keys.is_empty()
    }
}

impl Default for Backups {
    fn default() -> Self {
        Self { of_models: HashMap::new(), of_keys: HashMap::new(), most_listed: 3, uncertain: HashMap::new() }
    }
}

/// See the module's sentence. Where there is nothing but the one that is written, it holds no names.
#[derive(Debug, Default)]
pub struct Models {
    names: Vec<String>,
    at: Cell<usize>,
}

impl Models {
    /// Reads what was asked for. A name that `is_known` is one model, whatever commas it holds.
    ///
    /// # Errors
    /// 400 where the list is longer than allowed, or holds an empty name.
    pub fn asked(
        written: &str,
        backups: &Backups,
        key: &str,
        is_known: impl Fn(&str) -> bool,
    ) -> Result<Self, Failure> {
        let is_list = written.contains(',') && !is_known(written);
        if !is_list && backups.are_none() {
            return Ok(Self::default());
        }
        let mut names: Vec<String> = Vec::new();
        let mut add = |name: &str| {
            if !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        };
        let mut first = written;
        if is_list {
            let listed: Vec<&str> = written.split(',').map(str::trim).collect();
            if listed.len() > backups.most_listed {
                let message = format!("At most {} models may be listed in 'model'.", backups.most_listed);
                return Err(Failure::invalid_request("too_many_models", Some("model"), message));
            }
            if listed.contains(&"") {
                let message = "Invalid value: 'model' lists a model without a name.";
                return Err(Failure::invalid_request("invalid_value", Some("model"), message));
            }
            first = listed[0];
            listed.into_iter().for_each(&mut add);
        } else {
            add(written);
        }
        let backups = backups.of_models.get(first).into_iter().chain(backups.of_keys.get(key));
        backups.flatten().for_each(|name| add(name));
        Ok(Self { names, at: Cell::new(0) })
    }

    /// The model that is tried now; `written` is what the request says.
    pub fn current<'a>(&'a self, written: &'a str) -> &'a str {
        self.names.get(self.at.get()).map_or(written, String::as_str)
    }

    /// Every model, in order.
    pub fn all<'a>(&'a self, written: &'a str) -> impl Iterator<Item = &'a str> {
        let alone = self.names.is_empty().then_some(written);
        self.names.iter().map(String::as_str).chain(alone)
    }

    /// Whether the first is tried still.
    pub(super) fn is_first(&self) -> bool {
        self.at.get() == 0
    }

    /// Goes on to the next; false where there is none.
    pub(super) fn advance(&self) -> bool {
        let next = self.at.get() + 1;
        let there_is = next < self.names.len();
        if there_is {
            self.at.set(next);
        }
        there_is
    }

    /// Leaves out the models after the first that a key may not use.
    pub fn retain(&mut self, may_use: impl Fn(&str) -> bool) {
        let mut nth = 0;
        self.names.retain(|name| {
            nth += 1;
            nth == 1 || may_use(name)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backups() -> Backups {
        let list = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        Backups {
            of_models: [("a".to_owned(), list(&["x", "b"]))].into(),
            of_keys: [("key".to_owned(), list(&["y", "x"]))].into(),
            ..Backups::default()
        }
    }

    fn read(written: &str) -> Result<Vec<String>, String> {
        let known = |name: &str| name == "odd,name";
        let models = Models::asked(written, &backups(), "key", known);
        let all = |m: Models| m.all(written).map(str::to_owned).collect();
        models.map(all).map_err(|failure| failure.code)
    }

    #[test]
    fn lists_come_first_then_the_backups_of_the_first_and_of_the_key() {
        for (written, wanted) in [
            ("m", &["m", "y", "x"][..]),
            ("a", &["a", "x", "b", "y"]),
            ("a, b ,c", &["a", "b", "c", "x", "y"]),
            ("m,m", &["m", "y", "x"]),
            ("odd,name", &["odd,name", "y", "x"]),
        ] {
            assert_eq!(read(written).expect(written), wanted);
        }
        for (written, code) in [
            ("a,b,c,d", "too_many_models"),
            ("a,", "invalid_value"),
            (",", "invalid_value"),
            ("a,,b", "invalid_value"),
        ] {
            assert_eq!(read(written), Err(code.to_owned()), "{written}");
        }
    }

    #[test]
    fn models_are_gone_through_once() {
        let mut models = Models::asked("a,c", &backups(), "key", |_| false).expect("a list");
        models.retain(|name| name != "x" && name != "a");
        let mut tried = vec![models.current("a,c").to_owned()];
        while models.advance() {
            tried.push(models.current("a,c").to_owned());
        }
        assert_eq!(tried, ["a", "c", "b", "y"]);
        assert!(!models.advance());
        let alone = Models::asked("a", &Backups::default(), "key", |_| false).expect("a model");
        assert_eq!((alone.current("a"), alone.advance()), ("a", false));
    }
}
