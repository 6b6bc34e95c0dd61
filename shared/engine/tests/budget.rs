//! The costs of calls to models and embedders, and an app's limits on them.

mod support;

use runyard_runs::{App, Engine, Outcome, Usage};
use serde_json::{Value, json};
use std::time::Duration;
use support::{
    Case,
    provider::{Answer, Provider},
    scripted::Scripted,
};

/// An app of this workflow with these `limits` and `prices`.
fn app(text: &str, limits: Value, prices: Value) -> App {
    let mut app = support::app(text);
    app.limits = serde_json::from_value(limits).expect("limits");
    app.prices = serde_json::from_value(prices).expect("prices");
    app
}

/// Runs an app with limits. The run makes two calls in sequence, each with 10 input tokens, 3 of them cached, and 5
/// output tokens.
async fn limited(model: &str, limits: Value, prices: Value) -> (Outcome, Usage, usize) {
    let scripted = Scripted::start(json!(["one", "two"])).await;
    let node = format!(
        "{{type: dynamiq.nodes.llms.OpenAI, model: {model}, connection: {{type: dynamiq.connections.OpenAI, api_key: k, url: \"{}\"}}, prompt: {{messages: [{{content: hi}}]}}",
        scripted.url
    );
    let text = format!(
        "nodes:\n  a: {node}}}\n  b: {node}, depends: [{{node: a}}], error_handling: {{behavior: return}}}}\n\
         flows: {{f: {{nodes: [a, b]}}}}\nworkflows: {{w: {{flow: f}}}}\n"
    );
    let case = Case::text(&text);
    let app = app(&text, limits, prices);
    let context = case.context();
    let outcome = case.engine().execute(&app, context.clone()).await;
    (outcome, context.usage(), scripted.requests().len())
}

fn exceeded(outcome: &Outcome) -> (&str, Option<&str>) {
    let Outcome::Failed(error) = outcome else { panic!("{outcome:?}") };
    (error.code.as_str(), error.node.as_deref())
}

#[tokio::test]
async fn the_cost_of_a_run_is_limited() {
    // 7 × 0.15 + 3 × 0.075 + 5 × 0.60 dollars per million tokens.
    let (outcome, usage, calls) = limited("gpt-4o-mini", json!({}), json!({})).await;
    assert!(matches!(outcome, Outcome::Completed(_)), "{outcome:?}");
    assert_eq!((calls, usage.total.cost_nanodollars), (2, Some(8550)));
    assert_eq!(usage.models["gpt-4o-mini"].cost_nanodollars, Some(8550));
    // The app's price takes precedence over the public one.
    let prices = json!({"gpt-4o-mini": {"input": 100, "output": 0}});
    let (outcome, usage, calls) = limited("gpt-4o-mini", json!({"cost_usd": 0.001}), prices).await;
    assert_eq!((exceeded(&outcome), calls), (("budget_exceeded", Some("b")), 1));
    assert_eq!(usage.total.cost_nanodollars, Some(1_000_000));
    // A limit cannot be enforced without a price.
    let (outcome, _, calls) = limited("mine", json!({"cost_usd": 1}), json!({})).await;
    assert_eq!((exceeded(&outcome), calls), (("budget_exceeded", Some("a")), 0));
    // The size of the input is known before the call: this one is larger than `hi`.
    let long = format!(
        "m, temperature: 0.1, metadata: x, response_format: {{type: text}}, tools: [{{type: function, function: {{name: f, description: {}}}}}]",
        "long ".repeat(16).trim()
    );
    let (outcome, _, calls) = limited(&long, json!({"tokens": 8}), json!({})).await;
    assert_eq!((exceeded(&outcome), calls), (("budget_exceeded", Some("a")), 0));
}

/// Runs two concurrent calls, each with 10 input tokens and 5 output tokens of at most 30. Returns the outcome, the
/// number of calls, and how many were concurrent.
async fn concurrent_calls(limits: Value) -> (Outcome, usize, usize) {
    let answer = json!({
        "choices": [{"message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5},
    });
    let answer = Answer::json(&answer).after(Duration::from_millis(200));
    let provider = Provider::start(vec![answer]).await;
    let node = format!(
        "{{type: dynamiq.nodes.llms.OpenAI, model: m, max_tokens: 30, connection: {{type: dynamiq.connections.OpenAI, api_key: k, url: \"{}\"}}, prompt: {{messages: [{{content: hi}}]}}}}",
        provider.url
    );
    let text = format!(
        "nodes:\n  a: {node}\n  b: {node}\nflows: {{f: {{nodes: [a, b]}}}}\nworkflows: {{w: {{flow: f}}}}\n"
    );
    let case = Case::text(&text);
    let app = app(&text, limits, json!({"m": {"input": 1, "output": 1}}));
    let outcome = case.engine().execute(&app, case.context()).await;
    (outcome, provider.received().len(), provider.most_at_once())
}

#[tokio::test]
async fn concurrent_calls_reserve_what_they_may_use() {
    let completed = |outcome: &Outcome| matches!(outcome, Outcome::Completed(_));
    let (outcome, calls, at_once) = concurrent_calls(json!({})).await;
    assert_eq!((completed(&outcome), calls, at_once), (true, 2, 2), "{outcome:?}");
    // The limit suffices for both, whatever they use.
    let (outcome, calls, at_once) = concurrent_calls(json!({"tokens": 100})).await;
    assert_eq!((completed(&outcome), calls, at_once), (true, 2, 2), "{outcome:?}");
    // The first may use up what the second needs. It does not, and the second is made after it.
    for limits in [json!({"tokens": 40}), json!({"cost_usd": 0.000_040})] {
        let (outcome, calls, at_once) = concurrent_calls(limits).await;
        assert_eq!((completed(&outcome), calls, at_once), (true, 2, 1), "{outcome:?}");
    }
    // It does, and the second is not made. Without the reservation, both would be in flight.
    for limits in [json!({"tokens": 15}), json!({"cost_usd": 0.000_015})] {
        let (outcome, calls, _) = concurrent_calls(limits).await;
        let (code, node) = exceeded(&outcome);
        assert_eq!((code, calls), ("budget_exceeded", 1), "{node:?}");
    }
}

#[tokio::test]
async fn writes_to_a_providers_cache_cost_more() {
    let usage = json!({
        "input_tokens": 10, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 50, "output_tokens": 7,
        "cache_creation": {"ephemeral_5m_input_tokens": 30, "ephemeral_1h_input_tokens": 20},
    });
    let answer =
        json!({"stop_reason": "end_turn", "usage": usage, "content": [{"type": "text", "text": "ok"}]});
    let provider = Provider::start(vec![Answer::json(&answer)]).await;
    let text = format!(
        "nodes:\n  l: {{type: dynamiq.nodes.llms.Anthropic, model: claude-sonnet-4-5, connection: {{type: dynamiq.connections.Anthropic, api_key: k}}, api_base: \"{}\", prompt: {{messages: [{{content: hi}}]}}}}\n\
         flows: {{f: {{nodes: [l]}}}}\nworkflows: {{w: {{flow: f}}}}\n",
        provider.url
    );
    let case = Case::text(&text);
    let context = case.context();
    case.engine().results(&support::app(&text), &context).await.expect("the file loads");
    let used = context.usage().total;
    assert_eq!((used.input_tokens, used.cached_tokens, used.output_tokens), (160, 100, 7));
    // 10 × 3 + 30 × 3.75 + 20 × 6 + 100 × 0.3 + 7 × 15 dollars per million tokens.
    assert_eq!(used.cost_nanodollars, Some(397_500));
}

#[tokio::test]
async fn embeddings_are_charged_for() {
    let scripted = Scripted::start(json!([])).await;
    let text = format!(
        "nodes:\n  e: {{type: dynamiq.nodes.embedders.OpenAITextEmbedder, model: MODEL, connection: {{type: dynamiq.connections.OpenAI, api_key: k, url: \"{}\"}}}}\n\
         flows: {{f: {{nodes: [e]}}}}\nworkflows: {{w: {{flow: f}}}}\n",
        scripted.url
    );
    let run = async |model: &str, limits: Value| {
        let text = text.replace("MODEL", model);
        let case =
            Case::text(&text).input(json!({"query": "some words to embed, of more than eight letters"}));
        let app = app(&text, limits, json!({}));
        let context = case.context();
        let outcome = case.engine().execute(&app, context.clone()).await;
        (outcome, context.usage().total)
    };
    let (outcome, used) = run("text-embedding-3-small", json!({"cost_usd": 1})).await;
    assert!(matches!(outcome, Outcome::Completed(_)), "{outcome:?}");
    // 0.02 dollars per million tokens.
    assert_eq!((used.llm_calls, used.cost_nanodollars), (0, Some(used.input_tokens * 20)));
    let (outcome, _) = run("text-embedding-3-small", json!({"tokens": 3})).await;
    assert_eq!(exceeded(&outcome), ("budget_exceeded", Some("e")));
    let (outcome, _) = run("mine", json!({"cost_usd": 1})).await;
    assert_eq!(exceeded(&outcome), ("budget_exceeded", Some("e")));
}
