//! How many connections and calls the process's descriptors allow.

/// What the descriptor limit allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Allowance {
    /// Client connections in all; more wait in the kernel's backlog.
    pub(super) connections: usize,
    /// Calls in flight; more are refused with 503.
    pub(super) calls: i64,
}

/// What the journal, the database and the log keep open.
const OWN: u64 = 48;

impl Allowance {
    /// Divides `limit` descriptors: a call takes one for its client and one for its provider; some stay
    /// for idle clients, files and the process itself.
    pub(super) fn of(limit: u64) -> Self {
        let spare = (limit / 4).max(OWN.min(limit / 2)).min(500);
        let calls = ((limit - spare) / 2).clamp(1, 1 << 20);
        Self { connections: (calls + spare / 2).max(1) as usize, calls: calls as i64 }
    }
}

/// Raises the soft descriptor limit to the hard one and gives what is in force.
pub(super) fn raise() -> u64 {
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) => {
            tracing::info!(limit, "descriptor limit");
            limit
        }
        Err(error) => {
            tracing::warn!(%error, "the descriptor limit cannot be read; 1024 is assumed");
            1024
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_and_providers_fit_into_the_limit_together() {
        for limit in [4, 64, 256, 1024, 20_000, 1 << 20] {
            let Allowance { connections, calls } = Allowance::of(limit);
            assert!(connections as u64 + calls as u64 <= limit, "{limit}");
            assert!(connections as i64 >= calls && calls > 0, "{limit}");
        }
    }
}
