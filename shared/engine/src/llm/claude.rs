//! Capabilities of Anthropic's models by name, for all providers that serve them.

/// Family and version of a name such as `claude-sonnet-4-5`, which may be part of a longer one. The version is
/// optional.
fn version(model: &str) -> Option<(&str, Option<(u32, u32)>)> {
    let (_, rest) = model.split_once("claude-")?;
    let mut words = rest.split(|letter: char| !letter.is_ascii_alphanumeric());
    let family = words.next().filter(|word| word.bytes().all(|byte| byte.is_ascii_lowercase()))?;
    // A longer number is a date.
    let mut number = || words.next().filter(|word| word.len() <= 2).and_then(|word| word.parse().ok());
    let major: Option<u32> = number();
    Some((family, major.map(|major| (major, number().unwrap_or(0)))))
}

/// Whether it refuses `temperature`, `top_p` and `top_k`.
pub(super) fn refuses_sampling(model: &str) -> bool {
    let model = model.to_lowercase();
    match version(&model) {
        Some(("mythos", _)) => true,
        Some(("opus", Some(version))) => version >= (4, 7),
        Some(("sonnet" | "fable", Some(version))) => version >= (5, 0),
        Some(("haiku", Some(version))) => version >= (5, 5),
        _ => false,
    }
}

/// Whether it accepts a JSON schema for its answer; other models only accept schemas of tools.
pub(super) fn takes_schema(model: &str) -> bool {
    let model = model.to_lowercase();
    match version(&model) {
        Some(("opus", Some(version))) => version >= (4, 1),
        Some(("sonnet" | "haiku", Some(version))) => version >= (4, 5),
        Some(("fable" | "mythos", _)) => true,
        _ => false,
    }
}

/// Maximum number of output tokens, which its API requires in a request.
pub(super) fn longest_answer(model: &str) -> u32 {
    let model = model.to_lowercase();
    match version(&model) {
        Some(("opus", Some((4, 0 | 1)))) => 32_000,
        Some(("opus", Some(version))) if version >= (4, 6) => 128_000,
        Some(("fable" | "mythos", _)) => 128_000,
        Some(("opus" | "sonnet" | "haiku", Some(_))) => 64_000,
        // `claude-3-7-sonnet`, `claude-3-5-haiku`, `claude-3-opus`: the version comes first.
        _ if model.contains("claude-3-7") || model.contains("claude-4-sonnet") => 64_000,
        _ if model.contains("claude-4-opus") => 32_000,
        _ if model.contains("claude-3-5") => 8192,
        _ => 4096,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_by_name() {
        for (model, sampling, schema, max_tokens) in [
            ("claude-3-haiku-20240307", false, false, 4096),
            ("claude-3-5-sonnet-20241022", false, false, 8192),
            ("claude-3-7-sonnet-20250219", false, false, 64_000),
            ("claude-opus-4-20250514", false, false, 32_000),
            ("claude-sonnet-4-20250514", false, false, 64_000),
            ("claude-opus-4-1-20250805", false, true, 32_000),
            ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", false, true, 64_000),
            ("claude-opus-4-7", true, true, 128_000),
            ("claude-haiku-4-5", false, true, 64_000),
            ("Claude-Sonnet-5", true, true, 64_000),
            ("gpt-4o", false, false, 4096),
        ] {
            assert_eq!(
                (refuses_sampling(model), takes_schema(model), longest_answer(model)),
                (sampling, schema, max_tokens),
                "{model}"
            );
        }
    }
}
