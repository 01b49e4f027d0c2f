//! Prices: those that come with Penstock, the operator's own, and One API's ratio maps. Read exactly; pure.
//!
//! For one model the operator's `[[price]]` wins over its ratio, and that over the price that comes along.

use std::{collections::BTreeMap, sync::Arc};

use penstock_actors::domain::price::Exchange;
use penstock_actors::domain::{
    Form, Money, PicosPerUnit, Price, PriceList, PriceTier, PriceVersion, QuotaRatio, Rates, Ratio, Tariff,
    Unpriced,
};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::decimal::{self, Beyond, Written};

/// The prices that come with Penstock.
pub const BUILT_IN: &str = include_str!("../../config/prices.toml");

/// Dollars for a million tokens; more is a mistake.
const DEAREST: i64 = 100_000_000_000;
/// Nano-dollars beside a call's tokens; more is a mistake.
const DEAREST_CALL: i64 = 10_000_000_000_000;
/// A group's ratio, in millionths; more is a mistake.
const LARGEST_RATIO: i64 = 1_000_000_000;
/// One of One API's ratios, in billionths; more is a mistake.
const LARGEST_QUOTA_RATIO: i64 = 1_000_000_000_000_000;
/// The name that the operator's price for models without one is written under.
const ANY_MODEL: &str = "*";

/// A price that cannot be.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{key}: {problem}")]
pub struct PriceError {
    /// Where it stands.
    pub key: String,
    /// What is wrong, and what is allowed.
    pub problem: String,
}

/// Prices as they are written, beside whatever else the file holds: its other keys are checked elsewhere.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Section {
    #[serde(rename = "price")]
    rows: Vec<Row>,
    model_ratio: BTreeMap<String, Written>,
    completion_ratio: BTreeMap<String, Written>,
    group_ratio: BTreeMap<String, Written>,
    prices: Policy,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Policy {
    models_without_price: WithoutPrice,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum WithoutPrice {
    #[default]
    RefuseQuota,
    Refuse,
    Free,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    model: String,
    input: Written,
    output: Written,
    cached_read: Option<Written>,
    cache_write_5m: Option<Written>,
    cache_write_1h: Option<Written>,
    reasoning: Option<Written>,
    audio_in: Option<Written>,
    image_in: Option<Written>,
    audio_out: Option<Written>,
    image_out: Option<Written>,
    per_call: Option<Written>,
    #[serde(default)]
    tiers: Vec<Tier>,
    currency: Option<String>,
    rate: Option<Written>,
    dated: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tier {
    above: u64,
    input: Written,
    output: Written,
    cached_read: Option<Written>,
    cache_write_5m: Option<Written>,
    cache_write_1h: Option<Written>,
    reasoning: Option<Written>,
    audio_in: Option<Written>,
    image_in: Option<Written>,
    audio_out: Option<Written>,
    image_out: Option<Written>,
}

/// Every price in force: what comes along, overlaid with what the operator's settings file says of prices.
///
/// # Errors
/// [`PriceError`] with the place of the first mistake.
pub fn list(own: &str) -> Result<PriceList, PriceError> {
    let built_in = read(BUILT_IN)?;
    let (mut list, own) = (PriceList::default(), Source { text: own, section: parse(own)? });
    list.prices.extend(built_in);
    list.unpriced = match own.section.prices.models_without_price {
        WithoutPrice::RefuseQuota => Unpriced::RefuseQuota,
        WithoutPrice::Refuse => Unpriced::Refuse,
        WithoutPrice::Free => Unpriced::Free,
    };
    for price in own.ratios()? {
        list.prices.insert(Arc::clone(&price.model), Arc::new(price));
    }
    for (model, price) in own.rows()? {
        if &*model == ANY_MODEL {
            list.unpriced = Unpriced::Default(price);
        } else {
            list.prices.insert(model, price);
        }
    }
    for (group, written) in &own.section.group_ratio {
        let ratio = own.number(written, 6, LARGEST_RATIO, || format!("group_ratio.\"{group}\""))?;
        list.groups.insert(group.as_str().into(), Ratio(ratio));
    }
    Ok(list)
}

type Named = (Arc<str>, Arc<Price>);

fn read(text: &str) -> Result<Vec<Named>, PriceError> {
    Source { text, section: parse(text)? }.rows()
}

fn parse(text: &str) -> Result<Section, PriceError> {
    toml::from_str(text).map_err(|error| {
        let line = error.span().and_then(|s| text.get(..s.start)).map_or(1, |t| t.matches('\n').count() + 1);
        PriceError { key: format!("line {line}"), problem: error.message().to_owned() }
    })
}

/// A section with the text that its numbers are read from.
struct Source<'a> {
    text: &'a str,
    section: Section,
}

impl Source<'_> {
    /// Every `[[price]]`; a model that stands twice is a mistake.
    fn rows(&self) -> Result<Vec<Named>, PriceError> {
        let mut prices: Vec<Named> = Vec::new();
        let mut seen = std::collections::BTreeSet::new();
        for row in &self.section.rows {
            if row.model.trim().is_empty() {
                return Err(wrong("price.model", "must not be empty"));
            }
            if !seen.insert(&row.model) {
                return Err(wrong(format!("price \"{}\"", row.model), "stands twice; keep one"));
            }
            let price = self.price(row)?;
            prices.push((Arc::clone(&price.model), Arc::new(price)));
        }
        Ok(prices)
    }

    fn price(&self, row: &Row) -> Result<Price, PriceError> {
        let place = |field: &str| format!("price \"{}\": {field}", row.model);
        let exchange = self.exchange(row)?;
        let dollars = exchange.as_ref().map_or(Ratio::ONE, |e| e.rate);
        let rate = |written: &Written, field: &str| {
            let picos = in_dollars(self.number(written, 6, DEAREST, || place(field))?, dollars);
            if picos > DEAREST {
                return Err(wrong(place(field), "is more than 100,000 USD for a million tokens"));
            }
            Ok(PicosPerUnit(picos))
        };
        let maybe =
            |written: &Option<Written>, field: &str| written.as_ref().map(|w| rate(w, field)).transpose();
        let rates = Rates {
            input: rate(&row.input, "input")?,
            output: rate(&row.output, "output")?,
            cached_read: maybe(&row.cached_read, "cached_read")?,
            cache_write_5m: maybe(&row.cache_write_5m, "cache_write_5m")?,
            cache_write_1h: maybe(&row.cache_write_1h, "cache_write_1h")?,
            reasoning: maybe(&row.reasoning, "reasoning")?,
            audio_in: maybe(&row.audio_in, "audio_in")?,
            image_in: maybe(&row.image_in, "image_in")?,
            audio_out: maybe(&row.audio_out, "audio_out")?,
            image_out: maybe(&row.image_out, "image_out")?,
        };
        let mut tiers: Vec<PriceTier> = Vec::new();
        for tier in &row.tiers {
            if tiers.last().is_some_and(|last| last.above >= tier.above) {
                return Err(wrong(place("tiers"), "must come in the order of `above`, each once"));
            }
            let rates = Rates {
                input: rate(&tier.input, "tiers.input")?,
                output: rate(&tier.output, "tiers.output")?,
                cached_read: maybe(&tier.cached_read, "tiers.cached_read")?,
                cache_write_5m: maybe(&tier.cache_write_5m, "tiers.cache_write_5m")?,
                cache_write_1h: maybe(&tier.cache_write_1h, "tiers.cache_write_1h")?,
                reasoning: maybe(&tier.reasoning, "tiers.reasoning")?,
                audio_in: maybe(&tier.audio_in, "tiers.audio_in")?,
                image_in: maybe(&tier.image_in, "tiers.image_in")?,
                audio_out: maybe(&tier.audio_out, "tiers.audio_out")?,
                image_out: maybe(&tier.image_out, "tiers.image_out")?,
            };
            tiers.push(PriceTier { above: tier.above, rates });
        }
        let per_call = match &row.per_call {
            None => 0,
            Some(written) => self.number(written, 9, DEAREST_CALL, || place("per_call"))?,
        };
        let per_call = Money::from_nanos(in_dollars(per_call, dollars));
        Ok(versioned(row.model.as_str().into(), Form::Tariff(Tariff { rates, per_call, tiers }), exchange))
    }

    fn exchange(&self, row: &Row) -> Result<Option<Exchange>, PriceError> {
        let place = |field: &str| format!("price \"{}\": {field}", row.model);
        match (row.currency.as_deref(), &row.rate, row.dated.as_deref()) {
            (None | Some("USD"), None, None) => Ok(None),
            (Some(currency), Some(rate), Some(dated)) => {
                if currency.len() != 3 || !currency.bytes().all(|b| b.is_ascii_uppercase()) {
                    return Err(wrong(place("currency"), "must be three capital letters, like CNY"));
                }
                if !is_day(dated) {
                    return Err(wrong(place("dated"), "must be the day of the rate, like 2026-11-01"));
                }
                let rate = Ratio(self.number(rate, 6, LARGEST_RATIO, || place("rate"))?);
                if rate == Ratio(0) {
                    return Err(wrong(place("rate"), "must be the dollars for one, more than 0"));
                }
                Ok(Some(Exchange { currency: currency.into(), rate, dated: dated.into() }))
            }
            _ => Err(wrong(place("currency"), "another currency needs currency, rate and dated together")),
        }
    }

    /// One price for each model that One API's map names.
    fn ratios(&self) -> Result<Vec<Price>, PriceError> {
        let (models, weights) = (&self.section.model_ratio, &self.section.completion_ratio);
        let stray = weights.keys().find(|model| !models.contains_key(*model));
        if let Some(model) = stray {
            return Err(wrong(format!("completion_ratio.\"{model}\""), "this model has no model_ratio"));
        }
        let ratio = |map: &str, model: &str, written: &Written| {
            let place = || format!("{map}.\"{model}\"");
            let billionths = decimal::read(self.text, written, 9, Beyond::Drop);
            let billionths = billionths.map_err(|problem| wrong(place(), problem))?;
            if billionths > LARGEST_QUOTA_RATIO {
                return Err(wrong(place(), "must be at most 1,000,000"));
            }
            Ok(QuotaRatio(billionths.unsigned_abs()))
        };
        let mut prices = Vec::new();
        for (name, written) in models {
            let completion = match weights.get(name) {
                Some(written) => ratio("completion_ratio", name, written)?,
                None => usual_completion_ratio(name),
            };
            let form = Form::Ratios { model: ratio("model_ratio", name, written)?, completion };
            prices.push(versioned(name.as_str().into(), form, None));
        }
        Ok(prices)
    }

    fn number(
        &self,
        written: &Written,
        places: u32,
        most: i64,
        place: impl Fn() -> String,
    ) -> Result<i64, PriceError> {
        let number = decimal::read(self.text, written, places, Beyond::Refuse);
        let number = number.map_err(|problem| wrong(place(), problem))?;
        if number > most {
            return Err(wrong(place(), format!("must be at most {}", most / 10i64.pow(places))));
        }
        Ok(number)
    }
}

fn wrong(key: impl Into<String>, problem: impl Into<String>) -> PriceError {
    PriceError { key: key.into(), problem: problem.into() }
}

/// Rounded half up.
fn in_dollars(amount: i64, rate: Ratio) -> i64 {
    let one = i128::from(Ratio::ONE.0);
    let product = i128::from(amount) * i128::from(rate.0);
    i64::try_from((product + one / 2) / one).unwrap_or(i64::MAX)
}

fn is_day(text: &str) -> bool {
    text.len() == 10
        && text
            .bytes()
            .enumerate()
            .all(|(i, b)| if i == 4 || i == 7 { b == b'-' } else { b.is_ascii_digit() })
}

/// What One API counts a generated token for where its map does not say (its completion ratios, read in
/// `spec/one-api.md` 3.1); the Llama, Command and Replicate families, which it lists one by one, count as 1.
fn usual_completion_ratio(model: &str) -> QuotaRatio {
    let whole = |n: u64| QuotaRatio(n * QuotaRatio::ONE.0);
    let starts = |prefix: &str| model.starts_with(prefix);
    if starts("gpt-3.5") {
        return match model {
            "gpt-3.5-turbo" => whole(3),
            _ if model.ends_with("0125") => whole(3),
            _ if model.ends_with("1106") => whole(2),
            _ => QuotaRatio(4 * QuotaRatio::ONE.0 / 3),
        };
    }
    if starts("gpt-4o") {
        return whole(if model == "gpt-4o-2024-05-13" { 3 } else { 4 });
    }
    if starts("gpt-4") {
        return whole(if starts("gpt-4-turbo") || model.ends_with("preview") { 3 } else { 2 });
    }
    match model {
        "whisper-1" => whole(0),
        "chatgpt-4o-latest" => whole(3),
        _ if starts("o1") => whole(4),
        _ if starts("claude-3") => whole(5),
        _ if starts("claude-") || starts("mistral-") || starts("gemini-") => whole(3),
        _ if starts("deepseek-") => whole(2),
        _ => whole(1),
    }
}

/// A price with its version: 63 bits of a digest over everything that it says.
fn versioned(model: Arc<str>, form: Form, exchange: Option<Exchange>) -> Price {
    let mut content = format!("{}:{model}", model.len());
    match &form {
        Form::Ratios { model, completion } => content += &format!("|ratios {} {}", model.0, completion.0),
        Form::Tariff(tariff) => {
            content += &format!("|call {}", tariff.per_call.nanos());
            let tiers = tariff.tiers.iter().map(|t| (t.above, &t.rates));
            for (above, rates) in [(0, &tariff.rates)].into_iter().chain(tiers) {
                let own = [rates.cached_read, rates.cache_write_5m, rates.cache_write_1h, rates.reasoning];
                let shown = |r: Option<PicosPerUnit>| r.map_or_else(|| "-".to_owned(), |r| r.0.to_string());
                let own = own.map(shown).join(" ");
                content += &format!("|above {above}: {} {} {own}", rates.input.0, rates.output.0);
                // Not said where there is none: prices keep the version that they had before there were any.
                let media = [rates.audio_in, rates.image_in, rates.audio_out, rates.image_out];
                if media.iter().any(Option::is_some) {
                    content += &format!(" media {}", media.map(shown).join(" "));
                }
            }
        }
    }
    if let Some(Exchange { currency, rate, dated }) = &exchange {
        content += &format!("|{currency} {} {dated}", rate.0);
    }
    let digest: [u8; 32] = Sha256::digest(content).into();
    let first = digest[..8].iter().fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
    let version = PriceVersion((first >> 1) as i64);
    Price { version, model, form, exchange }
}

#[cfg(test)]
mod tests;
