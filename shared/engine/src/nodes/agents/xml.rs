//! Parses steps written in tags: `<thought>`, `<action>`, `<action_input>`, `<answer>`. The text need not be valid XML,
//! as models do not escape it.

use super::{
    json,
    mode::{Answer, InvalidReply, ReplyStep, RequestedCall},
};
use serde_json::Value;

/// Tags whose content is not parsed for tags.
const OPAQUE: &[&str] = &["action_input", "thought", "answer", "output_files"];
const OF_ANSWER: &[&str] = &["thought", "answer", "output", "output_files"];
const OF_CALL: &[&str] = &["thought", "answer", "action", "action_input", "output"];

/// Bytes of an entity, from its `&` to its `;`.
const MAX_ENTITY_BYTES: usize = 11;

/// Parses a reply into a step.
pub(super) fn parse(text: &str) -> Result<ReplyStep, InvalidReply> {
    let text = unwrapped(text);
    let escaped = escape_mentions(text, OF_ANSWER);
    let part = |tag: &str| content(&escaped, tag).map(|text| escape_tags(text, OF_ANSWER));
    if let (Some(thought), Some(answer)) = (part("thought"), part("answer")) {
        let files = part("output_files").unwrap_or_default();
        return Ok(ReplyStep::Answer(Answer { thought, content: answer.into(), files }));
    }
    let escaped = escape_mentions(text, OF_CALL);
    let part = |tag: &str| content(&escaped, tag).map(|text| escape_tags(text, OF_CALL));
    let (Some(thought), Some(name), Some(input)) = (part("thought"), part("action"), part("action_input"))
    else {
        let problem =
            "the reply has neither <thought> with <answer> nor <thought> with <action> and <action_input>";
        return Err(InvalidReply::new(problem));
    };
    let input = json::whole(unfenced(&input)).map_err(|error| {
        InvalidReply::new(format!(
            "<action_input> is not valid JSON: {error}; write all of it on one line, with \\n for line breaks and \\\" for \
             quotes inside strings"
        ))
    })?;
    Ok(ReplyStep::Call(RequestedCall { thought, name, input: unescaped(input), id: None }))
}

/// The text of the first `tag`, if it is not empty.
pub(super) fn first(text: &str, tag: &str) -> Option<String> {
    content(text, tag).map(str::to_owned)
}

/// The text up to the end of its first `<output>` block. The model invented what follows, because no tool has run yet.
pub(super) fn first_block(text: &str) -> &str {
    let mut index = 0;
    while let Some(next) = text[index..].find('<') {
        index += next;
        let rest = &text[index..];
        if let Some(tag) = OPAQUE.iter().find(|tag| opens(rest, tag)) {
            let closing = format!("</{tag}>");
            match rest.find(&closing) {
                Some(end) => index += end + closing.len(),
                None => return text,
            }
        } else if rest.starts_with("</output>") {
            return &text[..index + "</output>".len()];
        } else {
            index += 1;
        }
    }
    text
}

/// Whether `text` begins with the opening tag.
fn opens(text: &str, tag: &str) -> bool {
    text.strip_prefix('<')
        .and_then(|text| text.strip_prefix(tag))
        .is_some_and(|rest| rest.chars().next().is_none_or(|next| " >/".contains(next)))
}

/// The text without a Markdown fence around all of it.
fn unwrapped(text: &str) -> &str {
    let text = text.trim();
    match text.strip_prefix("```").and_then(|rest| rest.strip_suffix("```")) {
        Some(inner) => inner.split_once('\n').map_or(inner, |(_, inner)| inner).trim(),
        None => text,
    }
}

fn unfenced(text: &str) -> &str {
    let text = text.trim();
    let text = text.strip_prefix("```").map_or(text, |text| text.strip_prefix("json").unwrap_or(text));
    text.strip_suffix("```").unwrap_or(text).trim()
}

/// The text between an opening tag and its closing tag, or the next tag if it is not closed. `None` if it is empty.
fn content<'t>(text: &'t str, tag: &str) -> Option<&'t str> {
    let (index, _) = text.match_indices('<').find(|(index, _)| opens(&text[*index..], tag))?;
    let rest = &text[index..];
    let rest = &rest[rest.find('>')? + 1..];
    let end = rest.find(&format!("</{tag}>")).or_else(|| rest.find('<')).unwrap_or(rest.len());
    Some(rest[..end].trim()).filter(|text| !text.is_empty())
}

/// Escapes those of `tags` that are only mentioned: opening tags that are not closed, and closing tags that were not
/// opened.
fn escape_mentions(text: &str, tags: &[&str]) -> String {
    let mut open: Vec<(usize, usize, usize)> = Vec::new();
    // How many of each tag are open: what is not is not looked for.
    let mut counts = vec![0_usize; tags.len()];
    let mut mentions: Vec<(usize, usize)> = Vec::new();
    let mut end = 0;
    for (start, _) in text.match_indices('<') {
        // Many may begin before the same end.
        if end <= start {
            let Some(length) = text[start..].find('>') else { break };
            end = start + length + 1;
        }
        let inner = &text[start + 1..end - 1];
        let (name, closes) = inner.strip_prefix('/').map_or((inner, false), |name| (name, true));
        let Some(tag) = tags.iter().position(|tag| {
            name.strip_prefix(tag).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '/']))
        }) else {
            continue;
        };
        if !closes {
            open.push((tag, start, end));
            counts[tag] += 1;
            continue;
        }
        let own = if counts[tag] > 0 { open.iter().rposition(|(known, ..)| *known == tag) } else { None };
        match own {
            Some(own) => {
                for (place, (tag, start, end)) in open.drain(own..).enumerate() {
                    counts[tag] -= 1;
                    if place > 0 {
                        mentions.push((start, end));
                    }
                }
            }
            None => mentions.push((start, end)),
        }
    }
    mentions.extend(open.into_iter().map(|(_, start, end)| (start, end)));
    mentions.sort_unstable();
    let mut escaped = String::with_capacity(text.len());
    let mut done = 0;
    for (start, end) in mentions {
        // One that has no end of its own ends with the next, which stands within it.
        if end <= done {
            continue;
        }
        escaped.push_str(&text[done..start]);
        escaped.push_str(&escape(&text[start..end]));
        done = end;
    }
    escaped.push_str(&text[done..]);
    escaped
}

/// Escapes all of `tags`.
fn escape_tags(text: &str, tags: &[&str]) -> String {
    let mut escaped = text.to_owned();
    for tag in tags {
        for tag in [format!("<{tag}>"), format!("</{tag}>")] {
            if escaped.contains(&tag) {
                escaped = escaped.replace(&tag, &escape(&tag));
            }
        }
    }
    escaped
}

fn escape(tag: &str) -> String {
    tag.replace('<', "&lt;").replace('>', "&gt;")
}

/// Replaces the entities in the strings of a value.
fn unescaped(value: Value) -> Value {
    match value {
        Value::String(text) if text.contains('&') => Value::String(unescape(&text)),
        Value::Array(items) => items.into_iter().map(unescaped).collect(),
        Value::Object(map) => map.into_iter().map(|(key, value)| (key, unescaped(value))).collect(),
        other => other,
    }
}

fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('&') {
        plain.push_str(&rest[..start]);
        rest = &rest[start..];
        let entity = rest
            .bytes()
            .take(MAX_ENTITY_BYTES)
            .position(|byte| byte == b';')
            .and_then(|end| Some((character(&rest[1..end])?, end + 1)));
        let (character, length) = entity.unwrap_or(('&', 1));
        plain.push(character);
        rest = &rest[length..];
    }
    plain.push_str(rest);
    plain
}

fn character(entity: &str) -> Option<char> {
    Some(match entity {
        "lt" => '<',
        "gt" => '>',
        "amp" => '&',
        "quot" => '"',
        "apos" => '\'',
        "nbsp" => '\u{a0}',
        _ => {
            let number = entity.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(code)?
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn parses_steps() {
        let call = |thought: &str, input: Value| {
            Ok(ReplyStep::Call(RequestedCall { thought: thought.into(), name: "a".into(), input, id: None }))
        };
        for (text, step) in [
            (
                "<output><thought>t</thought><action>a</action><action_input>{\"n\": \"x &lt; 1\"}</action_input></output>",
                call("t", json!({"n": "x < 1"})),
            ),
            (
                "<thought>use <action> now</thought>\n<action>a</action><action_input>```json\n{\"n\": \"x\ny\"}```\n</action_input>",
                call("use &lt;action&gt; now", json!({"n": "x\ny"})),
            ),
            (
                "```xml\n<output><thought>t</thought><action>a</action><action_input>{}</action_input></output>\n```",
                call("t", json!({})),
            ),
        ] {
            assert_eq!(parse(text), step, "{text}");
        }
        let text = "<output><thought>t</thought><answer>see <b>x</b> & y</answer><output_files>a</output_files></output>";
        let expected = Answer { thought: "t".into(), content: "see <b>x</b> & y".into(), files: "a".into() };
        assert_eq!(parse(text), Ok(ReplyStep::Answer(expected)));
        for text in [
            "nothing",
            "<thought>t</thought>",
            "<answer>no thought</answer>",
            "<thought>t</thought><answer> </answer>",
            "<thought>t</thought><action>a</action><action_input>no</action_input>",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn only_the_first_block_counts() {
        let block = "<output><thought>a </output> b</thought><action>x</action></output>";
        assert_eq!(first_block(&format!("{block}\n<output><answer>made up</answer></output>")), block);
        assert_eq!(first_block("<output><thought>open"), "<output><thought>open");
        assert_eq!(first_block("plain é < text"), "plain é < text");
    }
}
