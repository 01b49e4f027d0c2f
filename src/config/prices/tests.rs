//! Prices: what is read, what wins, what is refused.

use penstock_actors::{
    billing::quote::charge,
    domain::{Priced, Usage},
};

use penstock_actors::domain::Payer;

use super::*;

fn with(own: &str) -> PriceList {
    list(own).expect("a list")
}

fn refused(own: &str) -> String {
    list(own).expect_err("a mistake").to_string()
}

fn price(list: &PriceList, model: &str) -> Arc<Price> {
    match list.price(model, Payer::Unlimited) {
        Ok(Priced::At(price)) => price,
        other => panic!("{model}: {other:?}"),
    }
}

fn tariff(list: &PriceList, model: &str) -> Tariff {
    match &price(list, model).form {
        Form::Tariff(tariff) => tariff.clone(),
        other => panic!("{model}: {other:?}"),
    }
}

#[test]
fn every_price_that_comes_along_is_read_and_has_a_version_of_its_own() {
    let prices = with("").prices;
    assert!((300..500).contains(&prices.len()), "{} prices", prices.len());
    let versions: std::collections::BTreeSet<_> = prices.values().map(|p| p.version).collect();
    assert_eq!(versions.len(), prices.len());
    assert!(versions.iter().all(|v| v.0 > 0));
    for (model, price) in &prices {
        assert_eq!(*model, price.model);
        let Form::Tariff(tariff) = &price.form else { panic!("{model}: a tariff") };
        assert!(tariff.rates.input.0 <= 1_000_000_000, "{model}: less than 1,000 USD");
    }
}

#[test]
fn well_known_prices_are_what_their_providers_ask() {
    let list = with("");
    let dollars = |rate: PicosPerUnit| rate.0 as f64 / 1e6;
    let gpt = tariff(&list, "gpt-4o-mini").rates;
    assert_eq!((dollars(gpt.input), dollars(gpt.cached_read()), dollars(gpt.output)), (0.15, 0.075, 0.6));
    let claude = tariff(&list, "claude-haiku-4-5").rates;
    let cached = [claude.cached_read(), claude.cache_write_5m(), claude.cache_write_1h()].map(dollars);
    assert_eq!((dollars(claude.input), dollars(claude.output), cached), (1.0, 5.0, [0.1, 1.25, 2.0]));
    let gemini = tariff(&list, "gemini-2.5-pro");
    assert_eq!((gemini.tiers[0].above, dollars(gemini.rates.input)), (200_000, 1.25));
    assert_eq!(dollars(gemini.tiers[0].rates.input), 2.5);
    assert_eq!(dollars(tariff(&list, "text-embedding-3-small").rates.input), 0.02);
}

#[test]
fn recordings_and_pictures_cost_what_they_cost() {
    let list = with(
        "[[price]]\nmodel = \"own\"\ninput = 1\noutput = 2\naudio_in = 10\nimage_in = 3\naudio_out = 20\nimage_out = 30\n",
    );
    let cost = |model: &str, usage: &Usage| charge(&price(&list, model), usage, Ratio::ONE).nanos();
    let spoken = Usage { input: 100, output: 10, audio_in: 1_000, audio_out: 500, ..Usage::default() };
    assert_eq!(cost("gpt-audio", &spoken), 100 * 2_500 + 10 * 10_000 + 1_000 * 32_000 + 500 * 64_000);
    let painted = Usage { input: 100, output: 10, image_in: 258, image_out: 1_290, ..Usage::default() };
    assert_eq!(cost("gemini-2.5-flash-image", &painted), 358 * 300 + 10 * 2_500 + 1_290 * 30_000);
    let all = Usage::of([1, 0, 0, 0, 1, 0, 1, 1, 1, 1]);
    assert_eq!(cost("own", &all), (1 + 2 + 10 + 3 + 20 + 30) * 1_000);
    let other = with("[[price]]\nmodel = \"own\"\ninput = 1\noutput = 2\naudio_in = 10\n");
    assert_ne!(price(&list, "own").version, price(&other, "own").version);
}

#[test]
fn the_operators_price_wins_over_a_ratio_and_that_over_what_comes_along() {
    let own = r#"
        [[price]]
        model = "gpt-4o"
        input = 2.000001
        output = "1_0"
        per_call = 0.000000001

        [model_ratio]
        "gpt-4o" = 1
        "gpt-4o-mini" = 0.075
    "#;
    let list = with(own);
    let mine = tariff(&list, "gpt-4o");
    assert_eq!((mine.rates.input.0, mine.rates.output.0, mine.per_call.nanos()), (2_000_001, 10_000_000, 1));
    let ratios = Form::Ratios { model: QuotaRatio(75_000_000), completion: QuotaRatio(4_000_000_000) };
    assert_eq!(price(&list, "gpt-4o-mini").form, ratios);
    assert_ne!(price(&list, "gpt-4o").version, price(&with(""), "gpt-4o").version);
}

#[test]
fn one_apis_maps_charge_as_one_api_does() {
    let own = r#"
        [model_ratio]
        "gpt-3.5-turbo" = 0.25
        "mine" = 0.14285714285714285
        [completion_ratio]
        "mine" = 2.5
        [group_ratio]
        vip = 0.8
    "#;
    let list = with(own);
    let usage = Usage { input: 1_000, output: 500, ..Usage::default() };
    let quota = |model, group| charge(&price(&list, model), &usage, list.group(group)).quota_units();
    assert_eq!((quota("gpt-3.5-turbo", "default"), quota("gpt-3.5-turbo", "vip")), (625, 500));
    assert_eq!(quota("mine", "other"), 322);
}

#[test]
fn generated_tokens_count_as_one_api_counts_them_where_its_map_is_silent() {
    let table = [
        ("gpt-3.5-turbo", 3_000_000_000),
        ("gpt-3.5-turbo-0125", 3_000_000_000),
        ("gpt-3.5-turbo-1106", 2_000_000_000),
        ("gpt-3.5-turbo-16k", 1_333_333_333),
        ("gpt-4o-2024-05-13", 3_000_000_000),
        ("gpt-4o-mini", 4_000_000_000),
        ("gpt-4-turbo-2024-04-09", 3_000_000_000),
        ("gpt-4-0125-preview", 3_000_000_000),
        ("gpt-4-32k", 2_000_000_000),
        ("chatgpt-4o-latest", 3_000_000_000),
        ("o1-mini", 4_000_000_000),
        ("claude-3-haiku", 5_000_000_000),
        ("claude-2.1", 3_000_000_000),
        ("deepseek-chat", 2_000_000_000),
        ("whisper-1", 0),
        ("qwen-max", 1_000_000_000),
    ];
    for (model, billionths) in table {
        assert_eq!(usual_completion_ratio(model), QuotaRatio(billionths), "{model}");
    }
}

#[test]
fn a_price_in_another_currency_is_turned_into_dollars_at_its_dated_rate() {
    let own = r#"
        [[price]]
        model = "qwen-local"
        input = 2
        output = "6"
        currency = "CNY"
        rate = 0.140625
        dated = "2026-11-01"
    "#;
    let list = with(own);
    let rates = tariff(&list, "qwen-local").rates;
    assert_eq!((rates.input.0, rates.output.0), (281_250, 843_750));
    let exchange = price(&list, "qwen-local").exchange.clone().expect("kept");
    assert_eq!((&*exchange.currency, exchange.rate, &*exchange.dated), ("CNY", Ratio(140_625), "2026-11-01"));
}

#[test]
fn models_without_a_price_are_refused_or_free_or_cost_what_stands_under_the_star() {
    assert!(with("").price("unheard-of", Payer::Quota).is_err());
    assert_eq!(
        with("[prices]\nmodels_without_price = \"free\"").price("unheard-of", Payer::Quota),
        Ok(Priced::Free)
    );
    let list = with("[[price]]\nmodel = \"*\"\ninput = 1\noutput = 2");
    assert_eq!(tariff(&list, "unheard-of").rates.output.0, 2_000_000);
}

#[test]
fn the_same_contents_have_the_same_version_and_others_another() {
    let version = |row: &str| price(&with(&format!("[[price]]\nmodel = \"m\"\n{row}")), "m").version;
    let one = version("input = 1\noutput = 2");
    assert_eq!(one, version("output = \"2.0\"\ninput = 1.000"));
    for row in [
        "input = 1\noutput = 2.000001",
        "input = 1\noutput = 2\ncached_read = 1",
        "input = 1\noutput = 2\ncache_write_5m = 1",
        "input = 1\noutput = 2\nper_call = 1",
        "input = 1\noutput = 2\ntiers = [{ above = 5, input = 1, output = 2 }]",
        "input = 1\noutput = 2\ncurrency = \"CNY\"\nrate = 1\ndated = \"2026-11-01\"",
    ] {
        assert_ne!(one, version(row), "{row}");
    }
}

#[test]
fn nonsense_is_refused_with_its_place() {
    let row = |fields: &str| refused(&format!("[[price]]\nmodel = \"m\"\n{fields}"));
    assert_eq!(row("input = -1\noutput = 2"), "price \"m\": input: must not be negative");
    assert_eq!(row("input = 1\noutput = 0.0000001"), "price \"m\": output: must have at most 6 decimals");
    assert_eq!(row("input = 1\noutput = 100001"), "price \"m\": output: must be at most 100000");
    let plain = "must be a decimal number like 12 or 0.075, without an exponent";
    for nonsense in ["1e3", "nan", "true", "[1]", "\"\"", "\"cheap\"", "{ a = 1 }"] {
        assert_eq!(row(&format!("input = {nonsense}\noutput = 2")), format!("price \"m\": input: {plain}"));
    }
    assert_eq!(row("input = 1"), "line 1: missing field `output`");
    assert!(row("input = 1\noutput = 2\ninptu = 3").starts_with("line 5: unknown field `inptu`"));
    let tiers = "tiers = [{ above = 9, input = 1, output = 1 }, { above = 9, input = 1, output = 1 }]";
    let order = "price \"m\": tiers: must come in the order of `above`, each once";
    assert_eq!(row(&format!("input = 1\noutput = 2\n{tiers}")), order);
    let together = "price \"m\": currency: another currency needs currency, rate and dated together";
    assert_eq!(row("input = 1\noutput = 2\ncurrency = \"CNY\""), together);
    let dated = "currency = \"CNY\"\nrate = 0.14\ndated = \"yesterday\"";
    assert!(row(&format!("input = 1\noutput = 2\n{dated}")).contains("dated: must be the day"));
    let rate = "currency = \"CNY\"\nrate = 0\ndated = \"2026-11-01\"";
    assert!(row(&format!("input = 1\noutput = 2\n{rate}")).contains("rate: must be the dollars for one"));
    let twice = "[[price]]\nmodel = \"m\"\ninput = 1\noutput = 2\n".repeat(2);
    assert_eq!(refused(&twice), "price \"m\": stands twice; keep one");
    assert_eq!(refused("[group_ratio]\nvip = -0.5"), "group_ratio.\"vip\": must not be negative");
    assert_eq!(refused("[model_ratio]\nm = 1000001"), "model_ratio.\"m\": must be at most 1,000,000");
    assert_eq!(refused("[completion_ratio]\nm = 2"), "completion_ratio.\"m\": this model has no model_ratio");
}
