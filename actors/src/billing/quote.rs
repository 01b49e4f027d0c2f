//! What a call costs: usage x price x the group's ratio, in integers, rounded once. Pure.

use crate::domain::{Form, Money, Price, PriceTier, QuotaRatio, Rates, Ratio, Tariff, Usage};

/// Output tokens assumed where neither the client, the model nor the past sets a bound.
pub const DEFAULT_OUTPUT: u64 = 1_024;

/// What is known of a call before it is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Foreseen {
    /// Bytes of the body that the model will read.
    pub prompt_bytes: u64,
    /// The most prompt tokens that the model takes, where that is known.
    pub max_input: Option<u64>,
    /// The most output tokens that the client allows, or else the model.
    pub max_output: Option<u64>,
    /// How long nearly all answers to this key and model were: [`super::OutputLengths::p90`].
    pub learned: Option<u64>,
    /// How many answers are asked for; 0 counts as one.
    pub choices: u64,
}

impl Foreseen {
    /// Tokens of the prompt, estimated: 0.38 a byte, rounded up, as One API does when it does not count.
    /// English takes about 0.25, Chinese 0.2 to 0.4; the body's own braces and names are counted in.
    pub fn prompt(&self) -> u64 {
        let tokens = u64::try_from((u128::from(self.prompt_bytes) * 38).div_ceil(100)).unwrap_or(u64::MAX);
        self.max_input.map_or(tokens, |max| tokens.min(max))
    }

    /// Tokens of the answers: what the past tells, or [`DEFAULT_OUTPUT`], within what is allowed.
    pub fn completion(&self) -> u64 {
        let likely = self.learned.unwrap_or(DEFAULT_OUTPUT);
        let one = self.max_output.map_or(likely, |max| likely.min(max));
        one.saturating_mul(self.choices.max(1))
    }
}

/// What a call costs that consumed this.
pub fn charge(price: &Price, usage: &Usage, group: Ratio) -> Money {
    match &price.form {
        Form::Tariff(tariff) => by_tariff(tariff, usage, group),
        Form::Ratios { model, completion } => {
            quota(usage.prompt(), usage.completion(), *model, *completion, group)
        }
    }
}

/// What is held for a call: [`worst`] of what is foreseen.
pub fn estimate(price: &Price, call: &Foreseen, group: Ratio) -> Money {
    worst(price, call.prompt(), call.completion(), group)
}

/// The most that a call with at most so many tokens can cost, whatever buckets and tiers they fall in.
pub fn worst(price: &Price, prompt: u64, completion: u64, group: Ratio) -> Money {
    match &price.form {
        Form::Tariff(tariff) => {
            let reached = tariff.tiers.iter().filter(|t| prompt > t.above).map(|t: &PriceTier| &t.rates);
            let (mut input, mut output) = (0, 0);
            for rates in reached.chain([&tariff.rates]) {
                input = input.max(rates.dearest_prompt().0);
                output = output.max(rates.dearest_completion().0);
            }
            rounded(sum(&[(prompt, input), (completion, output)], tariff.per_call), group)
        }
        Form::Ratios { model, completion: weight } => quota(prompt, completion, *model, *weight, group),
    }
}

fn by_tariff(tariff: &Tariff, usage: &Usage, group: Ratio) -> Money {
    let rates: &Rates = tariff.rates_for(usage.prompt());
    let buckets = [
        (usage.input, rates.input.0),
        (usage.cached_read, rates.cached_read().0),
        (usage.cache_write_5m, rates.cache_write_5m().0),
        (usage.cache_write_1h, rates.cache_write_1h().0),
        (usage.output, rates.output.0),
        (usage.reasoning, rates.reasoning().0),
        (usage.audio_in, rates.audio_in().0),
        (usage.image_in, rates.image_in().0),
        (usage.audio_out, rates.audio_out().0),
        (usage.image_out, rates.image_out().0),
    ];
    rounded(sum(&buckets, tariff.per_call), group)
}

/// Pico-dollars, exact. Absurd figures stop at the end of the range instead of wrapping.
fn sum(buckets: &[(u64, i64)], per_call: Money) -> i128 {
    let start = i128::from(per_call.nanos()) * 1_000;
    buckets.iter().fold(start, |sum, (units, rate)| {
        sum.saturating_add(i128::from(*units).saturating_mul(i128::from(*rate)))
    })
}

/// The one rounding: picos x millionths, half up to nano-dollars. Never below nothing: a call pays nobody.
fn rounded(picos: i128, group: Ratio) -> Money {
    const UNIT: i128 = 1_000_000_000;
    let nanos = picos.max(0).saturating_mul(i128::from(group.0.max(0))).saturating_add(UNIT / 2) / UNIT;
    Money::from_nanos(i64::try_from(nanos).unwrap_or(i64::MAX))
}

/// One API's charge: `ceil((prompt + completion x weight) x model x group)` quota units; at least 1 where
/// the ratios are not zero, 0 where nothing was consumed. Exact, where One API reckons in floats: the
/// tests name the calls for which that makes a difference.
fn quota(prompt: u64, completion: u64, model: QuotaRatio, weight: QuotaRatio, group: Ratio) -> Money {
    if prompt == 0 && completion == 0 || model.0 == 0 || group.0 <= 0 {
        return Money::ZERO;
    }
    const ONE: i128 = QuotaRatio::ONE.0 as i128;
    let prompt = i128::from(prompt) * ONE;
    let weighted = prompt.saturating_add(i128::from(completion).saturating_mul(i128::from(weight.0)));
    let product = weighted.checked_mul(i128::from(model.0)).and_then(|p| p.checked_mul(i128::from(group.0)));
    let Some(product) = product else { return Money::MAX };
    let unit = ONE * ONE * i128::from(Ratio::ONE.0);
    let units = (product / unit + i128::from(product % unit != 0)).max(1);
    let nanos = units.saturating_mul(i128::from(Money::QUOTA_UNIT.nanos()));
    Money::from_nanos(i64::try_from(nanos).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests;
