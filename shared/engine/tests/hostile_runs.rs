//! Selectors, patterns and schemas for which a short file and a small input take very long: each fails its node, names
//! its limit, and does not block others.

mod support;

use runyard_engine::Engine;
use runyard_runs::{Engine as _, Outcome};
use serde_json::{Map, Value, json};
use std::time::Duration;
use support::{Case, app};
use tokio::time::timeout;

/// Far more than any of them takes.
const MAX_TIME: Duration = Duration::from_mins(1);

fn flow(node: &str) -> String {
    format!(
        "nodes:\n  n:\n    {}\nflows: {{f: {{nodes: [n]}}}}\nworkflows: {{w: {{flow: f}}}}\n",
        node.replace('\n', "\n    ")
    )
}

async fn outcome(node: &str, input: Value) -> Outcome {
    let case = Case::text(&flow(node)).input(input);
    let engine: Engine = case.engine();
    let app = app(&case.text);
    timeout(MAX_TIME, engine.execute(&app, case.context())).await.expect("it ends")
}

fn nested(depth: usize) -> Value {
    (0..depth).fold(json!(1), |inner, _| json!({ "a": inner }))
}

fn pass(path: &str) -> String {
    format!("type: dynamiq.nodes.operators.Pass\ninput_transformer: {{selector: {{x: '{path}'}}}}")
}

fn extractor(pattern: &str) -> String {
    format!("type: dynamiq.nodes.extractors.ByRegexExtractor\npattern: '{pattern}'")
}

fn choice(pattern: &str) -> String {
    format!(
        "type: dynamiq.nodes.operators.Choice\noptions: [{{id: o, condition: {{variable: $.value, operator: \
         string-regexp, value: '{pattern}'}}}}]"
    )
}

#[tokio::test]
async fn computations_that_take_too_long_fail_their_node() {
    let wide: Value = json!({"l": vec![json!({"a": [1, 2, 3], "b": {"c": 1}}); 3_000]});
    let text = |text: String| json!({ "value": text });
    for (node, input) in [
        (pass("$..*..*..*"), nested(90)),
        (pass("$..*..*..*..*..*"), nested(60)),
        (pass("$..a..(`parent`..a)..(`parent`..a)"), nested(90)),
        (pass("$..(a|a|a|a|a)..(a|a|a|a|a)..a"), nested(60)),
        (pass(&format!("$.l{}", "[*].`parent`".repeat(6))), wide),
        (format!("{}\noutput_transformer: {{path: '$..*..*..*'}}", pass("$")), nested(80)),
        (extractor(".*[^A-Z]|[A-Z]"), text("A".repeat(1_000_000))),
        (extractor("(?:.*,)?.*;|x"), text("x".repeat(500_000))),
        (extractor(r"(x+x+)+\1y"), text("x".repeat(5_000))),
        (extractor(r"(?=(x*))\1*y"), text("x".repeat(100_000))),
        (extractor(r"(?<!b)(?:x|xx)+y"), text("x".repeat(50_000))),
        (extractor(r"[01]*1[01]{2000}"), text("01".repeat(2_000_000))),
        (choice(r"(a|a|aa)+\1b"), text("a".repeat(5_000))),
        ("type: dynamiq.nodes.extractors.ByRegexExtractor".into(), {
            json!({"value": "a".repeat(500_000), "pattern": ".*b|a"})
        }),
        ("type: dynamiq.nodes.validators.RegexMatch\nregex: '(a|a|aa)+\\1b'\nmatch_type: search".into(), {
            json!({"content": "a".repeat(5_000)})
        }),
    ] {
        let begin: String = node.chars().take(120).collect();
        eprintln!("{begin}");
        match outcome(&node, input).await {
            Outcome::Failed(error) => assert_eq!(error.code, "limit_exceeded", "{begin}: {error:?}"),
            other => panic!("{begin}: {:.200}", format!("{other:?}")),
        }
    }
}

/// Ordinary computations of the same kinds.
#[tokio::test]
async fn long_linear_computations_succeed() {
    let text = |text: String| json!({ "value": text });
    let many: Value = json!({"l": vec![json!({"a": 1}); 100_000]});
    for (node, input) in [
        (pass("$..a"), many.clone()),
        (pass("$.l[*].a"), many),
        (extractor(r"\d+"), text("a 12 ".repeat(50_000))),
        (extractor(r"(?<=a )\d+"), text("a 12 ".repeat(5_000))),
        (choice("(a|b)+$"), text("ab".repeat(500_000))),
        (choice("^(a+)+$"), text("a".repeat(500_000) + "b")),
    ] {
        let outcome = outcome(&node, input).await;
        assert!(matches!(outcome, Outcome::Completed(_)), "{node}: {outcome:?}");
    }
}

/// Other tasks of the thread continue during a computation.
#[tokio::test]
async fn a_long_computation_does_not_block_other_tasks() {
    let long = tokio::spawn(outcome_of_the_long());
    let mut ticks = 0;
    while !long.is_finished() {
        tokio::time::sleep(Duration::from_millis(5)).await;
        ticks += 1;
    }
    assert!(ticks >= 5, "the thread was held: {ticks} ticks");
    assert!(matches!(long.await.expect("no panic"), Outcome::Failed(_)));
}

async fn outcome_of_the_long() -> Outcome {
    outcome(&extractor(".*[^A-Z]|[A-Z]"), json!({"value": "A".repeat(1_000_000)})).await
}

async fn checked(schema: &str, input: Map<String, Value>) -> Vec<String> {
    let case = Case::text(&flow(&format!("type: dynamiq.nodes.utils.Input\nschema: {schema}")));
    let checked = timeout(MAX_TIME, async { case.engine().check_input(&app(&case.text), &input, &[]).await });
    let errors = checked.await.expect("it ends").err().unwrap_or_default();
    errors.into_iter().map(|(field, problem)| format!("{field} {problem}")).collect()
}

fn map(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => panic!("a mapping, not {other}"),
    }
}

#[tokio::test]
async fn the_cost_of_a_schema_is_computed_before_the_check() {
    let exponential = "{$ref: '#/$defs/n', $defs: {n: {anyOf: [{properties: {a: {$ref: '#/$defs/n'}}}, \
                       {properties: {a: {$ref: '#/$defs/n'}, b: {type: string}}}]}}}";
    let refused = checked(exponential, map(nested(90))).await;
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert!(refused[0].contains("takes more than 2000000 steps"), "{refused:?}");
    assert_eq!(checked(exponential, map(nested(10))).await, [""; 0]);

    let patterns = "{properties: {l: {items: {pattern: '^(a|aa)+$'}}}}";
    assert_eq!(checked(patterns, map(json!({"l": ["a".repeat(100_000)]}))).await, [""; 0]);
    let backtracking = r"{properties: {l: {items: {pattern: '^(a|aa)+(?=b)$'}}}}";
    let refused = checked(backtracking, map(json!({"l": ["a".repeat(100_000)]}))).await;
    assert!(refused[0].contains("steps"), "{refused:?}");

    // A long check reports its first error only.
    let items = vec![json!({"a": 1, "b": "x"}); 40_000];
    let schema = "{properties: {l: {items: {properties: {a: {type: integer}, b: {type: string}}}}}}";
    assert_eq!(checked(schema, map(json!({ "l": items }))).await, [""; 0]);
    let items = vec![json!({"a": "1"}); 40_000];
    assert_eq!(checked(schema, map(json!({ "l": items }))).await, ["l[0].a must be of type integer"]);
    // A short check reports all errors, up to a limit.
    let items = vec![json!({"a": "1"}); 1_000];
    assert_eq!(checked(schema, map(json!({ "l": items }))).await.len(), 100);
}
