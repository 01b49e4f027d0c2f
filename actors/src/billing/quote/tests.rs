//! Charges and reservations: tables, One API's golden cases, properties.

use proptest::prelude::*;

use super::*;
use crate::domain::{PicosPerUnit, PriceVersion};

fn price(form: Form) -> Price {
    Price { version: PriceVersion(1), model: "m".into(), form, exchange: None }
}

/// Dollars for a million tokens, as price lists have it, in millionths of a dollar.
fn rates(input: i64, output: i64) -> Rates {
    Rates { input: PicosPerUnit(input), output: PicosPerUnit(output), ..Rates::default() }
}

fn usage(input: u64, output: u64) -> Usage {
    Usage { input, output, ..Usage::default() }
}

#[test]
fn every_bucket_is_multiplied_by_its_own_rate() {
    let rates = Rates {
        input: PicosPerUnit(3_000_000),
        output: PicosPerUnit(15_000_000),
        cached_read: Some(PicosPerUnit(300_000)),
        cache_write_5m: Some(PicosPerUnit(3_750_000)),
        cache_write_1h: Some(PicosPerUnit(6_000_000)),
        reasoning: Some(PicosPerUnit(20_000_000)),
        audio_in: Some(PicosPerUnit(40_000_000)),
        image_in: Some(PicosPerUnit(10_000_000)),
        audio_out: Some(PicosPerUnit(80_000_000)),
        image_out: Some(PicosPerUnit(30_000_000)),
    };
    let price = price(Form::Tariff(Tariff { rates, ..Tariff::default() }));
    let one = Usage::of([1, 10, 100, 1_000, 10_000, 100_000, 2, 20, 200, 2_000]);
    let text = 3_000 + 10 * 300 + 100 * 3_750 + 1_000 * 6_000 + 10_000 * 15_000 + 100_000 * 20_000;
    let nanos = text + 2 * 40_000 + 20 * 10_000 + 200 * 80_000 + 2_000 * 30_000;
    assert_eq!(charge(&price, &one, Ratio::ONE).nanos(), nanos);
}

#[test]
fn a_charge_is_rounded_once_and_half_up() {
    // (pico-dollars a token, tokens, the group's millionths, nano-dollars)
    let table = [
        (499, 1, 1_000_000, 0),
        (500, 1, 1_000_000, 1),
        (1, 1_499, 1_000_000, 1),
        (1, 1_500, 1_000_000, 2),
        (333, 3, 1_000_000, 1),
        (1_000, 1, 499_999, 0),
        (1_000, 1, 500_000, 1),
        (1_001, 1, 499_500, 0),
        (150_000, 7, 850_000, 893),
        (2_500_000, 1_000_000, 0, 0),
        (2_500_000, 1_000_000, -5, 0),
    ];
    for (rate, tokens, group, nanos) in table {
        let price = price(Form::Tariff(Tariff { rates: rates(rate, 0), ..Tariff::default() }));
        let charged = charge(&price, &usage(tokens, 0), Ratio(group)).nanos();
        assert_eq!(charged, nanos, "{tokens} tokens at {rate} x {group}");
    }
}

#[test]
fn a_long_prompt_moves_the_whole_call_to_the_tier() {
    let tiers = vec![PriceTier { above: 200_000, rates: rates(2_500_000, 15_000_000) }];
    let price =
        price(Form::Tariff(Tariff { rates: rates(1_250_000, 10_000_000), per_call: Money::ZERO, tiers }));
    assert_eq!(charge(&price, &usage(200_000, 10), Ratio::ONE).nanos(), 250_000_000 + 100_000);
    assert_eq!(charge(&price, &usage(200_001, 10), Ratio::ONE).nanos(), 500_002_500 + 150_000);
    let cached = Usage { cached_read: 200_000, ..usage(1, 10) };
    assert_eq!(charge(&price, &cached, Ratio::ONE).nanos(), 500_002_500 + 150_000);
}

#[test]
fn a_call_may_cost_something_beside_its_tokens() {
    let per_call = Money::from_nanos(10_000_000);
    let price = price(Form::Tariff(Tariff { rates: rates(1_000, 0), per_call, tiers: Vec::new() }));
    assert_eq!(charge(&price, &usage(5, 0), Ratio(2_000_000)).nanos(), 20_000_010);
    assert_eq!(worst(&price, 0, 0, Ratio::ONE), per_call);
}

#[test]
fn absurd_figures_stop_at_the_end_of_the_range() {
    let dear = price(Form::Tariff(Tariff { rates: rates(i64::MAX, i64::MAX), ..Tariff::default() }));
    let all = Usage { cached_read: u64::MAX, reasoning: u64::MAX, ..usage(u64::MAX, u64::MAX) };
    assert_eq!(charge(&dear, &all, Ratio(i64::MAX)), Money::MAX);
    let ratios = Form::Ratios { model: QuotaRatio(u64::MAX), completion: QuotaRatio(u64::MAX) };
    assert_eq!(charge(&price(ratios), &all, Ratio(i64::MAX)), Money::MAX);
}

/// One API's formula in the floats that it is written in (`spec/one-api.md` 3.1): the standard to compare with.
fn one_api(prompt: u64, completion: u64, model: f64, weight: f64, group: f64) -> i64 {
    if prompt + completion == 0 {
        return 0;
    }
    let ratio = model * group;
    let quota = ((prompt as f64 + completion as f64 * weight) * ratio).ceil() as i64;
    if ratio != 0.0 && quota <= 0 { 1 } else { quota }
}

/// (prompt, completion, model ratio, completion ratio, group ratio, charged, One API's floats)
///
/// Where the last two differ, the product is a whole number that floats miss by their last bit: 0.07 is
/// held as 0.07000000000000000666, so 100 tokens come to 7.000000000000001 and are rounded up to 8.
/// The exact figure is charged; it is one unit (0.000002 USD) in the caller's favour.
const GOLDEN: &[(u64, u64, f64, f64, f64, i64, i64)] = &[
    (0, 0, 15.0, 4.0, 1.0, 0, 0),
    (1, 0, 0.0005, 1.0, 1.0, 1, 1),
    (0, 1, 0.0715, 1.0, 1.0, 1, 1),
    (5, 0, 0.0, 1.0, 1.0, 0, 0),
    (5, 5, 15.0, 4.0, 0.0, 0, 0),
    (0, 9, 1.0, 0.0, 1.0, 1, 1),
    (1_000, 500, 1.25, 4.0, 1.0, 3_750, 3_750),
    (1_200, 345, 15.0, 4.0, 1.1, 42_570, 42_570),
    (1_000, 500, 0.15, 4.0, 0.8, 360, 360),
    (100, 0, 1.25, 3.0, 0.7, 88, 88),
    (123_456, 7_890, 2.5, 4.0, 1.2, 465_048, 465_048),
    (100, 0, 0.8572, 1.0, 1.0, 86, 86),
    (1_000, 0, 0.8572, 1.0, 1.0, 858, 858),
    (1_000, 500, 0.55, 2.19, 1.0, 1_153, 1_153),
    (200, 100, 0.1, 3.3, 0.3, 16, 16),
    (7, 3, 30.0, 1.0, 1.0, 300, 300),
    (3, 3, 0.75, 1.333_333_333_333_333_3, 1.0, 6, 6),
    (7_000, 0, 0.142_857_142_857_142_85, 1.0, 1.0, 1_000, 1_000),
    (100, 0, 0.07, 1.0, 1.0, 7, 8),
    (1_000, 500, 0.07, 1.0, 1.0, 105, 106),
    (200, 100, 1.5, 5.0, 0.9, 945, 946),
    (100, 0, 7.0, 3.0, 1.1, 770, 771),
    (1_000, 500, 7.0, 3.0, 1.1, 19_250, 19_251),
    (100, 0, 0.55, 2.19, 1.0, 55, 56),
];

fn billionths(ratio: f64) -> QuotaRatio {
    QuotaRatio(format!("{ratio:.15}").replace('.', "").parse::<u64>().expect("digits") / 1_000_000)
}

#[test]
fn ratios_are_charged_as_one_api_charges_them_but_for_the_errors_of_its_floats() {
    for &(prompt, completion, model, weight, group, charged, floats) in GOLDEN {
        let form = Form::Ratios { model: billionths(model), completion: billionths(weight) };
        let group_ratio = Ratio((group * 1e6).round() as i64);
        let ours = charge(&price(form), &usage(prompt, completion), group_ratio);
        let case = format!("({prompt} + {completion} x {weight}) x {model} x {group}");
        assert_eq!(ours, Money::from_nanos(charged * 2_000), "{case}");
        assert_eq!(one_api(prompt, completion, model, weight, group), floats, "{case} in floats");
    }
}

#[test]
fn what_is_foreseen_follows_the_client_the_model_and_the_past() {
    let call = Foreseen { prompt_bytes: 1_001, ..Foreseen::default() };
    assert_eq!((call.prompt(), call.completion()), (381, DEFAULT_OUTPUT));
    assert_eq!(Foreseen { max_input: Some(100), ..call }.prompt(), 100);
    let table = [
        (Some(100), None, 1, 100),
        (Some(100_000), None, 1, DEFAULT_OUTPUT),
        (Some(100_000), Some(8_000), 1, 8_000),
        (Some(100), Some(8_000), 3, 300),
        (None, Some(50), 0, 50),
    ];
    for (max_output, learned, choices, tokens) in table {
        let call = Foreseen { max_output, learned, choices, ..call };
        assert_eq!(call.completion(), tokens, "{call:?}");
    }
}

#[test]
fn a_reservation_is_reckoned_at_the_dearest_rates_within_reach() {
    let written = Rates { cache_write_1h: Some(PicosPerUnit(4_000)), ..rates(2_000, 6_000) };
    let tiers = vec![PriceTier { above: 1_000, rates: rates(9_000, 1_000) }];
    let price = price(Form::Tariff(Tariff { rates: written, per_call: Money::ZERO, tiers }));
    assert_eq!(worst(&price, 1_000, 10, Ratio::ONE).nanos(), 4_000 + 60);
    assert_eq!(worst(&price, 1_001, 10, Ratio::ONE).nanos(), 9_009 + 60);
    let call = Foreseen { prompt_bytes: 100, max_output: Some(10), ..Foreseen::default() };
    assert_eq!(estimate(&price, &call, Ratio::ONE).nanos(), 38 * 4 + 60);
}

fn some_rates() -> impl Strategy<Value = Rates> {
    let rate = || (0i64..100_000_000).prop_map(PicosPerUnit);
    let maybe = || proptest::option::of((0i64..100_000_000).prop_map(PicosPerUnit));
    (rate(), rate(), proptest::array::uniform8(maybe())).prop_map(|(input, output, others)| {
        let [cached_read, cache_write_5m, cache_write_1h, reasoning, media @ ..] = others;
        let [audio_in, image_in, audio_out, image_out] = media;
        Rates {
            input,
            output,
            cached_read,
            cache_write_5m,
            cache_write_1h,
            reasoning,
            audio_in,
            image_in,
            audio_out,
            image_out,
        }
    })
}

fn some_form() -> impl Strategy<Value = Form> {
    let tier = (1u64..50_000, some_rates()).prop_map(|(above, rates)| PriceTier { above, rates });
    let tariff = (some_rates(), 0i64..1_000_000, proptest::collection::vec(tier, 0..3)).prop_map(
        |(rates, per_call, mut tiers)| {
            tiers.sort_by_key(|t| t.above);
            Form::Tariff(Tariff { rates, per_call: Money::from_nanos(per_call), tiers })
        },
    );
    let ratios = (0u64..50_000_000_000, 0u64..10_000_000_000).prop_map(|(model, weight)| Form::Ratios {
        model: QuotaRatio(model),
        completion: QuotaRatio(weight),
    });
    prop_oneof![tariff, ratios]
}

proptest! {
    #[test]
    fn the_worst_case_is_never_below_what_such_a_call_costs(
        form in some_form(),
        buckets in proptest::array::uniform10(0u64..40_000),
        group in 0i64..3_000_000,
        more in (0u64..1_000, 0u64..1_000),
    ) {
        let used = Usage::of(buckets);
        let price = price(form);
        let drawn = charge(&price, &used, Ratio(group));
        let held = worst(&price, used.prompt() + more.0, used.completion() + more.1, Ratio(group));
        prop_assert!(held >= drawn, "{held} is held for {drawn}");
    }

    #[test]
    fn rounding_never_moves_a_charge_by_more_than_half_a_nano(
        rate in 0i64..100_000_000, tokens in 0u64..10_000_000, group in 0i64..10_000_000,
    ) {
        let price = price(Form::Tariff(Tariff { rates: rates(rate, 0), ..Tariff::default() }));
        let charged = charge(&price, &usage(tokens, 0), Ratio(group)).nanos();
        let exact = i128::from(rate) * i128::from(tokens) * i128::from(group);
        let error = i128::from(charged) * 1_000_000_000 - exact;
        prop_assert!(-500_000_000 < error && error <= 500_000_000);
    }
}
