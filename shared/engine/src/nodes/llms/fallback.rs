//! `fallback`: another model, which is called after all attempts of the first have failed.

use crate::{flow::NodeError, load::Fields};

/// The other model, and the failures after which it is called.
#[derive(Debug)]
pub(super) struct Fallback<T> {
    pub(super) llm: T,
    triggers: Vec<Trigger>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trigger {
    Any,
    RateLimit,
    Connection,
}

const TRIGGERS: &[(&str, Trigger)] =
    &[("any", Trigger::Any), ("rate_limit", Trigger::RateLimit), ("connection", Trigger::Connection)];

impl<T> Fallback<T> {
    /// Reads the fallback of the LLM `id`, if it is enabled. `build` gets the other model's id and fields.
    pub(super) fn read(
        id: &str,
        llm: Fields<'_>,
        build: impl FnOnce(&str, Fields<'_>) -> Option<T>,
    ) -> Option<Self> {
        let fields = llm.fields("fallback")?;
        if fields.bool("enabled") != Some(true) {
            return None;
        }
        let Some(llm) = fields.fields("llm") else {
            fields.mistake(fields.yaml.spot, "`llm` of an enabled fallback cannot be blank".into());
            return None;
        };
        let llm_id = llm.text("id").map_or_else(|| format!("{id}-fallback"), str::to_owned);
        let triggers = match fields.list("triggers") {
            Some(items) => items
                .iter()
                .filter_map(|item| {
                    let found = TRIGGERS.iter().find(|(word, _)| item.text() == Some(*word));
                    if found.is_none() {
                        let message = "`triggers` must be a list of `any`, `rate_limit` and `connection`";
                        fields.mistake(item.spot, message.into());
                    }
                    found.map(|(_, trigger)| *trigger)
                })
                .collect(),
            None => vec![Trigger::Any],
        };
        Some(Self { llm: build(&llm_id, llm)?, triggers })
    }

    /// Whether the other model is called after this failure.
    pub(super) fn applies(&self, error: &NodeError) -> bool {
        let text = error.message.to_lowercase();
        let contains = |words: &[&str]| words.iter().any(|word| text.contains(word));
        self.triggers.iter().any(|trigger| match trigger {
            Trigger::Any => true,
            Trigger::RateLimit => {
                matches!(&*error.kind, "RateLimitError" | "BudgetExceededError") || contains(RATE_LIMIT_WORDS)
            }
            Trigger::Connection => CONNECTION_KINDS.contains(&&*error.kind) || contains(CONNECTION_WORDS),
        })
    }
}

const RATE_LIMIT_WORDS: &[&str] = &[
    "rate limit",
    "429",
    "quota exceeded",
    "too many requests",
    "ratelimit",
    "throttl",
    "capacity",
    "resource_exhausted",
];

const CONNECTION_KINDS: &[&str] =
    &["APIConnectionError", "Timeout", "ServiceUnavailableError", "InternalServerError", "TimeoutError"];

const CONNECTION_WORDS: &[&str] = &[
    "connection",
    "timeout",
    "timed out",
    "unreachable",
    "service unavailable",
    "503",
    "502",
    "504",
    "gateway",
    "network",
    "dns",
    "refused",
    "reset",
    "closed",
    "internal server error",
    "500",
];
