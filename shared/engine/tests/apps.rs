//! Runs the apps of this repository.

mod support;

use runyard_engine::Engine;
use runyard_runs::{Engine as _, Outcome};
use serde_json::{Value, json};
use std::{fs, path::PathBuf};
use support::{Case, app, scripted::Scripted};

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../apps").join(name)
}

fn case(name: &str) -> Case {
    let text = fs::read_to_string(folder(name).join("workflow.yaml")).expect("workflow");
    let input = fs::read_to_string(folder(name).join("sample-input.json")).expect("sample");
    Case::text(&text).input(serde_json::from_str(&input).expect("JSON"))
}

async fn outcome(case: &Case) -> Outcome {
    let engine: Engine = case.engine();
    let app = app(&case.text);
    engine.check_input(&app, &case.context().new_run().input, &[]).await.expect("the sample fits the schema");
    engine.execute(&app, case.context()).await
}

#[tokio::test]
async fn echo_runs() {
    assert_eq!(outcome(&case("echo")).await, Outcome::Completed(json!({"message": "hello"}).into()));
}

#[tokio::test]
async fn ticket_triage_runs() {
    let Outcome::Completed(output) = outcome(&case("ticket-triage")).await else { panic!("it fails") };
    assert_eq!((&output["category"], &output["priority"]), (&json!("billing"), &json!("high")));
    let reply = output["suggested_reply"].as_str().expect("a reply");
    assert!(reply.starts_with("Hello Dana,") && reply.contains("within four hours"), "{reply}");

    let other = case("ticket-triage").input(json!({"ticket_text": "the app crashes, urgent, we are down"}));
    let Outcome::Completed(output) = outcome(&other).await else { panic!("it fails") };
    assert_eq!((&output["category"], &output["priority"]), (&json!("technical"), &json!("urgent")));
    let reply = output["suggested_reply"].as_str().expect("a reply");
    assert!(reply.starts_with("Hello there,") && reply.contains("within the hour"), "{reply}");
}

#[tokio::test]
async fn ticket_triage_llm_runs() {
    let answer = json!({"category": "billing", "priority": "high", "suggested_reply": "Soon."});
    let model = Scripted::start(json!([answer.to_string()])).await;
    let case = case("ticket-triage-llm").env("OPENAI_URL", &model.url);
    assert_eq!(outcome(&case).await, Outcome::Completed(answer.into()));
    let request = &model.requests()[0];
    assert_eq!(request["response_format"]["json_schema"]["name"], "triage");
    let text = request["messages"][1]["content"].as_str().expect("text");
    assert!(text.starts_with("Customer: Dana (business)\nSubject: Double charge"), "{text}");
}

#[tokio::test]
async fn inputs_are_validated() {
    let case = case("ticket-triage");
    let errors = async |input: Value| {
        let input = input.as_object().expect("a mapping").clone();
        let errors = case.engine().check_input(&app(&case.text), &input, &[]).await.err().unwrap_or_default();
        errors.into_iter().collect::<Vec<_>>()
    };
    let pairs = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(field, problem)| ((*field).to_owned(), (*problem).to_owned())).collect::<Vec<_>>()
    };
    assert_eq!(errors(json!({})).await, pairs(&[("ticket_text", "cannot be blank")]));
    assert_eq!(
        errors(json!({"ticket_text": null, "customer_tier": "gold"})).await,
        pairs(&[
            ("customer_tier", "must be one of [\"free\",\"business\",\"enterprise\"]"),
            ("ticket_text", "must be of type string"),
        ])
    );
    assert_eq!(
        errors(json!({"ticket_text": ""})).await,
        pairs(&[("ticket_text", "must have a length of at least 1")])
    );
    assert_eq!(errors(json!({"ticket_text": "x", "more": 1})).await, []);
}
