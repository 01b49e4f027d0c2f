//! From the settings of what is fetched to what the relay goes by.

use crate::{
    config::Media,
    relay::media::{Fetching, MediaPolicy},
    transport::{Allowed, FetchLimits},
};

/// What may be fetched.
pub(super) fn policy(media: &Media) -> MediaPolicy {
    MediaPolicy {
        fetching: if media.fetch { Fetching::On } else { Fetching::Off },
        max_count: media.max_count as usize,
        timeout: media.timeout,
        limits: FetchLimits {
            max_bytes: media.max_bytes,
            max_redirects: media.max_redirects,
            allowed: Allowed { names: media.allow_names.clone(), ranges: media.allow_ranges.clone() },
        },
    }
}
