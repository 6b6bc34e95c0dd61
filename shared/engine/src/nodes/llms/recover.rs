//! Changes requests that a provider refused because of an optional parameter.
//!
//! Servers accept different parameters, and report unsupported ones only in their errors. A request that was refused
//! for such a parameter is sent again without it, as the reference does. Other errors are returned unchanged.

use crate::{flow::NodeError, llm::Request};
use serde_json::Value;

/// Maximum number of changes to a request.
pub(super) const MOST: usize = 3;

const SAMPLING: &[&str] = &["temperature", "top_p", "top_k"];

const UNSUPPORTED: &[&str] = &[
    "not permitted",
    "not supported",
    "does not support",
    "doesn't support",
    "unsupported",
    "unexpected keyword",
    "unrecognized",
    "deprecated",
];

const ONLY_STREAMS: &[&str] = &[
    "only supports streaming",
    "only support streaming",
    "supports streaming only",
    "requires streaming",
    "streaming is required",
    "set \"stream\": true",
    "set 'stream': true",
    "set stream to true",
    "stream must be true",
];

/// The changed request after `request` was refused with `error`; `None` if no change can help.
pub(super) fn recovered(request: &Request, error: &NodeError) -> Option<Request> {
    let text = error.message.to_lowercase();
    let contains = |words: &[&str]| words.iter().any(|words| text.contains(words));
    if !request.stream && contains(ONLY_STREAMS) {
        return Some(Request { stream: true, ..request.clone() });
    }
    let is_set = |name: &&&str| request.parameters.contains_key(**name);
    let is_unsupported = contains(UNSUPPORTED);
    if is_unsupported && SAMPLING.iter().filter(is_set).any(|name| text.contains(name)) {
        return Some(without(request, SAMPLING));
    }
    if is_unsupported && request.parameters.contains_key("stop") && names_stop(&text) {
        return Some(without(request, &["stop"]));
    }
    let choice = request.parameters.get("tool_choice")?;
    let forces = choice == "required" || choice.is_object();
    let takes_auto_only = is_unsupported || text.contains("only `auto`") || text.contains("only auto");
    if forces && takes_auto_only && text.contains("tool_choice") {
        let mut recovered = request.clone();
        recovered.parameters.insert("tool_choice".into(), Value::from("auto"));
        return Some(recovered);
    }
    None
}

fn without(request: &Request, names: &[&str]) -> Request {
    let mut request = request.clone();
    for name in names {
        request.parameters.remove(*name);
    }
    request
}

/// Whether the text names `stop` or `stop sequences` as a separate word.
fn names_stop(text: &str) -> bool {
    text.match_indices("stop").any(|(index, _)| {
        let before = text[..index].chars().next_back();
        let rest = &text[index + 4..];
        let rest = rest.strip_prefix(['_', ' ']).filter(|rest| rest.starts_with("sequence")).unwrap_or(rest);
        let rest = rest.strip_prefix("sequence").map_or(rest, |rest| rest.strip_prefix('s').unwrap_or(rest));
        let is_word = |letter: char| letter.is_ascii_lowercase();
        !before.is_some_and(|letter| is_word(letter) || letter == '_') && !rest.starts_with(is_word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Map, json};

    fn request() -> Request {
        let parameters = json!({"temperature": 0.5, "stop": ["a"], "tool_choice": "required", "tools": []});
        let Value::Object(parameters) = parameters else { unreachable!("an object") };
        Request { messages: Vec::new(), parameters, stream: false }
    }

    fn left(message: &str) -> Option<(Map<String, Value>, bool)> {
        let error = NodeError::new("BadRequestError", message);
        recovered(&request(), &error).map(|request| (request.parameters, request.stream))
    }

    #[test]
    fn removes_unsupported_parameters() {
        let (parameters, _) = left("`temperature` is not supported with this model").expect("recovered");
        assert!(!parameters.contains_key("temperature") && parameters.contains_key("stop"));
        for text in ["Unsupported parameter: 'stop'", "this model doesn't support the stopSequences field"] {
            let (parameters, _) = left(text).expect("recovered");
            assert!(!parameters.contains_key("stop") && parameters.contains_key("temperature"), "{text}");
        }
        let (parameters, _) = left("tool_choice `required` is not supported").expect("recovered");
        assert_eq!(parameters["tool_choice"], "auto");
        assert!(left("this model only supports streaming").expect("recovered").1);
        for text in
            ["temperature must be between 0 and 2", "unsupported: nonstop flights", "you are not permitted"]
        {
            assert_eq!(left(text), None, "{text}");
        }
    }
}
