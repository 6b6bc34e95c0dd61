//! Replies of models, whole and as they are being written.

use super::{
    conversation::with_ids,
    fit,
    mode::{Mode, ReplyStep, WORDS},
    stream::{Delta, Watch},
};
use crate::llm::{Piece, Reply};
use runyard_fuzzing::{parts, pieces, text};
use serde_json::json;

/// The mode's name and that of a function, how the reply is cut, and the reply: text, or the function's arguments.
///
/// # Panics
///
/// If a promise is broken.
pub fn replies(input: &[u8]) {
    let [head, cuts, content] = parts(input);
    let head = text(head);
    let (word, name) = head.split_once(' ').unwrap_or((&head, ""));
    let Some((_, mode)) = WORDS.iter().find(|(known, _)| *known == word) else { return };
    let pieces: Vec<String> =
        pieces(cuts, text(content).as_bytes()).iter().map(|piece| text(piece).into_owned()).collect();
    let whole = pieces.concat();
    let call = json!({"id": "1", "type": "function", "function": {"name": name, "arguments": whole}});
    let reply = match mode {
        Mode::FunctionCalling => Reply { tool_calls: vec![call], ..Reply::default() },
        _ => Reply { content: Some(whole.clone()), ..Reply::default() },
    };
    match mode.parse(&reply) {
        Ok(ReplyStep::Call(mut wanted)) => {
            if let Some(arguments) = wanted.input.as_object_mut() {
                let schema = json!({"properties": {
                    "n": {"type": "integer"}, "o": {"type": "object"}, "l": {"items": {"type": "number"}},
                }});
                fit::fit(arguments, &schema);
            }
        }
        Ok(ReplyStep::Answer(_) | ReplyStep::Calls(_)) => {}
        Err(unparsed) => assert!(!unparsed.problem.is_empty(), "no problem is told"),
    }
    let cut = shown(*mode, name, pieces.iter().map(String::as_str));
    assert_eq!(cut, shown(*mode, name, std::iter::once(whole.as_str())), "the cuts show");
}

/// Reads a reply of a provider as an agent does in each of its modes.
pub(crate) fn read(reply: &Reply) {
    for (_, mode) in WORDS {
        let _ = mode.parse(reply);
    }
    drop(with_ids(&reply.tool_calls, 1));
}

/// What is shown of the thought and of the answer.
fn shown<'p>(mode: Mode, name: &str, pieces: impl Iterator<Item = &'p str>) -> (String, String) {
    let mut watch = Watch::new(mode);
    let mut deltas = Vec::new();
    for (number, piece) in pieces.enumerate() {
        let piece = match mode {
            Mode::FunctionCalling => {
                Piece::Call { place: 0, name: if number == 0 { name } else { "" }, arguments: piece }
            }
            _ => Piece::Text(piece),
        };
        deltas.extend(watch.feed(&piece));
    }
    deltas.extend(watch.end());
    let (mut thought, mut answer) = (String::new(), String::new());
    for delta in deltas {
        match delta {
            Delta::Thought(text) => thought.push_str(&text),
            Delta::Answer(text) => answer.push_str(&text),
        }
    }
    (thought, answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    /// Far above what they take, also unoptimized on a busy machine; far below what grows with the square of a megabyte.
    const CEILING: Duration = Duration::from_secs(20);

    #[test]
    fn long_replies_take_no_longer_for_each_byte() {
        let long = |piece: &str| piece.repeat((1 << 20) / piece.len());
        let call = |input: &str| {
            format!("<thought>t</thought><action>a</action><action_input>{input}</action_input>")
        };
        for (head, content) in [
            ("DEFAULT", long("Action Input:")),
            ("DEFAULT", long("Action: a\nAction Input: {}\n")),
            ("DEFAULT", format!("Action: a\nAction Input: {}", long("{"))),
            ("XML", long("<") + ">"),
            ("XML", long("<thought>")),
            ("XML", long("</thought>")),
            ("XML", long("<thought>") + &long("</answer>")),
            ("XML", long("<thought>") + &long("</thought>")),
            ("XML", call(&format!("\"{}\"", long("&")))),
            ("FUNCTION_CALLING f", long("[")),
            ("FUNCTION_CALLING f", long("[1,")),
            ("FUNCTION_CALLING f", long("\\\"")),
            ("STRUCTURED_OUTPUT", long("{\"a\":")),
            ("STRUCTURED_OUTPUT", long("\n")),
        ] {
            let begun = Instant::now();
            replies(format!("{head}\n====\n65536\n====\n{content}").as_bytes());
            let took = begun.elapsed();
            assert!(took < CEILING, "{head} {:?}… took {took:?}", content.get(..30));
        }
    }
}
