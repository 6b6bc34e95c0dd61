//! Tests the engine against tables of the reference's results (`tests/dynamiq/tables.py`): selectors, conditions, YAML,
//! templates, expressions, rules and the cells of decision tables.

use crate::{
    compute,
    expression::{Expression, Mode, Scope},
    flow::NodeError,
    load::{self, Fields, Mistakes, read_yaml},
    template::Template,
    transform::{CompiledPath, Data, Selector, Transformer},
};
use serde_json::{Value, json};
use std::{cell::RefCell, sync::Arc};

pub(crate) fn table(name: &str) -> Vec<Value> {
    let path = format!("{}/../../tests/dynamiq/tables/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).expect("a table")).expect("JSON")
}

/// The rows whose results differ, one text each.
pub(crate) fn differences(rows: &[Value], ours: impl Fn(&Value) -> Result<Value, String>) -> Vec<String> {
    rows.iter()
        .filter_map(|row| {
            let given = ours(row);
            let same = match (&given, row.get("gives"), row["raises"].as_str()) {
                (Ok(given), Some(expected), _) => crate::condition::equal(given, expected),
                (Err(kind), None, Some(expected)) => kind == expected || kind.is_empty(),
                _ => false,
            };
            (!same).then(|| format!("{row}\n    ours: {given:?}"))
        })
        .collect()
}

fn kind(error: &NodeError) -> String {
    error.kind.to_string()
}

#[test]
fn selectors_match_the_reference() {
    let rows = table("selectors");
    let all = &rows[0]["all"];
    let different = differences(&rows[1..], |row| {
        let data = row.get("data").unwrap_or(all);
        if let Some(path) = row["path"].as_str() {
            let transformer = Transformer { path: Some(Arc::new(CompiledPath::new(path))), selector: None };
            return transformer.apply(Data::Json(data)).map_err(|error| kind(&error));
        }
        let text = row["text"].as_str().expect("text");
        let selector = Selector::new([("v", text)].into_iter());
        selector.apply(Data::Json(data)).map(|mut value| value["v"].take()).map_err(|error| kind(&error))
    });
    assert!(different.is_empty(), "{} of {} differ:\n{}", different.len(), rows.len(), different.join("\n"));
}

#[test]
fn conditions_match_the_reference() {
    let rows = table("conditions");
    let different = differences(&rows, |row| {
        let mistakes = RefCell::new(Mistakes::default());
        let yaml =
            read_yaml(&row["condition"].to_string(), &mut mistakes.borrow_mut()).expect("JSON is YAML");
        let condition = Fields::new(&yaml, "a condition", &mistakes).and_then(load::condition);
        let Some(condition) = condition else { return Err("a mistake".into()) };
        condition.holds(&row["data"]).map(Value::from).map_err(|error| kind(&error))
    });
    assert!(different.is_empty(), "{} of {} differ:\n{}", different.len(), rows.len(), different.join("\n"));
}

/// The engine refuses the files that the reference refuses; the names of the errors may differ.
#[test]
fn yaml_matches_the_reference() {
    let rows = table("yaml");
    let different = differences(&rows, |row| {
        let mut mistakes = Mistakes::default();
        let yaml = read_yaml(row["text"].as_str().expect("text"), &mut mistakes);
        match yaml {
            Some(yaml) if mistakes.is_empty() => Ok(yaml.to_json()),
            _ => Err(String::new()),
        }
    });
    assert!(different.is_empty(), "{} of {} differ:\n{}", different.len(), rows.len(), different.join("\n"));
}

/// Templates whose results differ on purpose; see docs/differences.md.
const DIFFERENT: &[&str] = &[
    "{{ (1, 2) }}",
    "{{ {'b': 1, 'a': 2}|dictsort }}",
    "{{ d|items|list }}",
    "{{ l|random is defined }}",
    "{{ d|attr('k') }}|",
    "{{ l|max }}",
    "{{ {'a': 1, 'b': 'x y'}|urlencode }}",
    "{{ 5 / 0 }}",
];

#[test]
fn templates_match_the_reference() {
    let rows = table("templates");
    let variables = rows[0]["all"].as_object().expect("variables");
    let (on_purpose, rows): (Vec<Value>, Vec<Value>) =
        rows[1..].iter().cloned().partition(|row| DIFFERENT.contains(&row["text"].as_str().expect("text")));
    let render = |row: &Value| {
        let template =
            Template::new(row["text"].as_str().expect("text")).map_err(|_| "TemplateSyntaxError")?;
        let rendered = compute::whole("the template", || template.render_here(variables));
        rendered.map(|text| json!(text)).map_err(|error| kind(&error))
    };
    assert_eq!(differences(&on_purpose, render).len(), DIFFERENT.len());
    let different = differences(&rows, render);
    assert!(different.is_empty(), "{} of {} differ:\n{}", different.len(), rows.len(), different.join("\n"));
}

#[test]
fn expressions_match_the_reference() {
    let rows = table("expressions");
    let record = rows[0]["all"].as_object().expect("a record");
    let today = jiff::civil::date(2026, 6, 1);
    let different = differences(&rows[1..], |row| {
        // The names of the errors of refused expressions may differ.
        let expression = Expression::new(row["text"].as_str().expect("text"), Mode::Plain).map_err(|_| "")?;
        let scope = Scope { input: record, values: Vec::new() };
        let value = compute::whole("the expression", || {
            Ok(expression.evaluate(&scope, today).result.and_then(|value| value.json()))
        });
        value.expect("within the budget").map_err(|fault| fault.kind().to_owned())
    });
    assert!(different.is_empty(), "{} of {} differ:\n{}", different.len(), rows.len(), different.join("\n"));
}
