//! Default prices of models, which an app can override.

use runyard_runs::Price;

/// By provider and model: US dollars per million input, output, and cached input tokens. The providers' public prices,
/// as listed in `LiteLLM` 1.90.3 on 2026-11-24. A model that is not listed has no price unless the app sets one.
#[rustfmt::skip]
const PRICES: &[(&str, &str, f64, f64, f64)] = &[
    ("Amazon", "titan-embed-text-v1", 0.1, 0.0, 0.1),
    ("Amazon", "titan-embed-text-v2:0", 0.2, 0.0, 0.2),
    ("Anthropic", "claude-3-haiku", 0.25, 1.25, 0.03),
    ("Anthropic", "claude-3-7-sonnet", 3.0, 15.0, 0.3),
    ("Anthropic", "claude-opus-4", 15.0, 75.0, 1.5),
    ("Anthropic", "claude-opus-4-1", 15.0, 75.0, 1.5),
    ("Anthropic", "claude-opus-4-5", 5.0, 25.0, 0.5),
    ("Anthropic", "claude-opus-4-6", 5.0, 25.0, 0.5),
    ("Anthropic", "claude-opus-4-7", 5.0, 25.0, 0.5),
    ("Anthropic", "claude-opus-4-8", 5.0, 25.0, 0.5),
    ("Anthropic", "claude-sonnet-4", 3.0, 15.0, 0.3),
    ("Anthropic", "claude-sonnet-4-5", 3.0, 15.0, 0.3),
    ("Anthropic", "claude-sonnet-4-6", 3.0, 15.0, 0.3),
    ("Anthropic", "claude-haiku-4-5", 1.0, 5.0, 0.1),
    ("Anthropic", "claude-fable-5", 10.0, 50.0, 1.0),
    ("Cohere", "command-a-03-2025", 2.5, 10.0, 2.5),
    ("Cohere", "command-r-08-2024", 0.15, 0.6, 0.15),
    ("Cohere", "command-r-plus-08-2024", 2.5, 10.0, 2.5),
    ("Cohere", "command-r7b-12-2024", 0.0375, 0.15, 0.0375),
    ("Cohere", "embed-english-v3.0", 0.1, 0.0, 0.1),
    ("Cohere", "embed-multilingual-v3.0", 0.1, 0.0, 0.1),
    ("Cohere", "embed-v4.0", 0.12, 0.0, 0.12),
    ("DeepSeek", "deepseek-chat", 0.28, 0.42, 0.028),
    ("DeepSeek", "deepseek-reasoner", 0.28, 0.42, 0.028),
    ("DeepSeek", "deepseek-v4-flash", 0.14, 0.28, 0.0028),
    ("DeepSeek", "deepseek-v4-pro", 0.435, 0.87, 0.003_625),
    ("Gemini", "gemini-2.0-flash", 0.1, 0.4, 0.025),
    ("Gemini", "gemini-2.0-flash-lite", 0.075, 0.3, 0.01875),
    ("Gemini", "gemini-2.5-flash", 0.3, 2.5, 0.03),
    ("Gemini", "gemini-2.5-flash-lite", 0.1, 0.4, 0.01),
    ("Gemini", "gemini-2.5-pro", 1.25, 10.0, 0.125),
    ("Gemini", "gemini-3-flash-preview", 0.5, 3.0, 0.05),
    ("Gemini", "gemini-3-pro-preview", 2.0, 12.0, 0.2),
    ("Gemini", "gemini-3.1-flash-lite", 0.25, 1.5, 0.025),
    ("Gemini", "gemini-3.1-pro-preview", 2.0, 12.0, 0.2),
    ("Gemini", "gemini-3.5-flash", 1.5, 9.0, 0.15),
    ("Gemini", "gemini-embedding-001", 0.15, 0.0, 0.15),
    ("Gemini", "gemini-embedding-2", 0.2, 0.0, 0.2),
    ("Groq", "llama-3.1-8b-instant", 0.05, 0.08, 0.05),
    ("Groq", "llama-3.3-70b-versatile", 0.59, 0.79, 0.59),
    ("Groq", "meta-llama/llama-4-maverick-17b-128e-instruct", 0.2, 0.6, 0.2),
    ("Groq", "meta-llama/llama-4-scout-17b-16e-instruct", 0.11, 0.34, 0.11),
    ("Groq", "openai/gpt-oss-120b", 0.15, 0.6, 0.075),
    ("Groq", "openai/gpt-oss-20b", 0.075, 0.3, 0.0375),
    ("Groq", "qwen/qwen3-32b", 0.29, 0.59, 0.29),
    ("Mistral", "codestral-latest", 1.0, 3.0, 1.0),
    ("Mistral", "devstral-medium-latest", 0.4, 2.0, 0.4),
    ("Mistral", "magistral-medium-latest", 2.0, 5.0, 2.0),
    ("Mistral", "magistral-small-latest", 0.5, 1.5, 0.5),
    ("Mistral", "ministral-8b-latest", 0.15, 0.15, 0.15),
    ("Mistral", "codestral-embed", 0.15, 0.0, 0.15),
    ("Mistral", "mistral-embed", 0.1, 0.0, 0.1),
    ("Mistral", "mistral-large-latest", 0.5, 1.5, 0.5),
    ("Mistral", "mistral-medium-latest", 0.4, 2.0, 0.4),
    ("Mistral", "mistral-small-latest", 0.06, 0.18, 0.06),
    ("OpenAI", "gpt-4.1", 2.0, 8.0, 0.5),
    ("OpenAI", "gpt-4.1-mini", 0.4, 1.6, 0.1),
    ("OpenAI", "gpt-4.1-nano", 0.1, 0.4, 0.025),
    ("OpenAI", "gpt-4o", 2.5, 10.0, 1.25),
    ("OpenAI", "gpt-4o-mini", 0.15, 0.6, 0.075),
    ("OpenAI", "gpt-5", 1.25, 10.0, 0.125),
    ("OpenAI", "gpt-5-mini", 0.25, 2.0, 0.025),
    ("OpenAI", "gpt-5-nano", 0.05, 0.4, 0.005),
    ("OpenAI", "gpt-5.1", 1.25, 10.0, 0.125),
    ("OpenAI", "gpt-5.2", 1.75, 14.0, 0.175),
    ("OpenAI", "gpt-5.4", 2.5, 15.0, 0.25),
    ("OpenAI", "gpt-5.4-mini", 0.75, 4.5, 0.075),
    ("OpenAI", "gpt-5.4-nano", 0.2, 1.25, 0.02),
    ("OpenAI", "gpt-5.5", 5.0, 30.0, 0.5),
    ("OpenAI", "o1", 15.0, 60.0, 7.5),
    ("OpenAI", "o3", 2.0, 8.0, 0.5),
    ("OpenAI", "o3-mini", 1.1, 4.4, 0.55),
    ("OpenAI", "o4-mini", 1.1, 4.4, 0.275),
    ("OpenAI", "text-embedding-3-large", 0.13, 0.0, 0.13),
    ("OpenAI", "text-embedding-3-small", 0.02, 0.0, 0.02),
    ("OpenAI", "text-embedding-ada-002", 0.1, 0.0, 0.1),
    ("xAI", "grok-3", 3.0, 15.0, 0.75),
    ("xAI", "grok-3-mini", 0.3, 0.5, 0.075),
    ("xAI", "grok-4", 3.0, 15.0, 3.0),
    ("xAI", "grok-4-fast-non-reasoning", 0.2, 0.5, 0.05),
    ("xAI", "grok-4-fast-reasoning", 0.2, 0.5, 0.05),
    ("xAI", "grok-4.3", 1.25, 2.5, 0.2),
    ("xAI", "grok-code-fast-1", 0.2, 1.5, 0.02),
];

/// The public price of a provider's model. A date at the end of the name is ignored if needed.
pub(crate) fn public(provider: &str, model: &str) -> Option<Price> {
    let (provider, model) = match provider {
        "Azure" => ("OpenAI", model),
        "Vertex AI" => ("Gemini", model),
        "Bedrock" if model.starts_with("amazon.titan-embed") => {
            ("Amazon", model.trim_start_matches("amazon."))
        }
        // `eu.anthropic.claude-sonnet-4-5-20250929-v1:0`
        "Bedrock" => {
            let (_, model) = model.split_once("anthropic.")?;
            ("Anthropic", model.rsplit_once("-v").map_or(model, |(model, _)| model))
        }
        provider => (provider, model),
    };
    let find = |model: &str| PRICES.iter().find(|(by, known, ..)| *by == provider && *known == model);
    let &(.., input, output, cached) = find(model).or_else(|| find(undated(model)?))?;
    Some(Price { input, output, cached: Some(cached) })
}

/// The name without the date at its end: `gpt-4o-2024-08-06`, `claude-opus-4-1-20250805`.
fn undated(model: &str) -> Option<&str> {
    let digits =
        |part: &str, count: usize| part.len() == count && part.bytes().all(|byte| byte.is_ascii_digit());
    let (rest, last) = model.rsplit_once('-')?;
    if digits(last, 8) {
        return Some(rest);
    }
    let (rest, month) = rest.rsplit_once('-')?;
    let (rest, year) = rest.rsplit_once('-')?;
    (digits(year, 4) && digits(month, 2) && digits(last, 2)).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_prices_by_name() {
        let input = |provider: &str, model: &str| public(provider, model).map(|price| price.input);
        assert_eq!(input("OpenAI", "gpt-4o-mini"), Some(0.15));
        assert_eq!(input("OpenAI", "gpt-4o-mini-2024-07-18"), Some(0.15));
        assert_eq!(input("Azure", "gpt-4o-mini"), Some(0.15));
        assert_eq!(input("Bedrock", "us.anthropic.claude-haiku-4-5-20251001-v1:0"), Some(1.0));
        assert_eq!(input("Bedrock", "amazon.nova-lite-v1:0"), None);
        assert_eq!(input("Bedrock", "amazon.titan-embed-text-v1"), Some(0.1));
        assert_eq!(input("Vertex AI", "gemini-2.5-flash"), Some(0.3));
        assert_eq!(input("the model's server", "gpt-4o-mini"), None);
        assert_eq!(input("OpenAI", "gpt-4o-mini-search"), None);
    }
}
