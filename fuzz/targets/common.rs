//! What targets share: a pair of dialects and cuts, taken from the first bytes of the input.
#![allow(dead_code, reason = "each target uses a part of it")]

use penstock::{
    dialect::{Dialect, StreamForm, media::Fetched},
    provider::{Ask, Endpoint},
};
use penstock_actors::domain::Delivery;

pub const FACES: [(Dialect, Endpoint); 4] = [
    (Dialect::OpenAi, Endpoint::ChatCompletions),
    (Dialect::AnthropicMessages, Endpoint::Messages),
    (Dialect::Gemini, Endpoint::GenerateContent),
    (Dialect::OpenAiResponses, Endpoint::Responses),
];

/// A client's dialect, a provider's, and how the answer is wanted.
pub struct Pair {
    pub face: Dialect,
    pub endpoint: Endpoint,
    pub upstream: Dialect,
    pub delivery: Delivery,
    pub usage_wanted: bool,
    pub form: StreamForm,
}

impl Pair {
    pub fn of(choice: [u8; 2]) -> Self {
        let (face, endpoint) = FACES[usize::from(choice[0]) % FACES.len()];
        let flags = choice[0] / 4;
        Self {
            face,
            endpoint,
            upstream: Dialect::ALL[usize::from(choice[1]) % Dialect::ALL.len()],
            delivery: if flags & 1 == 0 { Delivery::Whole } else { Delivery::Stream },
            usage_wanted: flags & 2 != 0,
            form: if flags & 12 == 12 { StreamForm::Array } else { StreamForm::Events },
        }
    }

    pub fn ask(&self) -> Ask<'static> {
        Ask {
            endpoint: self.endpoint,
            face: self.face,
            model: "smart",
            upstream_model: "their-name",
            delivery: self.delivery,
            usage_wanted: self.usage_wanted,
            quirks: &[],
            params: &[],
            max_event: 1 << 20,
            created: 1_795_000_000,
            call_id: "call",
            form: self.form,
            echo: None,
            tools: &[],
            media: Fetched::NONE,
        }
    }
}

/// The bytes in up to three parts, cut where the input says.
pub fn parts(cuts: [u8; 2], bytes: &[u8]) -> [&[u8]; 3] {
    let [one, two] = cuts.map(|cut| usize::from(cut) * (bytes.len() + 1) / 256);
    let (first, last) = (one.min(two), one.max(two));
    [&bytes[..first], &bytes[first..last], &bytes[last..]]
}
