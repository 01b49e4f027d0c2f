//! How long a call will wait: from the calls ahead of it, the slots that serve, and how long service takes. Pure.
//!
//! Slots give a stream of completions; the wait is that of the last one needed, a gamma distribution, whose
//! quantiles are Wilson and Hilferty's (1931). What a model cannot know (who arrives later and goes first,
//! who leaves) is learned: each quantile is scaled so that it comes true as often as it should.

use std::time::Duration;

/// The expected wait of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Estimate {
    /// Its place in the order of service, from 1.
    pub position: u64,
    /// Half of such calls wait no longer.
    pub p50: Duration,
    /// Nine in ten wait no longer.
    pub p90: Duration,
}

/// How fast the channels serve that a call waits for, together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Service {
    /// Slots, busy or free.
    pub slots: f64,
    /// Slots that are free now.
    pub free: f64,
    /// Completions a second while all slots are busy.
    pub rate: f64,
    /// How much service times scatter: variance over squared mean.
    pub scatter: f64,
    /// How long no channel serves at all.
    pub pause: Option<Duration>,
    /// Completions a second that the slots alone would give.
    pub of_slots: f64,
    /// Calls that go at the pace of the slots before those that go at the channels' pace.
    pub credit: f64,
}

/// How a channel is paced to what its provider lets through.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Outlook {
    /// Calls a second, where that is limited.
    pub per_second: Option<f64>,
    /// Calls that it lets through at once before that.
    pub credit: f64,
    /// After how long the next one can go.
    pub wait: Duration,
    /// How long this one stands in any case, by limits that are known to the moment.
    pub stands: Duration,
}

impl Outlook {
    /// The same where calls are paced in another way, too.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let least = |a: Option<f64>, b: Option<f64>| a.into_iter().chain(b).reduce(f64::min);
        Self {
            per_second: least(self.per_second, other.per_second),
            credit: match (self.per_second, other.per_second) {
                (Some(_), Some(_)) => self.credit.min(other.credit),
                (Some(_), None) => self.credit,
                (None, _) => other.credit,
            },
            wait: self.wait.max(other.wait),
            stands: self.stands.max(other.stands),
        }
    }
}

impl Service {
    /// Adds a channel's; `mean` is its mean service time, `None` where it has served nobody yet.
    pub fn add(&mut self, limit: u32, in_flight: u32, mean: Option<Duration>, scatter: f64) {
        self.add_paced(limit, in_flight, mean, scatter, Outlook::default());
    }

    /// The same of a channel that is paced.
    pub fn add_paced(
        &mut self,
        limit: u32,
        in_flight: u32,
        mean: Option<Duration>,
        scatter: f64,
        outlook: Outlook,
    ) {
        let slots = f64::from(limit.min(1 << 24));
        if outlook.wait.max(outlook.stands).is_zero() {
            self.free += f64::from(limit.saturating_sub(in_flight).min(1 << 24));
        }
        let of_slots = mean.filter(|m| !m.is_zero()).map(|mean| slots / mean.as_secs_f64());
        let rate = match (of_slots, outlook.per_second) {
            (Some(of_slots), Some(paced)) => Some(of_slots.min(paced)),
            (of_slots, paced) => of_slots.or(paced.filter(|_| limit > 0)),
        };
        self.of_slots += of_slots.unwrap_or_default();
        if outlook.per_second.is_some_and(|paced| of_slots.is_none_or(|of_slots| paced < of_slots)) {
            self.credit += outlook.credit;
        }
        // What a rate explains of the wait is no pause.
        let turn = outlook.per_second.filter(|rate| *rate > 0.0).map_or(0.0, f64::recip);
        let pause = outlook.wait.saturating_sub(seconds(turn)).max(outlook.stands);
        self.pause = Some(self.pause.map_or(pause, |known| known.min(pause)));
        if let Some(rate) = rate {
            let all = self.rate + rate;
            if all > 0.0 {
                self.scatter = (self.scatter * self.rate + scatter * rate) / all;
            }
            self.rate = all;
        }
        self.slots += slots;
    }
}

/// A channel that a call waits for, as it stands.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stand {
    /// Its slot.
    pub slot: u32,
    /// Calls that it serves before this one; of those that wait for other channels too, the part that is its own.
    pub ahead: f64,
    /// Requests in flight allowed.
    pub limit: u32,
    /// Requests in flight.
    pub in_flight: u32,
    /// Mean service time; `None` where it has served nobody yet.
    pub mean: Option<Duration>,
    /// Variance of service times over their squared mean.
    pub scatter: f64,
    /// How it is paced.
    pub outlook: Outlook,
}

impl Stand {
    fn service(&self) -> Service {
        let mut service = Service::default();
        self.add_to(&mut service);
        service
    }

    fn add_to(&self, service: &mut Service) {
        service.add_paced(self.limit, self.in_flight, self.mean, self.scatter, self.outlook);
    }

    /// Seconds until it has served those who wait; `None` where nobody knows.
    fn through_in(&self) -> Option<f64> {
        let service = self.service();
        let pause = service.pause.unwrap_or_default().as_secs_f64();
        match self.ahead - service.free {
            // Nobody is before the call, or there is a slot for it.
            left if left <= 0.0 => Some(pause),
            left if service.rate > 0.0 => Some(pause + left / service.rate),
            _ => None,
        }
    }
}

/// What is foreseen of a call that waits for several channels.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Foreseen {
    /// Its wait, by the model alone; `None` where nothing is known of how fast the channels serve.
    pub wait: Option<Estimate>,
    /// Slots of the channels, and how likely each of them serves it; together one.
    pub parts: Vec<(u32, f64)>,
}

/// Foresees the wait for whichever of these channels comes to the call first.
///
/// Those serve it together that are through with the calls before it by then: one that serves others for longer does
/// not, however many slots it has.
pub fn foresee(channels: &[Stand]) -> Foreseen {
    let through = |stand: &Stand| stand.through_in().unwrap_or(f64::INFINITY);
    let mut in_order: Vec<_> = channels.iter().map(|stand| (through(stand), stand)).collect();
    in_order.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut together, mut ahead) = (Service::default(), 0.0);
    let mut parts = Vec::with_capacity(channels.len());
    for (through, stand) in in_order {
        let pause = together.pause.unwrap_or_default().as_secs_f64();
        let by_then = match ahead + 1.0 - together.free {
            needed if needed <= 0.0 => pause,
            needed if together.rate > 0.0 => pause + needed / together.rate,
            _ => f64::INFINITY,
        };
        if through > by_then {
            parts.push((stand.slot, 0.0));
            continue;
        }
        let before = together.rate;
        stand.add_to(&mut together);
        ahead += stand.ahead;
        parts.push((stand.slot, together.rate - before));
    }
    let (all, each) = (together.rate, 1.0 / channels.len() as f64);
    parts.iter_mut().for_each(|(_, part)| *part = if all > 0.0 { *part / all } else { each });
    Foreseen { wait: expect(ahead.round() as u64, &together), parts }
}

/// The longest wait that is told.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// The wait by the model alone; `None` where nothing is known of how fast is served, and there are slots.
pub fn expect(ahead: u64, service: &Service) -> Option<Estimate> {
    let position = ahead + 1;
    let needed = position as f64 - service.free;
    if needed <= 0.0 {
        return Some(Estimate { position, p50: Duration::ZERO, p90: Duration::ZERO });
    }
    if service.slots < 1.0 {
        return Some(Estimate { position, p50: LONGEST, p90: LONGEST });
    }
    if service.rate <= 0.0 {
        return None;
    }
    // The next few completions come as a Poisson process does, whatever service times are; many of them
    // scatter as service times do.
    let after = |needed: f64, rate: f64, z: f64| {
        if needed <= 0.0 || rate <= 0.0 {
            return Duration::ZERO;
        }
        let many = needed / (needed + service.slots);
        let scatter = (1.0 - many) + service.scatter.clamp(0.05, 4.0) * many;
        let (shape, mean) = (needed / scatter, needed / rate);
        seconds(mean * (1.0 - 1.0 / (9.0 * shape) + z / (3.0 * shape.sqrt())).powi(3))
    };
    let pause = service.pause.unwrap_or_default();
    let quantile = |z: f64| {
        let paced = after(needed - service.credit, service.rate, z);
        pause + paced.max(after(needed, service.of_slots, z))
    };
    Some(Estimate { position, p50: quantile(0.0), p90: quantile(1.2816) })
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(LONGEST).min(LONGEST)
}

/// Scales for the quantiles, learned from what waits came to. Apart for the next few, for some and for many.
#[derive(Clone, Debug)]
pub struct Calibration {
    scales: [[f64; 2]; 3],
}

impl Default for Calibration {
    fn default() -> Self {
        Self { scales: [[1.0; 2]; 3] }
    }
}

const QUANTILES: [f64; 2] = [0.5, 0.9];

fn class(position: u64) -> usize {
    match position {
        0..4 => 0,
        4..64 => 1,
        _ => 2,
    }
}

impl Calibration {
    /// The model's estimate as experience corrects it.
    pub fn correct(&self, model: Estimate) -> Estimate {
        let [half, most] = self.scales[class(model.position)];
        let scaled = |wait: Duration, by: f64| seconds(wait.as_secs_f64() * by);
        let p50 = scaled(model.p50, half);
        Estimate { p50, p90: scaled(model.p90, most).max(p50), ..model }
    }

    /// Takes in how long a call waited for which the model had said this.
    pub fn learn(&mut self, model: Estimate, waited: Duration) {
        if model.p50.is_zero() || model.p50 >= LONGEST {
            return;
        }
        let scales = &mut self.scales[class(model.position)];
        // Calls that wait together learn alike: the more there are, the smaller each one's step.
        let step = 1.0 / (20.0 + 2.0 * model.position as f64);
        for ((scale, said), quantile) in scales.iter_mut().zip([model.p50, model.p90]).zip(QUANTILES) {
            let is_later = waited.as_secs_f64() > said.as_secs_f64() * *scale;
            let change = if is_later { quantile } else { quantile - 1.0 };
            *scale = (*scale * (step * change).exp()).clamp(0.25, 4.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(slots: u32, busy: u32, mean_ms: u64) -> Service {
        let mut service = Service::default();
        service.add(slots, busy, Some(Duration::from_millis(mean_ms)), 1.0);
        service
    }

    #[test]
    fn waits_are_those_of_a_poisson_process_where_service_is_exponential() {
        // Quantiles of the gamma distribution of the n-th of 80 completions a second.
        for (ahead, p50, p90) in
            [(0, 8.66, 28.8), (1, 20.98, 48.6), (15, 195.9, 266.2), (799, 9996.0, 10455.0)]
        {
            let told = expect(ahead, &service(16, 16, 200)).expect("known");
            let ms = |wait: Duration| wait.as_secs_f64() * 1e3;
            assert!((ms(told.p50) / p50 - 1.0).abs() < 0.03, "{ahead}: {told:?}");
            assert!((ms(told.p90) / p90 - 1.0).abs() < 0.03, "{ahead}: {told:?}");
        }
    }

    #[test]
    fn free_slots_are_no_wait_no_slots_an_endless_one_and_no_history_none_that_is_known() {
        assert_eq!(expect(3, &service(16, 12, 200)).map(|e| e.p90), Some(Duration::ZERO));
        assert_eq!(expect(0, &service(0, 0, 200)).map(|e| e.p50), Some(LONGEST));
        let mut unknown = Service::default();
        unknown.add(4, 4, None, 1.0);
        assert_eq!(expect(0, &unknown), None);
        assert_eq!(expect(0, &service(4, 4, 0)), None);
        assert!(expect(u64::MAX - 1, &service(1, 1, 3_600_000)).expect("known").p90 <= LONGEST);
    }

    #[test]
    fn a_paced_channel_serves_at_its_pace_and_a_paused_one_after_its_pause() {
        let told = |ahead, outlook| {
            let mut service = Service::default();
            service.add_paced(16, 3, Some(Duration::from_millis(200)), 1.0, outlook);
            expect(ahead, &service).expect("known").p50.as_secs_f64()
        };
        let wait = Duration::from_millis(100);
        let paced = |credit| Outlook { per_second: Some(10.0), credit, wait, ..Outlook::default() };
        let of_ten = told(99, paced(0.0));
        assert!((9.5..10.5).contains(&of_ten), "{of_ten}");
        let with_credit = told(99, paced(80.0));
        assert!((1.8..2.2).contains(&with_credit), "{with_credit}");
        let as_the_slots = told(99, paced(500.0));
        assert!((1.1..1.4).contains(&as_the_slots), "{as_the_slots}");
        let paused = told(0, Outlook { wait: Duration::from_secs(20), ..Outlook::default() });
        assert!((20.0..20.1).contains(&paused), "{paused}");
        let stands = Duration::from_secs(60);
        let limited = told(0, Outlook { per_second: Some(0.03), credit: 1.0, wait: stands, stands });
        assert!((60.0..60.1).contains(&limited), "{limited}: known to the moment");
        assert!(told(0, Outlook::default()) < 1e-9, "there is room");
    }

    #[test]
    fn whichever_channel_comes_first_serves_and_those_that_are_through_by_then_help() {
        let channel = |ahead, mean_ms| Stand {
            ahead,
            limit: 10,
            in_flight: 10,
            mean: Some(Duration::from_millis(mean_ms)),
            scatter: 1.0,
            ..Stand::default()
        };
        let told = |channels: &[Stand]| foresee(channels).wait.expect("known");
        let seconds = |channels: &[Stand]| told(channels).p50.as_secs_f64();
        // Ten completions a second each.
        let (short, long) = (channel(20.0, 1_000), channel(500.0, 1_000));
        assert_eq!(told(&[long, short]), told(&[short]), "the long one is no help");
        // Forty that wait for both, or twenty for each alone, are forty before two.
        let both = told(&[short, short]);
        assert!((1.9..2.1).contains(&both.p50.as_secs_f64()) && both.position == 41, "{both:?}");
        let twice = channel(40.0, 500);
        assert!(seconds(&[short, twice]) < seconds(&[twice]));
        // One that takes nothing for a minute.
        let outlook = Outlook { wait: Duration::from_secs(60), ..Outlook::default() };
        let paused = Stand { ahead: 0.0, outlook, ..short };
        assert_eq!(told(&[paused, short]), told(&[short]));
        let longer = channel(700.0, 1_000);
        assert!(seconds(&[paused, longer]) < seconds(&[longer]), "it is there before the other is through");
        // Nothing is known of one that has served nobody, and a slot is a slot.
        let unknown = Stand { mean: None, ..short };
        assert_eq!(told(&[unknown, short]), told(&[short]));
        assert_eq!(foresee(&[unknown]).wait, None);
        let free = Stand { ahead: 0.0, in_flight: 9, ..unknown };
        assert_eq!(told(&[long, free]).p90, Duration::ZERO);
        assert_eq!(told(&[Stand { limit: 0, in_flight: 0, ..short }]).p50, LONGEST);
        let parts = |channels: &[Stand]| foresee(channels).parts;
        let as_slot = |slot, stand| Stand { slot, ..stand };
        assert_eq!(parts(&[as_slot(1, long), as_slot(2, short)]), [(2, 1.0), (1, 0.0)]);
        let thirds = parts(&[as_slot(1, short), as_slot(2, twice)]);
        assert!(thirds[1].0 == 2 && (thirds[1].1 - 2.0 / 3.0).abs() < 1e-9, "{thirds:?}");
        assert_eq!(parts(&[as_slot(1, unknown), as_slot(2, unknown)]), [(1, 0.5), (2, 0.5)]);
    }

    #[test]
    fn quantiles_that_do_not_come_true_are_scaled_until_they_do() {
        let model = expect(9, &service(16, 16, 200)).expect("known");
        let mut calibration = Calibration::default();
        // Waits are uniform over twice to three times what the model says.
        let mut late = [0; 2];
        for n in 0..20_000u32 {
            let told = calibration.correct(model);
            let waited = model.p50.mul_f64(2.0 + f64::from(n * 7919 % 1000) / 1000.0);
            calibration.learn(model, waited);
            if n >= 10_000 {
                late[0] += u32::from(waited > told.p50);
                late[1] += u32::from(waited > told.p90);
            }
        }
        assert!((4_500..5_500).contains(&late[0]) && (800..1_200).contains(&late[1]), "{late:?}");
    }
}
