//! Runs in special cases: failures, branches, retries, failing models, and what a replay repeats.

mod support;

use async_trait::async_trait;
use runyard_engine::{PythonError, PythonRunner};
use runyard_runs::{AppId, Engine as _, EventBody, Logged, Outcome};
use serde_json::{Map, Value, json};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use support::{Case, app, scripted::Scripted};

/// A file whose flow contains all of `nodes`.
fn flow(nodes: &str) -> String {
    let ids: Vec<&str> = nodes
        .lines()
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.trim().split(':').next())
        .collect();
    format!("nodes:\n{nodes}\nflows: {{f: {{nodes: [{}]}}}}\nworkflows: {{w: {{flow: f}}}}\n", ids.join(", "))
}

fn statuses(results: &Value) -> Vec<(String, String)> {
    let results = results["output"].as_object().expect("results");
    let mut statuses: Vec<(String, String)> = results
        .iter()
        .map(|(id, result)| (id.clone(), result["status"].as_str().expect("a status").to_owned()))
        .collect();
    statuses.sort();
    statuses
}

fn expect(results: &Value, expected: &[(&str, &str)]) {
    let expected: Vec<(String, String)> =
        expected.iter().map(|(id, status)| ((*id).to_owned(), (*status).to_owned())).collect();
    assert_eq!(statuses(results), expected);
}

/// A Python runner for tests: the code `fail` fails, `fail 2` fails twice, `nest 3` returns `[[[]]]`, and all other
/// code returns its input.
#[derive(Default)]
struct Toy {
    calls: Mutex<Vec<String>>,
}

#[async_trait]
impl PythonRunner for Toy {
    async fn run(
        &self,
        _: AppId,
        code: &str,
        input: &Map<String, Value>,
        _: bool,
        _: Option<Duration>,
    ) -> Result<Value, PythonError> {
        let before = {
            let mut calls = self.calls.lock().expect("calls");
            calls.push(code.to_owned());
            calls.iter().filter(|call| *call == code).count()
        };
        let failures = match code.split_once(' ') {
            Some(("nest", depth)) => {
                let depth: usize = depth.parse().expect("a number");
                return Ok((1..depth).fold(json!([]), |inner, _| json!([inner])));
            }
            Some(("fail", count)) => count.parse().expect("a number"),
            _ if code == "fail" => usize::MAX,
            _ => 0,
        };
        if before <= failures { Err(PythonError::Raised("no".into())) } else { Ok(json!({"content": input})) }
    }
}

#[tokio::test]
async fn a_failure_that_raises_skips_dependent_nodes() {
    let text = flow(
        "  bad: {type: dynamiq.nodes.tools.Python, code: fail}
  next: {type: dynamiq.nodes.operators.Pass, depends: [{node: bad}]}
  last: {type: dynamiq.nodes.operators.Pass, depends: [{node: next}]}
  other: {type: dynamiq.nodes.operators.Pass}",
    );
    let case = Case::text(&text).python(Arc::new(Toy::default()));
    let results = case.run().await;
    expect(&results, &[("bad", "failure"), ("last", "skip"), ("next", "skip"), ("other", "success")]);
    assert_eq!(results["status"], "failure");
    assert_eq!(results["output"]["next"]["error"]["type"], "NodeFailedException");
    assert_eq!(results["output"]["last"]["error"]["type"], "NodeSkippedException");
    let Outcome::Failed(error) = case.engine().execute(&app(&text), case.context()).await else { panic!() };
    assert_eq!((error.code.as_str(), error.node.as_deref()), ("node_failed", Some("bad")));
    assert_eq!(error.message, "Code execution error: no");
}

#[tokio::test]
async fn an_output_that_cannot_be_logged_fails_its_node() {
    // The node wraps the result of its code in an object.
    let text = flow(
        "  deep: {type: dynamiq.nodes.tools.Python, code: nest 99}
  deeper: {type: dynamiq.nodes.tools.Python, code: nest 100}",
    );
    let results = Case::text(&text).python(Arc::new(Toy::default())).run().await;
    expect(&results, &[("deep", "success"), ("deeper", "failure")]);
    let message = "the output is nested deeper than 100 levels";
    assert_eq!(results["output"]["deeper"]["error"]["message"], message);
}

#[tokio::test]
async fn error_edges_run_after_failures_only() {
    let text = flow(
        "  bad: {type: dynamiq.nodes.tools.Python, code: fail}
  normal: {type: dynamiq.nodes.operators.Pass, depends: [{node: bad}]}
  handler: {type: dynamiq.nodes.operators.Pass, depends: [{node: bad, trigger: failure}], input_transformer: {selector: {why: $.bad.error.message}}}
  fine: {type: dynamiq.nodes.operators.Pass}
  unneeded: {type: dynamiq.nodes.operators.Pass, depends: [{node: fine, trigger: failure}]}
  after: {type: dynamiq.nodes.operators.Pass, depends: [{node: normal, trigger: failure}]}
  out: {type: dynamiq.nodes.utils.Output, depends: [{node: normal}, {node: handler}], input_transformer: {selector: {why: $.handler.output.why}}}",
    );
    let case = Case::text(&text).python(Arc::new(Toy::default()));
    let results = case.run().await;
    expect(
        &results,
        &[
            ("after", "skip"),
            ("bad", "failure"),
            ("fine", "success"),
            ("handler", "success"),
            ("normal", "skip"),
            ("out", "success"),
            ("unneeded", "skip"),
        ],
    );
    assert_eq!(results["status"], "success", "the handler took the failure over");
    assert_eq!(results["output"]["unneeded"]["error"]["message"], "Dependency fine: did not fail");
    let outcome = case.engine().execute(&app(&text), case.context()).await;
    assert_eq!(outcome, Outcome::Completed(json!({"why": "Code execution error: no"}).into()));
}

#[tokio::test]
async fn a_failure_that_returns_is_visible_to_dependent_nodes() {
    let text = flow(
        "  bad: {type: dynamiq.nodes.tools.Python, code: fail, error_handling: {behavior: return}}
  normal: {type: dynamiq.nodes.operators.Pass, depends: [{node: bad}], input_transformer: {selector: {s: $.bad.status, i: $.bad.input}}}
  handler: {type: dynamiq.nodes.operators.Pass, depends: [{node: bad, trigger: failure}]}
  only_if: {type: dynamiq.nodes.operators.Pass, depends: [{node: bad, condition: {variable: $.error.type, operator: string-equals, value: Other}}]}
  untold: {type: dynamiq.nodes.operators.Pass, depends: [{node: bad, condition: {variable: $.output, operator: numeric-greater-than, value: 1}}], error_handling: {behavior: return}}",
    );
    let results = Case::text(&text).python(Arc::new(Toy::default())).input(json!({"x": 1})).run().await;
    expect(
        &results,
        &[
            ("bad", "failure"),
            ("handler", "success"),
            ("normal", "success"),
            ("only_if", "skip"),
            ("untold", "failure"),
        ],
    );
    assert_eq!(results["output"]["normal"]["output"], json!({"s": "failure", "i": {"x": 1}}));
    assert_eq!(results["output"]["untold"]["error"]["type"], "TypeError");
    assert_eq!(results["status"], "success");
}

#[tokio::test]
async fn an_output_whose_branches_were_all_skipped_is_skipped() {
    let nodes = "  in: {type: dynamiq.nodes.utils.Input}
  ch: {type: dynamiq.nodes.operators.Choice, depends: [{node: in}], options: [{id: x, condition: {variable: $.n, operator: numeric-equals, value: 1}}]}
  a: {type: dynamiq.nodes.operators.Pass, depends: [{node: ch, option: x}]}
  out: {type: dynamiq.nodes.utils.Output, depends: [{node: a}, {node: in}]}";
    let results = Case::text(&flow(nodes)).input(json!({"n": 2})).run().await;
    expect(&results, &[("a", "skip"), ("ch", "success"), ("in", "success"), ("out", "skip")]);
    assert_eq!(results["status"], "success");
    let results = Case::text(&flow(nodes)).input(json!({"n": 1})).run().await;
    expect(&results, &[("a", "success"), ("ch", "success"), ("in", "success"), ("out", "success")]);
}

#[tokio::test(start_paused = true)]
async fn retries_back_off() {
    let text = flow(
        "  n: {type: dynamiq.nodes.tools.Python, code: fail 2, error_handling: {max_retries: 3, retry_interval_seconds: 2, backoff_rate: 3}}",
    );
    let toy = Arc::new(Toy::default());
    let begin = tokio::time::Instant::now();
    let results = Case::text(&text).python(Arc::clone(&toy) as Arc<dyn PythonRunner>).run().await;
    expect(&results, &[("n", "success")]);
    assert_eq!(toy.calls.lock().expect("calls").len(), 3);
    // 2 s and 6 s, each with a jitter of 10 %, on a clock that advances only by sleeps.
    let waited = begin.elapsed().as_secs_f64();
    assert!((7.2..=8.8).contains(&waited), "{waited}");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_exceeds_its_timeout_fails() {
    struct Forever;
    #[async_trait]
    impl PythonRunner for Forever {
        async fn run(
            &self,
            _: AppId,
            _: &str,
            _: &Map<String, Value>,
            _: bool,
            _: Option<Duration>,
        ) -> Result<Value, PythonError> {
            std::future::pending().await
        }
    }
    let text = flow(
        "  n: {type: dynamiq.nodes.tools.Python, code: x, error_handling: {timeout_seconds: 5, max_retries: 1}}",
    );
    let results = Case::text(&text).python(Arc::new(Forever)).run().await;
    assert_eq!(results["output"]["n"]["error"]["type"], "TimeoutError");
    assert_eq!(results["output"]["n"]["error"]["message"], "");
}

/// Two nodes that wait for each other to begin can end only if they run concurrently.
#[tokio::test]
async fn independent_nodes_run_concurrently() {
    struct Meet(tokio::sync::Barrier);
    #[async_trait]
    impl PythonRunner for Meet {
        async fn run(
            &self,
            _: AppId,
            _: &str,
            _: &Map<String, Value>,
            _: bool,
            _: Option<Duration>,
        ) -> Result<Value, PythonError> {
            self.0.wait().await;
            Ok(Value::Null)
        }
    }
    let text = flow(
        "  a: {type: dynamiq.nodes.tools.Python, code: x}\n  b: {type: dynamiq.nodes.tools.Python, code: y}",
    );
    let case = Case::text(&text).python(Arc::new(Meet(tokio::sync::Barrier::new(2))));
    let results = tokio::time::timeout(Duration::from_secs(30), case.run()).await.expect("they meet");
    expect(&results, &[("a", "success"), ("b", "success")]);
}

#[tokio::test]
async fn inputs_are_transformed_and_mapped() {
    let text = flow(
        "  a: {type: dynamiq.nodes.operators.Pass, input_mapping: {k: $.q, n: 5}, output_transformer: {selector: {k: $.k, n: $.n, q: $.q}}}
  b: {type: dynamiq.nodes.operators.Pass, depends: [{node: a}], input_transformer: {path: $.a.output, selector: {n: $.n}}, transformers: [{selector: {m: $.n}}]}
  c: {type: dynamiq.nodes.operators.Pass, depends: [{node: a}], input_transformer: {path: $.a.output.n}}
  d: {type: dynamiq.nodes.operators.Pass, input_transformer: {selector: {x: \"it's\"}}}",
    );
    let results = Case::text(&text).input(json!({"q": "hi"})).run().await;
    let output = |id: &str| results["output"][id]["output"].clone();
    assert_eq!(output("a"), json!({"k": "$.q", "n": 5, "q": "hi"}));
    assert_eq!(results["output"]["b"]["input"], json!({"n": 5}));
    assert_eq!(output("b"), json!({"m": 5}));
    assert_eq!(results["output"]["c"]["error"]["type"], "TypeError");
    assert_eq!(results["output"]["d"]["error"]["type"], "JsonPathLexerError");
    assert_eq!(results["output"]["d"]["input"], json!({"q": "hi"}));
}

fn model(extra: &str) -> String {
    format!(
        "connections: {{oa: {{type: dynamiq.connections.OpenAI, api_key: k, url: \"${{oc.env:URL}}\"}}}}\n{}",
        flow(&format!(
            "  l: {{type: dynamiq.nodes.llms.OpenAI, model: gpt-4o-mini, connection: oa, prompt: {{messages: [{{role: user, content: \"hi {{{{ who }}}}\"}}]}}{extra}}}"
        ))
    )
}

async fn call_model(extra: &str, script: Value) -> (Value, Vec<Value>) {
    let scripted = Scripted::start(script).await;
    let case = Case::text(&model(extra)).env("URL", &scripted.url).input(json!({"who": "you"}));
    let results = case.run().await;
    (results["output"]["l"].clone(), scripted.requests())
}

/// The error kinds and the numbers of calls are those of the reference for the same responses.
#[tokio::test(start_paused = true)]
async fn errors_of_models_match_the_reference() {
    for (status, calls, kind) in [
        (400, 1, "BadRequestError"),
        (401, 1, "AuthenticationError"),
        (403, 1, "APIError"),
        (404, 1, "NotFoundError"),
        (408, 3, "Timeout"),
        (409, 3, "APIError"),
        (422, 1, "BadRequestError"),
        (429, 3, "RateLimitError"),
        (500, 3, "InternalServerError"),
        (502, 3, "BadGatewayError"),
        (503, 3, "ServiceUnavailableError"),
        (504, 3, "Timeout"),
    ] {
        let (result, requests) =
            call_model("", json!([{"match": "hi", "repeat": true, "status": status}])).await;
        assert_eq!(result["error"]["type"], kind, "{status}");
        assert_eq!(requests.len(), calls, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn permanent_errors_are_not_retried() {
    let retries = ", error_handling: {max_retries: 1, retry_interval_seconds: 1}";
    for (status, calls) in [(400, 1), (401, 1), (403, 2), (429, 6)] {
        let (_, requests) =
            call_model(retries, json!([{"match": "hi", "repeat": true, "status": status}])).await;
        assert_eq!(requests.len(), calls, "{status}");
    }
    let begin = tokio::time::Instant::now();
    let script = json!([{"status": 429, "headers": "retry-after: 30\r\n"}, "ok"]);
    let (result, _) = call_model("", script).await;
    assert_eq!(result["output"]["content"], "ok");
    assert!(begin.elapsed() >= Duration::from_secs(30), "Retry-After is honoured");
}

#[tokio::test(start_paused = true)]
async fn a_fallback_takes_over() {
    let fallback = ", fallback: {enabled: true, triggers: [rate_limit], llm: {type: dynamiq.nodes.llms.OpenAI, model: other, connection: oa}}, output_transformer: {selector: {said: $.content}}";
    let script =
        json!([{"match": "gpt-4o-mini", "repeat": true, "status": 429}, {"match": "other", "content": "me"}]);
    let (result, requests) = call_model(fallback, script).await;
    assert_eq!(result["output"], json!({"said": "me"}));
    assert_eq!(requests[3]["messages"][0]["content"], "hi you", "it has the prompt of the model that failed");
    let (result, requests) =
        call_model(fallback, json!([{"match": "hi", "repeat": true, "status": 400}])).await;
    assert_eq!((&result["error"]["type"], requests.len()), (&json!("BadRequestError"), 1));
}

#[tokio::test]
async fn requests_match_the_reference() {
    let extra = ", temperature: 0.3, max_tokens: 50, stop: [a], top_p: 0.5, seed: 3, presence_penalty: 0.1, custom: {a: 1}, response_format: {type: json_object}, tools: [{type: function, function: {name: f}}], tool_choice: auto";
    let call = json!({"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"a\": 1}"}});
    let (result, mut requests) = call_model(extra, json!([{"content": "ok", "tool_calls": [call]}])).await;
    let expected = json!({
        "model": "gpt-4o-mini", "messages": [{"content": "hi you", "role": "user"}], "temperature": 0.3,
        "max_tokens": 50, "stop": ["a"], "top_p": 0.5, "seed": 3, "presence_penalty": 0.1, "custom": {"a": 1},
        "response_format": {"type": "json_object"}, "tools": [{"type": "function", "function": {"name": "f"}}],
        "tool_choice": "auto",
    });
    assert_eq!(requests.remove(0), expected);
    let called = json!([{"id": "c1", "type": "function", "function": {"name": "f", "arguments": {"a": 1}}}]);
    assert_eq!(result["output"], json!({"content": "ok", "tool_calls": called}));
    let streamed = format!("{extra}, streaming: {{enabled: true}}");
    let (result, requests) = call_model(&streamed, json!([{"content": "ok", "tool_calls": [call]}])).await;
    assert_eq!(result["output"], json!({"content": "ok", "tool_calls": called}));
    assert_eq!(requests[0]["stream_options"], json!({"include_usage": true}));
}

#[tokio::test]
async fn a_prompt_needs_all_its_variables() {
    let scripted = Scripted::start(json!(["ok"])).await;
    let text = model("").replace("{{ who }}", "{{ who|default('x') }}");
    let results = Case::text(&text).env("URL", &scripted.url).run().await;
    assert_eq!(results["output"]["l"]["error"]["type"], "ValidationError");
    assert_eq!(scripted.requests(), Vec::<Value>::new());
}

#[tokio::test]
async fn usage_is_counted_and_limited() {
    let scripted = Scripted::start(json!(["one", "two"])).await;
    let text = format!(
        "connections: {{oa: {{type: dynamiq.connections.OpenAI, api_key: k, url: \"{}\"}}}}\n{}",
        scripted.url,
        flow(
            "  a: &l {type: dynamiq.nodes.llms.OpenAI, model: m, connection: oa, prompt: {messages: [{content: hi}]}}
  b: {<<: *l, depends: [{node: a}]}",
        )
    );
    let case = Case::text(&text);
    let context = case.context();
    let outcome = case.engine().execute(&app(&text), context.clone()).await;
    assert_eq!(outcome, Outcome::Completed(json!({"content": "two"}).into()));
    let used = context.usage();
    assert_eq!((used.total.llm_calls, used.total.input_tokens, used.total.output_tokens), (2, 20, 10));
    assert_eq!((used.models["m"].llm_calls, used.total.cached_tokens), (2, 6));

    let scripted = Scripted::start(json!(["one", "two"])).await;
    let text = text.replace(text.split('"').nth(1).expect("the URL"), &scripted.url);
    let mut app = app(&text);
    app.limits.tokens = Some(15);
    let Outcome::Failed(error) = case.engine().execute(&app, case.context()).await else { panic!() };
    assert_eq!((error.code.as_str(), error.node.as_deref()), ("budget_exceeded", Some("b")));
    assert_eq!(scripted.requests().len(), 1);
}

/// A run that resumes from its journal, cut after any event, has the same results, and repeats no recorded step.
#[tokio::test]
async fn a_replay_repeats_no_recorded_step() {
    let text = flow(
        "  in: {type: dynamiq.nodes.utils.Input}
  a: {type: dynamiq.nodes.tools.Python, code: a, depends: [{node: in}]}
  b: {type: dynamiq.nodes.tools.Python, code: fail, depends: [{node: a}], error_handling: {behavior: return}}
  ch: {type: dynamiq.nodes.operators.Choice, depends: [{node: b}], options: [{id: x, condition: {variable: $.q, operator: string-equals, value: no}}, {id: y}]}
  c: {type: dynamiq.nodes.tools.Python, code: c, depends: [{node: ch, option: x}]}
  m: {type: dynamiq.nodes.operators.Map, depends: [{node: ch, option: y}], input_transformer: {selector: {input: $.items}}, node: {id: item, type: dynamiq.nodes.tools.Python, code: item}}
  d: {type: dynamiq.nodes.tools.Python, code: d, depends: [{node: m}], input_transformer: {selector: {all: $.m.output, e: $.b.error.message, before: $.a.input}}}
  out: {type: dynamiq.nodes.utils.Output, depends: [{node: c}, {node: d}]}",
    );
    let input = json!({"q": "hi", "items": [{"x": 1}, {"x": 2}]});
    let whole = Case::text(&text).python(Arc::new(Toy::default())).input(input.clone());
    let expected = whole.run().await;
    let journal = whole.events();
    let done = |logged: &Logged| match &logged.body {
        EventBody::NodeCompleted { node, .. } | EventBody::NodeFailed { node, .. } => Some(node.id.clone()),
        _ => None,
    };
    let python = ["a", "b", "d", "item", "item"];
    for cut in 0..=journal.len() {
        let toy = Arc::new(Toy::default());
        let before = &journal[..cut];
        let case = Case::text(&text)
            .python(Arc::clone(&toy) as Arc<dyn PythonRunner>)
            .input(input.clone())
            .journal(before.to_vec());
        assert_eq!(case.run().await, expected, "cut at {cut}");
        let recorded: Vec<String> = before.iter().filter_map(done).collect();
        let ended = |id: &str| recorded.iter().filter(|known| *known == id).count();
        let python_done = ["a", "b", "d", "item"].iter().map(|id| ended(id)).sum::<usize>();
        let calls = toy.calls.lock().expect("calls").clone();
        assert_eq!(calls.len() + python_done, python.len(), "cut at {cut}: {calls:?} after {recorded:?}");
        let keys =
            |events: &[Logged]| events.iter().filter_map(|event| event.key.clone()).collect::<Vec<_>>();
        let mut all = keys(before);
        all.extend(keys(&case.events()));
        let unique: std::collections::BTreeSet<&String> = all.iter().collect();
        assert_eq!(unique.len(), all.len(), "cut at {cut}: a key is recorded twice");
        assert_eq!(all.len(), journal.len(), "cut at {cut}");
    }
}

#[tokio::test]
async fn events_report_the_nodes() {
    let text = flow(
        "  in: {type: dynamiq.nodes.utils.Input, name: Start}
  out: {type: dynamiq.nodes.utils.Output, depends: [{node: in}], input_transformer: {path: $.in.output}}",
    );
    let case = Case::text(&text).input(json!({"q": 1}));
    case.run().await;
    let node_events: Vec<Value> =
        case.events().iter().map(|logged| serde_json::to_value(&logged.body).expect("JSON")).collect();
    let node = json!({"id": "in", "name": "Start", "type": "dynamiq.nodes.utils.Input"});
    assert_eq!(node_events[0], json!({"type": "node.started", "node": node}));
    assert_eq!(node_events[1], json!({"type": "node.completed", "node": node, "output": {"q": 1}}));
    assert_eq!(node_events.len(), 4);
}

#[tokio::test]
async fn an_expired_question_follows_on_expiry() {
    let gate = |then: &str| {
        format!(
            "{{type: dynamiq.nodes.operators.Pass, approval: {{enabled: true, expires_in_seconds: 60, on_expiry: {then}}}}}"
        )
    };
    let ask = |then: &str| {
        format!(
            "{{type: dynamiq.nodes.tools.HumanFeedbackTool, action: ask, expires_in_seconds: 60, on_expiry: {then}}}"
        )
    };
    for (node, ended) in [
        (gate("approve"), Ok("success")),
        (gate("deny"), Ok("skip")),
        (gate("fail"), Err("input_expired")),
        (ask("continue"), Ok("success")),
        (ask("fail"), Err("input_expired")),
    ] {
        let case = Case::text(&flow(&format!("  n: {node}\n")));
        assert_eq!(case.run().await["output"], json!({}), "it waits: {node}");
        let events = case.events();
        let request = events.iter().find_map(|logged| logged.body.request()).expect("a question");
        assert!(request.expires_at.is_some_and(|at| at.0 > 60_000), "{request:?}");
        let case = case.expired();
        let outcome = case.engine().execute(&app(&case.text), case.context()).await;
        match (ended, outcome) {
            (Ok(status), Outcome::Completed(_)) => expect(&case.run().await, &[("n", status)]),
            (Err(code), Outcome::Failed(error)) => assert_eq!(error.code, code, "{node}"),
            (ended, outcome) => panic!("{node} ends with {outcome:?}, not {ended:?}"),
        }
    }
}

#[tokio::test]
async fn each_item_of_a_map_has_its_own_question_and_the_others_continue() {
    let node =
        "{id: item, type: dynamiq.nodes.operators.Pass, approval: {enabled: true, mutable_data_params: [n]}}";
    let text = flow(&format!(
        "  m: {{type: dynamiq.nodes.operators.Map, max_workers: 3, node: {node}}}\n  beside: {{type: dynamiq.nodes.operators.Pass}}\n"
    ));
    let mut case = Case::text(&text).input(json!({"input": [{"n": 1}, {"n": 2}, {"n": 3}]}));
    let waiting = case.run().await;
    expect(&waiting, &[("beside", "success")]);
    let events = case.events();
    let ids: std::collections::BTreeSet<_> =
        events.iter().filter_map(|logged| logged.body.request()).map(|request| request.id).collect();
    assert_eq!(ids.len(), 3, "{events:?}");
    let yes = |n: i32| json!({"is_approved": true, "data": {"n": n}});
    let people = json!({"m/0/item": yes(10), "m/1/item": {"is_approved": true}, "m/2/item": yes(30)});
    let results = case.run_with(&people).await;
    assert_eq!(results["output"]["m"]["output"]["output"], json!([{"n": 10}, {"n": 2}, {"n": 30}]));
}

/// Nodes that pass on their whole input double its size from one to the next. A limit stops that before memory runs
/// out.
#[tokio::test]
async fn the_size_of_outputs_is_limited() {
    let pass = |id: usize| {
        let after = if id == 0 { "input".to_owned() } else { format!("n{}", id - 1) };
        format!("  n{id}: {{type: dynamiq.nodes.operators.Pass, depends: [{{node: {after}}}]}}\n")
    };
    let nodes: String = (0..40).map(pass).collect();
    let text = flow(&format!("  input: {{type: dynamiq.nodes.utils.Input}}\n{nodes}"));
    for (input, limit) in [
        (json!({ "list": vec![0; 5000] }), "1000000 values"),
        (json!({ "text": "x".repeat(500_000) }), "32 MiB"),
        (json!({ "rows": vec![json!({ "a": 1 }); 5000] }), "of memory"),
    ] {
        let Outcome::Failed(error) = Case::text(&text).input(input).outcome().await else {
            panic!("it ends")
        };
        assert_eq!(error.code, "limit_exceeded", "{error:?}");
        assert!(error.message.contains(limit), "{error:?}");
    }
}
