//! A metric with its samples, and Prometheus' text format of it
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>).

use std::fmt::Write as _;

use penstock_actors::domain::Money;

/// Whether a metric only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It grows until the process ends.
    Counter,
    /// It comes and goes.
    Gauge,
    /// Counts by size.
    Histogram,
}

impl Kind {
    /// The word of the text format.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A sample's value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value {
    Whole(i64),
    Float(f64),
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Whole(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl From<Money> for Value {
    fn from(amount: Money) -> Self {
        Self::Whole(amount.nanos())
    }
}

/// See the module's sentence.
#[derive(Clone, Debug)]
pub(super) struct Family {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) help: String,
    pub(super) labels: Vec<&'static str>,
    pub(super) samples: Vec<(Vec<String>, Value)>,
}

impl Family {
    pub(super) fn new(name: &str, kind: Kind, help: &str) -> Self {
        let (name, help) = (name.to_owned(), help.to_owned());
        Self { name, kind, help, labels: Vec::new(), samples: Vec::new() }
    }

    pub(super) fn counter(name: &str, help: &str) -> Self {
        Self::new(name, Kind::Counter, help)
    }

    pub(super) fn gauge(name: &str, help: &str) -> Self {
        Self::new(name, Kind::Gauge, help)
    }

    /// The names of its labels.
    pub(super) fn by(self, labels: &[&'static str]) -> Self {
        Self { labels: labels.to_vec(), ..self }
    }

    /// Adds a sample; its labels' values stand in the order of their names.
    pub(super) fn with(mut self, labels: &[&str], value: impl Into<Value>) -> Self {
        self.samples.push((labels.iter().map(|l| (*l).to_owned()).collect(), value.into()));
        self
    }

    /// Appends it; nothing where there is no sample.
    pub(super) fn write(&self, text: &mut String) {
        if self.samples.is_empty() {
            return;
        }
        let Self { name, kind, help, .. } = self;
        // Writing to a text never fails.
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {}", kind.as_str());
        for (labels, value) in &self.samples {
            text.push_str(name);
            for (index, (label, value)) in self.labels.iter().zip(labels).enumerate() {
                let before = if index == 0 { '{' } else { ',' };
                let _ = write!(text, "{before}{label}=\"{}\"", escaped(value));
            }
            let end = if self.labels.is_empty() { "" } else { "}" };
            let _ = match value {
                Value::Whole(value) => writeln!(text, "{end} {value}"),
                Value::Float(value) => writeln!(text, "{end} {value}"),
            };
        }
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_written_with_its_labels_escaped() {
        let family = Family::gauge("x", "An x.").by(&["a", "b"]).with(&["1\"\\\n", "2"], 7_u64);
        let mut text = String::new();
        family.with(&["", "é"], Value::Float(0.5)).write(&mut text);
        let wanted =
            "# HELP x An x.\n# TYPE x gauge\nx{a=\"1\\\"\\\\\\n\",b=\"2\"} 7\nx{a=\"\",b=\"é\"} 0.5\n";
        assert_eq!(text, wanted);
        let mut nothing = String::new();
        Family::counter("y", "A y.").write(&mut nothing);
        assert_eq!(nothing, "");
    }
}
