//! Streams replies, cut at each position.

use super::{Delta, Watch};
use crate::{
    llm::{Piece, Reply},
    nodes::agents::mode::{Mode, ReplyStep},
};
use serde_json::{Value, json};

/// The thought and the answer of a reply that is streamed in `pieces`.
fn shown<'p>(mode: Mode, pieces: impl Iterator<Item = Piece<'p>>) -> (String, String) {
    let mut watch = Watch::new(mode);
    let mut deltas = Vec::new();
    for piece in pieces {
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

/// All ways to cut `text` into up to three pieces, and into single characters.
fn cuts(text: &str) -> Vec<Vec<&str>> {
    let indices: Vec<usize> = text.char_indices().map(|(index, _)| index).chain([text.len()]).collect();
    let mut cuts = vec![indices.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect()];
    for (number, first) in indices.iter().enumerate() {
        for second in &indices[number..] {
            cuts.push(vec![&text[..*first], &text[*first..*second], &text[*second..]]);
        }
    }
    cuts
}

/// The thought and the answer of the whole reply.
fn parsed(mode: Mode, reply: &Reply) -> (String, String) {
    match mode.parse(reply) {
        Ok(ReplyStep::Answer(answer)) => {
            let text = match answer.content {
                Value::String(text) => text,
                other => other.to_string(),
            };
            (answer.thought, text)
        }
        Ok(ReplyStep::Call(call)) => (call.thought, String::new()),
        other => panic!("not a step with a thought: {other:?}"),
    }
}

#[test]
fn text_in_pieces() {
    for (mode, text) in [
        (Mode::Labels, "Thought: I must add them.\n  Twice \nAction: Sum\nAction Input: {\"n\": 1}"),
        (Mode::Labels, "Well.\nThought:\tdone \n\nAnswer:  The sum is 10.\n\nThought: é, more \n"),
        (Mode::Labels, "Thought: two files\nOutput Files: a, b\nAnswer: see"),
        (
            Mode::Xml,
            "<output>\n<thought> a < b, é </thought><action>x</action><action_input>{\"a\": \"<answer>\"}</action_input></output>",
        ),
        (
            Mode::Xml,
            "<output><thought>t</thought><answer>\n see <b>this</b> \n</answer></output>\n<output><answer>made up</answer></output>",
        ),
        (
            Mode::StructuredOutput,
            r#"{"thought": "say \"hi\"\né\u00e9\ud83d\ude00", "action": "finish", "action_input": "a\\b", "output_files": ""}"#,
        ),
        (Mode::StructuredOutput, r#" {"action_input":"late","thought":"t","action":"finish"} "#),
        (
            Mode::StructuredOutput,
            r#"{"thought":"t","action":"finish","action_input": {"a":["}",{"b":"\""}]} ,"output_files":""}"#,
        ),
        (
            Mode::StructuredOutput,
            r#"{"thought":"t","action":"sum","action_input":"{\"n\": 4}","output_files":""}"#,
        ),
    ] {
        let reply = Reply { content: Some(text.into()), ..Reply::default() };
        let expected = parsed(mode, &reply);
        for cut in cuts(text) {
            assert_eq!(shown(mode, cut.iter().map(|piece| Piece::Text(piece))), expected, "{cut:?}");
        }
    }
}

#[test]
fn calls_in_pieces() {
    for (name, arguments) in [
        ("provide_final_answer", r#"{"thought": "ok", "answer": "The sum\nis 10"}"#),
        ("provide_final_answer", r#"{"answer": {"sum":10}, "thought": "ok"}"#),
        ("sum", r#"{"thought": "add", "answer": "no answer", "n": [1, {"thought": "x"}]}"#),
    ] {
        let call = json!({"id": "1", "type": "function", "function": {"name": name, "arguments": arguments}});
        let reply = Reply { tool_calls: vec![call], ..Reply::default() };
        let expected = parsed(Mode::FunctionCalling, &reply);
        for cut in cuts(arguments) {
            let pieces = cut.iter().enumerate().map(|(number, arguments)| Piece::Call {
                place: 0,
                name: if number == 0 { name } else { "" },
                arguments,
            });
            assert_eq!(shown(Mode::FunctionCalling, pieces), expected, "{cut:?}");
        }
    }
}
