//! Reads `depends` and conditions.

use super::{Fields, meant};
use crate::{
    condition::{Condition, OPERATORS, Test},
    python_text,
    transform::CompiledPath,
};
use serde_json::Value;
use std::collections::HashSet;

/// A dependency of the file; the node is named by its id.
#[derive(Debug)]
pub(super) struct DependSpec {
    pub(super) node: String,
    pub(super) spot: super::SourcePos,
    pub(super) option: Option<String>,
    pub(super) option_spot: super::SourcePos,
    pub(super) condition: Option<Condition>,
    pub(super) on_failure: bool,
}

pub(super) fn read(fields: Fields<'_>) -> Vec<DependSpec> {
    let mut depends: Vec<DependSpec> = Vec::new();
    let mut known = HashSet::new();
    // The reference iterates over `depends`, and an empty mapping has no items.
    if fields.get("depends").is_some_and(|given| given.is_map() && given.keys().is_empty()) {
        return depends;
    }
    for item in fields.items("depends", "a dependency") {
        let Some(node) = item.text("node") else {
            if item.get("node").is_none() {
                item.mistake(item.yaml.spot, "a dependency lacks its `node`".into());
            }
            continue;
        };
        if !known.insert(node) {
            item.mistake(item.spot("node"), format!("there is already a dependency on `{node}`"));
        }
        let on_failure = item.choice("trigger", &[("success", false), ("failure", true)]).unwrap_or(false);
        let option = item.text("option").filter(|option| !option.is_empty()).map(str::to_owned);
        if on_failure && option.is_some() {
            let message = "a dependency cannot have both an `option` and `trigger: failure`";
            item.mistake(item.spot("trigger"), message.into());
        }
        depends.push(DependSpec {
            node: node.to_owned(),
            spot: item.spot("node"),
            option,
            option_spot: item.spot("option"),
            condition: item.fields("condition").and_then(condition),
            on_failure,
        });
    }
    depends
}

/// Reads one condition; `None`, with a reported error, if it is invalid.
pub(crate) fn condition(fields: Fields<'_>) -> Option<Condition> {
    if fields.is_full() {
        return None;
    }
    let path_of = |fields: Fields<'_>, key: &str, text: &str| {
        let pointer = CompiledPath::new(text);
        if let Some(problem) = pointer.over_limit() {
            fields.mistake(fields.spot(key), problem.to_owned());
        }
        pointer
    };
    let variable = fields.text("variable").filter(|text| !text.is_empty());
    let variable = variable.map(|text| path_of(fields, "variable", text));
    let is_not = fields.bool("is_not").unwrap_or(false);
    let operator = fields.text("operator").unwrap_or_default();
    let value = fields.json("value").unwrap_or(Value::Null);
    let test = match operator {
        "and" | "or" => {
            if fields.get("operands").is_none() {
                fields.mistake(fields.spot("operator"), format!("`{operator}` lacks its `operands`"));
            }
            let operands =
                fields.items("operands", "a condition").into_iter().filter_map(condition).collect();
            if operator == "or" { Test::Any(operands) } else { Test::All(operands) }
        }
        "string-regexp" => Test::Pattern(fields.pattern("value", &python_text::str(&value))?.map(Box::new)),
        "" => {
            fields.mistake(fields.spot("operator"), "a condition lacks its `operator`".into());
            return None;
        }
        _ => return comparison(fields, operator, value).map(|test| Condition { variable, test, is_not }),
    };
    Some(Condition { variable, test, is_not })
}

fn comparison(fields: Fields<'_>, operator: &str, value: Value) -> Option<Test> {
    let with_path = operator.strip_suffix("-path");
    let name = with_path.unwrap_or(operator);
    let found = OPERATORS.iter().find(|(known, _)| *known == name).map(|(_, comparison)| *comparison);
    let found = found.filter(|_| {
        // Only operators of order and equality can take their value from a path.
        with_path.is_none() || !["string-starts-with", "string-ends-with", "string-contains"].contains(&name)
    });
    let Some(comparison) = found else {
        let mut known: Vec<&str> = OPERATORS.iter().map(|(known, _)| *known).collect();
        known.extend(["and", "or", "string-regexp"]);
        let message = format!("`{operator}` is not an operator{}", meant(operator, &known));
        fields.mistake(fields.spot("operator"), message);
        return None;
    };
    if with_path.is_none() {
        return Some(Test::Literal(comparison, value));
    }
    let text = python_text::repr(&value);
    let pointer = value.as_str().filter(|text| crate::transform::is_rooted(text)).map(CompiledPath::new);
    Some(Test::Path(comparison, pointer.filter(|pointer| pointer.refusal().is_none()), text))
}
