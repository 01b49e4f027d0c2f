//! Every metric, in one list; `/metrics` writes them in Prometheus' text format.
//!
//! What the call path touches is registered beforehand; what actors publish is read at each scrape.

use std::{
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use penstock_actors::{
    channel::ChannelCell,
    domain::{Endpoint, Outcome, Usage},
    limiter,
};
use prometheus::{
    Encoder as _, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder, core::Collector, proto::MetricType,
};

use super::{
    books::{self, BooksSources},
    channels::{ChannelMetrics, Learned, Scrape},
    family::{Family, Kind},
};

/// Seconds: from a fast small model's first byte to a long stream's end.
const BUCKETS: &[f64] =
    &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0];

/// All metrics of the process.
pub struct Metrics {
    registry: Registry,
    calls: Vec<Vec<IntCounter>>,
    duration: Vec<Histogram>,
    first_byte: Vec<Histogram>,
    /// Attempts beyond a call's first.
    pub failovers: IntCounter,
    /// Second tries after a stale connection.
    pub stale_retries: IntCounter,
    /// Calls that found every gate full.
    pub saturated: IntCounter,
    /// Calls that wait, and the bytes of their bodies.
    waiting: [IntGauge; 2],
    /// How long calls waited that did.
    queued: Histogram,
    limited: IntCounterVec,
    /// Cells of limits that hold something.
    pub limit_cells: IntGauge,
    /// Calls between admission and settlement.
    pub calls_in_flight: IntGauge,
    /// Client connections open.
    pub client_connections: IntGauge,
    /// Bytes of request bodies held.
    pub body_bytes: IntGauge,
    /// Handlers that panicked.
    pub panics: IntCounter,
    tokens: [IntCounter; 10],
    channels: ChannelMetrics,
    rendering: Mutex<()>,
    /// Where the figures of the books are read, once they are kept.
    books: OnceLock<BooksSources>,
    listed: Vec<Family>,
}

impl Metrics {
    /// Registers every metric.
    ///
    /// # Errors
    /// Where two metrics have one name: a defect of this list.
    pub fn new() -> Result<Arc<Self>, prometheus::Error> {
        let registry = Registry::new();
        let mut listed = Vec::new();
        macro_rules! register {
            ($made:expr) => {{
                let made = $made?;
                registry.register(Box::new(made.clone()))?;
                listed.extend(of_collector(&made));
                made
            }};
        }
        let counter = |name: &str, help: &str| IntCounter::new(name, help);
        let gauge = |name: &str, help: &str| IntGauge::new(name, help);
        let histogram = |name: &str, help: &str| {
            HistogramVec::new(HistogramOpts::new(name, help).buckets(BUCKETS.to_vec()), &["endpoint"])
        };
        let ints = |name: &str, help: &str| IntGaugeVec::new(Opts::new(name, help), &["channel"]);
        let floats = |name: &str, help: &str| GaugeVec::new(Opts::new(name, help), &["channel"]);

        let calls = register!(IntCounterVec::new(
            Opts::new("penstock_calls_total", "Calls ended, by endpoint and outcome."),
            &["endpoint", "outcome"]
        ));
        let duration =
            register!(histogram("penstock_call_duration_seconds", "From admission to the answer's end."));
        let first_byte =
            register!(histogram("penstock_first_byte_seconds", "From admission to the answer's first byte."));
        let tokens = register!(IntCounterVec::new(
            Opts::new("penstock_tokens_total", "Tokens that answers said they consumed, by disjoint bucket."),
            &["bucket"]
        ));
        let of_endpoints = |of: &HistogramVec| {
            Endpoint::ALL.iter().map(|e| of.with_label_values(&[e.as_str()])).collect::<Vec<_>>()
        };
        let mut metrics = Self {
            calls: Endpoint::ALL
                .iter()
                .map(|e| {
                    let outcome = |o: &Outcome| calls.with_label_values(&[e.as_str(), o.as_str()]);
                    Outcome::ALL.iter().map(outcome).collect()
                })
                .collect(),
            duration: of_endpoints(&duration),
            first_byte: of_endpoints(&first_byte),
            failovers: register!(counter("penstock_failovers_total", "Attempts beyond a call's first.")),
            stale_retries: register!(counter(
                "penstock_stale_retries_total",
                "Second tries after a kept connection had been closed."
            )),
            saturated: register!(counter("penstock_saturated_total", "Calls that found every gate full.")),
            waiting: [
                register!(gauge("penstock_waiting_calls", "Calls that wait for a channel.")),
                register!(gauge("penstock_waiting_bytes", "Bytes of the bodies of calls that wait.")),
            ],
            queued: register!(Histogram::with_opts(
                HistogramOpts::new("penstock_queue_seconds", "How long calls waited that did.")
                    .buckets(BUCKETS.to_vec())
            )),
            limited: register!(IntCounterVec::new(
                Opts::new("penstock_limited_total", "Calls that a limit refused, by whose and which."),
                &["scope", "limit"]
            )),
            limit_cells: register!(gauge("penstock_limit_cells", "Windows of limits that hold something.")),
            calls_in_flight: register!(gauge("penstock_calls_in_flight", "Calls admitted and not settled.")),
            client_connections: register!(gauge("penstock_client_connections", "Client connections open.")),
            body_bytes: register!(gauge("penstock_body_bytes", "Bytes of request bodies held.")),
            panics: register!(counter("penstock_handler_panics_total", "Handlers that panicked.")),
            tokens: Usage::NAMES.map(|bucket| tokens.with_label_values(&[bucket])),
            channels: ChannelMetrics {
                in_flight: register!(ints("penstock_channel_in_flight", "Permits given by the gate.")),
                limit: register!(floats("penstock_channel_limit", "The gate's limit; +Inf for none.")),
                share: register!(floats(
                    "penstock_channel_share",
                    "This node's part of the limit; +Inf for none."
                )),
                waiting: register!(ints("penstock_channel_waiting", "Calls that wait at the gate.")),
                expected_wait: register!(GaugeVec::new(
                    Opts::new(
                        "penstock_channel_expected_wait_seconds",
                        "Foreseen wait of a call that is served after all who wait now, where it is known."
                    ),
                    &["channel", "quantile"]
                )),
                service: register!(floats(
                    "penstock_channel_service_seconds",
                    "Recent mean time that a permit is held."
                )),
                connections: register!(ints(
                    "penstock_channel_connections",
                    "Connections open over all workers."
                )),
                connection_cap: register!(ints("penstock_channel_connection_cap", "Connections allowed.")),
                opened: register!(ints("penstock_channel_connections_opened", "Connections opened so far.")),
                pressure: register!(ints(
                    "penstock_channel_connection_waits",
                    "How often a request found every connection in use."
                )),
                attempts: register!(IntGaugeVec::new(
                    Opts::new("penstock_channel_attempts", "Attempts so far, by result."),
                    &["channel", "result"]
                )),
                success_rate: register!(floats(
                    "penstock_channel_success_rate",
                    "Recent share of attempts that brought an answer."
                )),
                first_byte: register!(floats(
                    "penstock_channel_first_byte_seconds",
                    "Recent mean time to first byte."
                )),
                restarts: register!(ints(
                    "penstock_channel_supervisor_restarts",
                    "Restarts of the supervisor after a panic."
                )),
                off: register!(ints(
                    "penstock_channel_switched_off",
                    "Switched off on evidence: 1 for a refused credential, 2 for an empty account."
                )),
                retries: register!(ints(
                    "penstock_channel_retries",
                    "Attempts after failed ones that it took over in the last half minute."
                )),
                allowed_retries: register!(ints(
                    "penstock_channel_retries_allowed",
                    "Those that its budget allows in half a minute."
                )),
                refused_retries: register!(ints(
                    "penstock_channel_refused_retries",
                    "Attempts after failed ones that its budget refused."
                )),
                breaker: register!(IntGaugeVec::new(
                    Opts::new(
                        "penstock_breaker_open",
                        "1 for open, 2 for half open; closed ones are not shown."
                    ),
                    &["channel", "model"]
                )),
                learned: Learned {
                    limit: register!(ints(
                        "penstock_channel_learned_limit",
                        "Requests in flight that the provider bears, where fewer than configured."
                    )),
                    requests: register!(ints(
                        "penstock_channel_learned_requests_per_minute",
                        "Requests a minute that the provider lets through, where known."
                    )),
                    tokens: register!(ints(
                        "penstock_channel_learned_tokens_per_minute",
                        "Tokens a minute that the provider lets through, where known."
                    )),
                    paused: register!(floats(
                        "penstock_channel_paused_seconds",
                        "For how long the provider's word keeps the channel from sending; 0 while it sends."
                    )),
                    refusals: register!(ints(
                        "penstock_channel_refusals",
                        "How often the provider took no more (429) so far."
                    )),
                },
            },
            registry,
            rendering: Mutex::new(()),
            books: OnceLock::new(),
            listed: Vec::new(),
        };
        listed.extend(books::listed());
        metrics.listed = listed;
        Ok(Arc::new(metrics))
    }

    /// The books are kept from now on: their figures are read there.
    pub fn read_books(&self, sources: BooksSources) {
        if self.books.set(sources).is_err() {
            tracing::error!("the metrics of the books were set up twice");
        }
    }

    /// Counts a call's end and how long it took.
    pub fn call_ended(&self, endpoint: Endpoint, outcome: Outcome, took: Duration) {
        self.calls[endpoint as usize][outcome.index()].inc();
        self.duration[endpoint as usize].observe(took.as_secs_f64());
    }

    /// Counts a call that has waited.
    pub fn waited(&self, waited: Duration) {
        self.queued.observe(waited.as_secs_f64());
    }

    /// Notes how many calls wait, and the bytes of their bodies.
    pub fn waiting(&self, calls: u64, bytes: u64) {
        for (gauge, value) in self.waiting.iter().zip([calls, bytes]) {
            gauge.set(value as i64);
        }
    }

    /// Counts a call that a limit refused.
    pub fn limited(&self, whose: &str, limit: limiter::Kind) {
        self.limited.with_label_values(&[whose, limit.as_str()]).inc();
    }

    /// Counts an answer's first byte.
    pub fn first_byte(&self, endpoint: Endpoint, after: Duration) {
        self.first_byte[endpoint as usize].observe(after.as_secs_f64());
    }

    /// Counts what an answer consumed.
    pub fn consumed(&self, usage: &Usage) {
        let amounts = usage.buckets();
        for (counter, amount) in self.tokens.iter().zip(amounts) {
            counter.inc_by(amount);
        }
    }

    /// Writes everything in Prometheus' text format.
    pub fn render(&self, cells: &[Arc<ChannelCell>], now: Scrape<'_>) -> Vec<u8> {
        // One at a time: the channels' gauges are filled anew for each.
        let _rendering = self.rendering.lock().unwrap_or_else(PoisonError::into_inner);
        self.channels.read(cells, now);
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            tracing::error!(%error, "metrics were not written");
        }
        if let Some(books) = self.books.get() {
            let mut of_books = String::new();
            books.families().iter().for_each(|family| family.write(&mut of_books));
            text.extend_from_slice(of_books.as_bytes());
        }
        text
    }
}

/// The families of a registered metric, as they are listed.
fn of_collector(made: &dyn Collector) -> Vec<Family> {
    let kinds = made.collect().into_iter().map(|family| match family.get_field_type() {
        MetricType::COUNTER => Kind::Counter,
        MetricType::HISTOGRAM => Kind::Histogram,
        _ => Kind::Gauge,
    });
    let listed = made.desc().into_iter().zip(kinds).map(|(desc, kind)| {
        let labels = desc.variable_labels.iter().map(|label| {
            let known =
                ["channel", "endpoint", "outcome", "bucket", "result", "scope", "limit", "model", "quantile"];
            known.into_iter().find(|known| known == label).unwrap_or("?")
        });
        Family { labels: labels.collect(), ..Family::new(&desc.fq_name, kind, &desc.help) }
    });
    listed.collect()
}

/// The page of every metric.
pub fn table() -> String {
    let mut text = String::from(
        "# Metrics\n\n`GET /metrics`, in Prometheus' text format: for who asks from the machine itself, and for keys with\n\
         `may_see_routing`. Money is in nano-dollars: 1,000,000,000 are a dollar. Printed by `penstock docs metrics`.\n\n\
         | metric | kind | by | what it is |\n|---|---|---|---|\n",
    );
    for Family { name, kind, help, labels, .. } in
        Metrics::new().map(|m| m.listed.clone()).unwrap_or_default()
    {
        text += &format!("| `{name}` | {} | {} | {help} |\n", kind.as_str(), labels.join(", "));
    }
    text
}

#[cfg(test)]
mod tests {
    use penstock_actors::router::WaitingRoom;

    use super::*;

    #[test]
    fn the_page_of_metrics_is_what_the_code_says() {
        let file = include_str!("../../docs/metrics.md");
        assert!(!table().contains('?'), "a label is missing from the list of labels");
        assert!(file == table(), "docs/metrics.md is old: penstock docs metrics > docs/metrics.md");
    }

    #[test]
    fn what_is_counted_is_written() {
        let metrics = Metrics::new().expect("names are unique");
        metrics.call_ended(Endpoint::Embeddings, Outcome::Completed, Duration::from_millis(3));
        metrics.consumed(&Usage { input: 7, ..Usage::default() });
        let text = String::from_utf8(metrics.render(&[], Scrape { room: &WaitingRoom::new(), limits_ms: 0 }))
            .expect("text");
        for line in [
            "penstock_calls_total{endpoint=\"embeddings\",outcome=\"completed\"} 1",
            "penstock_tokens_total{bucket=\"input\"} 7",
            "penstock_call_duration_seconds_bucket{endpoint=\"embeddings\",le=\"0.005\"} 1",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
