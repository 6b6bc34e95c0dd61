//! What `cargo fuzz` tries, and the tests replay: all that reads what authors, callers, models and tool servers write.

pub use crate::{llm::fuzz::streams, mcp::fuzz::mcp, nodes::agents::fuzz::replies};

use crate::{
    compute,
    expression::{Expression, Message, Mode, Scope},
    load::{self, Fields, Mistakes, Refusal, is_reserved, read_yaml},
    pattern::Pattern,
    schema::Schema,
    template::Template,
    transform::{CompiledPath, Data, Selector, Transformer},
};
use runyard_fuzzing::{Target, parts, text};
use runyard_runs::{FieldErrors, MAX_INPUT_VALUES, WorkflowSource, parse_json};
use serde_json::{Map, Value};
use std::{cell::RefCell, collections::BTreeMap, sync::Arc};

/// The targets of this crate.
pub const TARGETS: &[Target] = &[
    ("workflow", workflow),
    ("selector", selector),
    ("template", template),
    ("expression", expression),
    ("condition", condition),
    ("pattern", pattern),
    ("schema", schema),
    ("replies", replies),
    ("streams", streams),
    ("mcp", mcp),
];

/// A JSON value, as an API takes it; nothing if it is none.
fn json(part: &[u8]) -> Option<Value> {
    parse_json(part, MAX_INPUT_VALUES).ok().filter(|value| !runyard_runs::is_too_deep(value))
}

/// The members of a JSON object, as a run's input has them; none if it is none.
fn object(part: &[u8]) -> Map<String, Value> {
    match json(part) {
        Some(Value::Object(map)) => map,
        _ => Map::new(),
    }
}

/// A workflow file.
///
/// # Panics
///
/// If a promise is broken.
pub fn workflow(input: &[u8]) {
    let env = |name: &str| match name {
        "SET" => Ok(Some("value".to_owned())),
        "AWAY" => Err(Refusal::Unreadable("the store is away".into())),
        name if is_reserved(name) => Err(Refusal::Forbidden("it may not be read".into())),
        _ => Ok(None),
    };
    let source = WorkflowSource { file: "workflow.yaml".into(), id: None, text: Arc::from(text(input)) };
    let requirements = BTreeMap::from([("known".to_owned(), Value::from("${oc.env:SET}"))]);
    match load::load(&source, &requirements, &env) {
        Ok(loaded) => drop(loaded.root.to_json()),
        Err(errors) => {
            assert!(!errors.mistakes.is_empty(), "a file that is refused has no mistake");
            let errors = errors.shortened();
            for mistake in &errors.mistakes {
                assert!(mistake.message.len() <= 1_000, "a mistake of {} bytes", mistake.message.len());
            }
            drop(errors.to_string());
        }
    }
    drop(load::workflow_ids(&source.text));
}

/// A selector, and what it selects from.
pub fn selector(input: &[u8]) {
    let [written, data] = parts(input);
    let written = text(written);
    let Some(data) = json(data) else { return };
    let selector = Selector::new(std::iter::once(("x", &*written)));
    let _ = selector.over_limit().count();
    let _ = compute::fuzzed(|| selector.apply(Data::Json(&data)));
    let pointer = CompiledPath::new(&written);
    let _ = compute::fuzzed(|| pointer.filter_all(Data::Json(&data)).map(|found| found.len()));
    let transformer = Transformer { path: Some(Arc::new(pointer)), selector: Some(Arc::new(selector)) };
    let _ = compute::fuzzed(|| transformer.apply(Data::Json(&data)));
}

/// A template, and its variables.
///
/// # Panics
///
/// If a promise is broken.
pub fn template(input: &[u8]) {
    let [written, variables] = parts(input);
    let Ok(template) = Template::new(&text(written)) else { return };
    let variables = object(variables);
    let rendered = compute::fuzzed(|| template.render_here(&variables));
    if let Ok(rendered) = rendered {
        assert!(rendered.len() as u64 <= compute::FULL_BUDGET.bytes + (1 << 20), "{} bytes", rendered.len());
    }
}

/// An expression, or the message of a rule, and the record that it reads.
pub fn expression(input: &[u8]) {
    let [written, record] = parts(input);
    let written = text(written);
    let record = object(record);
    let scope = Scope { input: &record, values: Vec::new() };
    let today = jiff::civil::date(2026, 1, 31);
    for mode in [Mode::Plain, Mode::Strict, Mode::Check] {
        let Ok(expression) = Expression::new(&written, mode) else { continue };
        let _ = compute::fuzzed(|| {
            let value = expression.evaluate(&scope, today).result.and_then(|value| value.json());
            Ok(value.is_ok())
        });
        if mode == Mode::Check {
            let _ = compute::fuzzed(|| Ok(expression.holds(&scope, today).0.is_ok()));
        }
    }
    if let Ok(message) = Message::new(&written) {
        let _ = compute::fuzzed(|| Ok(message.render(&scope, today).is_ok()));
    }
}

/// A condition as a file has it, and the value that it is about.
pub fn condition(input: &[u8]) {
    let [written, data] = parts(input);
    let mut mistakes = Mistakes::default();
    let Some(yaml) = read_yaml(&text(written), &mut mistakes) else { return };
    let mistakes = RefCell::new(mistakes);
    let Some(condition) = Fields::new(&yaml, "the condition", &mistakes).and_then(load::condition) else {
        return;
    };
    let Some(data) = json(data) else { return };
    let _ = compute::fuzzed(|| condition.holds(&data));
}

/// A regular expression, the text that it is tried on, and what takes the place of its matches.
///
/// # Panics
///
/// If a promise is broken.
pub fn pattern(input: &[u8]) {
    let [written, searched, with] = parts(input);
    let (searched, with) = (text(searched), text(with));
    for pattern in [Pattern::python(&text(written)), Pattern::new(&text(written), true)] {
        let Ok(pattern) = pattern else { continue };
        let _ = pattern.size();
        let found = compute::fuzzed(|| pattern.find_iter(&searched).collect::<Result<Vec<_>, _>>());
        let Ok(found) = found else { continue };
        for pair in found.windows(2) {
            assert!(pair[0].end <= pair[1].start, "{pair:?}");
        }
        if let Ok(is_match) = compute::fuzzed(|| pattern.is_match(&searched)) {
            assert_eq!(is_match, !found.is_empty());
        }
        let _ = compute::fuzzed(|| pattern.replace(&searched, &with));
    }
}

/// A JSON Schema, and a value that is checked against it.
pub fn schema(input: &[u8]) {
    let [schema, value] = parts(input);
    let Some(Ok(schema)) = json(schema).map(|schema| Schema::new(&schema)) else { return };
    let Some(value) = json(value) else { return };
    let mut errors = FieldErrors::new();
    schema.check(&value, &mut errors);
}

#[cfg(test)]
mod tests {
    #[test]
    fn corpora() {
        runyard_fuzzing::replay(super::TARGETS);
    }
}
