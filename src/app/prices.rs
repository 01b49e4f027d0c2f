//! Keeps in the database what prices said when they came into force, so that old calls can be explained.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, sync::Arc, time::Duration};

use penstock_actors::domain::{Form, Price, PriceList, PriceVersion, Rates, Unpriced};
use serde_json::{Value, json};

use crate::{
    clock::now_ms,
    store::{KeptPrice, LateStore},
};

/// How often prices are tried that could not be kept yet.
const TRY: Duration = Duration::from_millis(500);

/// The prices that are still to be kept.
pub(super) struct PriceKeeper {
    store: Arc<LateStore>,
    waiting: RefCell<BTreeMap<PriceVersion, KeptPrice>>,
}

impl PriceKeeper {
    /// Keeps prices for as long as this lives.
    pub(super) fn start(store: Arc<LateStore>) -> Rc<Self> {
        let keeper = Rc::new(Self { store, waiting: RefCell::default() });
        let weak = Rc::downgrade(&keeper);
        actix_web::rt::spawn(async move {
            loop {
                let Some(keeper) = weak.upgrade() else { return };
                keeper.bring_home().await;
                drop(keeper);
                tokio::time::sleep(TRY).await;
            }
        });
        keeper
    }

    /// These come into force.
    pub(super) fn keep(&self, prices: &PriceList) {
        let unpriced = match &prices.unpriced {
            Unpriced::Default(price) => Some(price),
            _ => None,
        };
        let kept = prices.prices.values().chain(unpriced).map(|price| (price.version, kept(price)));
        self.waiting.borrow_mut().extend(kept);
    }

    async fn bring_home(&self) {
        let waiting: Vec<_> = self.waiting.borrow().values().cloned().collect();
        let Ok(store) = self.store.get() else { return };
        if waiting.is_empty() {
            return;
        }
        match store.keep_prices(&waiting, now_ms()).await {
            Ok(new) => {
                self.waiting.borrow_mut().retain(|version, _| waiting.iter().all(|k| k.version != *version));
                if new > 0 {
                    tracing::debug!(new, "prices were kept");
                }
            }
            Err(error) => tracing::debug!(%error, "prices were not kept yet"),
        }
    }
}

/// Pico-dollars a token are millionths of a dollar for a million tokens.
fn per_million(picos: i64) -> String {
    format!("{}.{:06}", picos / 1_000_000, picos % 1_000_000)
}

fn kept(price: &Price) -> KeptPrice {
    let mut content = match &price.form {
        Form::Ratios { model, completion } => {
            let billionths = |ratio: u64| format!("{}.{:09}", ratio / 1_000_000_000, ratio % 1_000_000_000);
            json!({ "model_ratio": billionths(model.0), "completion_ratio": billionths(completion.0) })
        }
        Form::Tariff(tariff) => {
            let mut content = rates(&tariff.rates);
            content["per_call_usd"] = tariff.per_call.to_string().into();
            let tiers: Vec<Value> = tariff
                .tiers
                .iter()
                .map(|tier| {
                    let mut rates = rates(&tier.rates);
                    rates["above_tokens"] = tier.above.into();
                    rates
                })
                .collect();
            if !tiers.is_empty() {
                content["tiers"] = tiers.into();
            }
            content
        }
    };
    if let Some(exchange) = &price.exchange {
        content["written_in"] = json!({
            "currency": &*exchange.currency,
            "usd": per_million(exchange.rate.0),
            "dated": &*exchange.dated,
        });
    }
    KeptPrice { version: price.version, model: price.model.to_string(), content: content.to_string() }
}

/// Dollars for a million tokens, of the buckets that have a rate of their own.
fn rates(rates: &Rates) -> Value {
    let own = [
        ("input", Some(rates.input)),
        ("output", Some(rates.output)),
        ("cached_read", rates.cached_read),
        ("cache_write_5m", rates.cache_write_5m),
        ("cache_write_1h", rates.cache_write_1h),
        ("reasoning", rates.reasoning),
        ("audio_in", rates.audio_in),
        ("image_in", rates.image_in),
        ("audio_out", rates.audio_out),
        ("image_out", rates.image_out),
    ];
    let own = own.into_iter().filter_map(|(name, rate)| Some((name.to_owned(), per_million(rate?.0).into())));
    json!({ "usd_per_million_tokens": own.collect::<serde_json::Map<_, _>>() })
}
