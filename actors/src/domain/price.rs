//! What a model costs: rates for each bucket of usage, or One API's ratios. Multiplying is `billing::quote`'s.
//!
//! Whoever builds a price has refused negative figures; here they are taken as they stand.

use std::{collections::HashMap, sync::Arc};

use foldhash::fast::RandomState;

use super::{ModelName, Money, PicosPerUnit, PriceVersion, Ratio};

/// Pico-dollars for a unit of each bucket of [`super::Usage`]. A bucket without a rate of its own takes
/// its neighbour's: the caches the input's, an hour's cache write the five minutes', reasoning the output's, recordings
/// and pictures the input's or the output's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Prompt tokens that met no cache.
    pub input: PicosPerUnit,
    /// Generated tokens that the client sees.
    pub output: PicosPerUnit,
    /// Prompt tokens read from a cache.
    pub cached_read: Option<PicosPerUnit>,
    /// Prompt tokens written to a cache of five minutes.
    pub cache_write_5m: Option<PicosPerUnit>,
    /// Prompt tokens written to a cache of an hour.
    pub cache_write_1h: Option<PicosPerUnit>,
    /// Generated tokens spent on reasoning.
    pub reasoning: Option<PicosPerUnit>,
    /// Prompt tokens of recordings.
    pub audio_in: Option<PicosPerUnit>,
    /// Prompt tokens of pictures.
    pub image_in: Option<PicosPerUnit>,
    /// Generated tokens of recordings.
    pub audio_out: Option<PicosPerUnit>,
    /// Generated tokens of pictures.
    pub image_out: Option<PicosPerUnit>,
}

impl Rates {
    /// The rate of a token read from a cache.
    pub fn cached_read(&self) -> PicosPerUnit {
        self.cached_read.unwrap_or(self.input)
    }

    /// The rate of a token written to a cache of five minutes.
    pub fn cache_write_5m(&self) -> PicosPerUnit {
        self.cache_write_5m.unwrap_or(self.input)
    }

    /// The rate of a token written to a cache of an hour.
    pub fn cache_write_1h(&self) -> PicosPerUnit {
        self.cache_write_1h.unwrap_or(self.cache_write_5m())
    }

    /// The rate of a reasoning token.
    pub fn reasoning(&self) -> PicosPerUnit {
        self.reasoning.unwrap_or(self.output)
    }

    /// The rate of a prompt token of a recording.
    pub fn audio_in(&self) -> PicosPerUnit {
        self.audio_in.unwrap_or(self.input)
    }

    /// The rate of a prompt token of a picture.
    pub fn image_in(&self) -> PicosPerUnit {
        self.image_in.unwrap_or(self.input)
    }

    /// The rate of a generated token of a recording.
    pub fn audio_out(&self) -> PicosPerUnit {
        self.audio_out.unwrap_or(self.output)
    }

    /// The rate of a generated token of a picture.
    pub fn image_out(&self) -> PicosPerUnit {
        self.image_out.unwrap_or(self.output)
    }

    /// The most that a prompt token can cost.
    pub fn dearest_prompt(&self) -> PicosPerUnit {
        let text = self.input.max(self.cached_read()).max(self.cache_write_5m()).max(self.cache_write_1h());
        text.max(self.audio_in()).max(self.image_in())
    }

    /// The most that a generated token can cost.
    pub fn dearest_completion(&self) -> PicosPerUnit {
        self.output.max(self.reasoning()).max(self.audio_out()).max(self.image_out())
    }
}

/// Other rates for the whole call, once its prompt is long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PriceTier {
    /// In force for prompts of more tokens than this.
    pub above: u64,
    /// The rates, whole: nothing is taken from the tier before.
    pub rates: Rates,
}

/// Rates with what surrounds them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tariff {
    /// In force below every tier.
    pub rates: Rates,
    /// What a call costs beside its tokens.
    pub per_call: Money,
    /// By rising `above`.
    pub tiers: Vec<PriceTier>,
}

impl Tariff {
    /// The rates for a call with so many prompt tokens.
    pub fn rates_for(&self, prompt: u64) -> &Rates {
        self.tiers.iter().rev().find(|t| prompt > t.above).map_or(&self.rates, |t| &t.rates)
    }
}

/// One of One API's ratios, in integer billionths: 1,000,000,000 is one.
///
/// Its tables hold quotients like 0.14285714285714285; digits beyond the ninth are dropped, which can
/// lower a quota that is rounded up anyway, but never raise it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QuotaRatio(pub u64);

impl QuotaRatio {
    /// Changes nothing.
    pub const ONE: Self = Self(1_000_000_000);
}

/// How a price is reckoned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// Money for each unit.
    Tariff(Tariff),
    /// One API's: quota units for weighted tokens.
    Ratios {
        /// Quota units for a prompt token.
        model: QuotaRatio,
        /// How many prompt tokens a generated token counts for.
        completion: QuotaRatio,
    },
}

/// In what money a price was written, kept for the record: the rates beside it are dollars already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// Its three letters, `CNY`.
    pub currency: Arc<str>,
    /// Dollars for one of it.
    pub rate: Ratio,
    /// The day of the rate, `2026-11-01`.
    pub dated: Arc<str>,
}

/// What a model costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Price {
    /// Names these contents for good.
    pub version: PriceVersion,
    /// The model.
    pub model: ModelName,
    /// How it is reckoned.
    pub form: Form,
    /// Where it was not written in dollars.
    pub exchange: Option<Exchange>,
}

/// What is done with a call to a model that has no price.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Unpriced {
    /// It is free for who pays nothing anyway, and refused to a key with a quota, which it would slip.
    #[default]
    RefuseQuota,
    /// It is refused.
    Refuse,
    /// It is free, and marked by the version 0.
    Free,
    /// It costs this.
    Default(Arc<Price>),
}

/// A model's price, as a call pins it at admission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Priced {
    /// At this price.
    At(Arc<Price>),
    /// At nothing, for want of a price.
    Free,
}

impl Priced {
    /// The version that the books keep; 0 for a call that was free for want of a price.
    pub fn version(&self) -> PriceVersion {
        match self {
            Self::At(price) => price.version,
            Self::Free => PriceVersion::default(),
        }
    }
}

/// A model has no price, and such calls are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoPrice;

/// Whether whoever pays has a bound to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payer {
    /// Some account of the chain can be empty.
    Quota,
    /// None can.
    Unlimited,
}

/// Every price in force, with the groups' ratios: one immutable value. The names are the operator's, so that
/// a quick hash will do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PriceList {
    /// By model.
    pub prices: HashMap<ModelName, Arc<Price>, RandomState>,
    /// What is done with the others.
    pub unpriced: Unpriced,
    /// By group; a group that is missing pays the price as it stands.
    pub groups: HashMap<Arc<str>, Ratio, RandomState>,
}

impl PriceList {
    /// The price of a model.
    ///
    /// # Errors
    /// [`NoPrice`] where it has none and the policy refuses.
    pub fn price(&self, model: &str, payer: Payer) -> Result<Priced, NoPrice> {
        match (self.prices.get(model), &self.unpriced, payer) {
            (Some(price), _, _) | (None, Unpriced::Default(price), _) => Ok(Priced::At(Arc::clone(price))),
            (None, Unpriced::Free, _) | (None, Unpriced::RefuseQuota, Payer::Unlimited) => Ok(Priced::Free),
            (None, Unpriced::Refuse, _) | (None, Unpriced::RefuseQuota, Payer::Quota) => Err(NoPrice),
        }
    }

    /// What a group's calls are multiplied by.
    pub fn group(&self, name: &str) -> Ratio {
        self.groups.get(name).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn price(version: i64, model: &str) -> Arc<Price> {
        let form = Form::Tariff(Tariff::default());
        Arc::new(Price { version: PriceVersion(version), model: model.into(), form, exchange: None })
    }

    #[test]
    fn buckets_without_a_rate_take_their_neighbours() {
        let bare = Rates { input: PicosPerUnit(3), output: PicosPerUnit(7), ..Rates::default() };
        assert_eq!((bare.cached_read().0, bare.cache_write_5m().0, bare.cache_write_1h().0), (3, 3, 3));
        assert_eq!((bare.reasoning().0, bare.dearest_prompt().0, bare.dearest_completion().0), (7, 3, 7));
        let cached = Rates { cache_write_5m: Some(PicosPerUnit(4)), ..bare };
        assert_eq!((cached.cache_write_1h().0, cached.dearest_prompt().0), (4, 4));
        let free_reads = Rates { cached_read: Some(PicosPerUnit(0)), ..bare };
        assert_eq!((free_reads.cached_read().0, free_reads.dearest_prompt().0), (0, 3));
        assert_eq!(
            (bare.audio_in().0, bare.image_in().0, bare.audio_out().0, bare.image_out().0),
            (3, 3, 7, 7)
        );
        let heard = Rates { audio_in: Some(PicosPerUnit(30)), image_out: Some(PicosPerUnit(70)), ..bare };
        assert_eq!((heard.dearest_prompt().0, heard.dearest_completion().0), (30, 70));
    }

    #[test]
    fn a_tier_begins_above_its_threshold() {
        let rates = |input| Rates { input: PicosPerUnit(input), ..Rates::default() };
        let tiers = vec![PriceTier { above: 10, rates: rates(2) }, PriceTier { above: 20, rates: rates(3) }];
        let tariff = Tariff { rates: rates(1), per_call: Money::ZERO, tiers };
        for (prompt, input) in [(0, 1), (10, 1), (11, 2), (20, 2), (21, 3), (u64::MAX, 3)] {
            assert_eq!(tariff.rates_for(prompt).input.0, input, "{prompt} tokens");
        }
    }

    #[test]
    fn a_model_without_a_price_follows_the_policy() {
        let mut list =
            PriceList { prices: [("m".into(), price(5, "m"))].into_iter().collect(), ..PriceList::default() };
        let both = |list: &PriceList, model: &str| {
            [Payer::Quota, Payer::Unlimited].map(|payer| list.price(model, payer).map(|p| p.version().0))
        };
        assert_eq!(both(&list, "m"), [Ok(5), Ok(5)]);
        assert_eq!(both(&list, "other"), [Err(NoPrice), Ok(0)]);
        list.unpriced = Unpriced::Refuse;
        assert_eq!(both(&list, "other"), [Err(NoPrice), Err(NoPrice)]);
        list.unpriced = Unpriced::Free;
        assert_eq!(both(&list, "other"), [Ok(0), Ok(0)]);
        list.unpriced = Unpriced::Default(price(9, "*"));
        assert_eq!(both(&list, "other"), [Ok(9), Ok(9)]);
    }

    #[test]
    fn a_group_that_is_not_listed_pays_the_price_as_it_stands() {
        let list = PriceList {
            groups: [("vip".into(), Ratio(800_000))].into_iter().collect(),
            ..PriceList::default()
        };
        assert_eq!((list.group("vip"), list.group("default")), (Ratio(800_000), Ratio::ONE));
    }
}
