//! Approvals: the input that a person is shown is executed, whatever happened in between.

mod support;

use runyard_runs::{Actor, EventBody, InputRequest, Logged};
use serde_json::{Map, Value, json};
use std::sync::{Arc, Mutex};
use support::{Case, Counted, scripted::Scripted};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

fn flow(nodes: &str) -> String {
    let ids: Vec<&str> = nodes
        .lines()
        .filter_map(|line| line.strip_prefix("  ")?.split_once(':'))
        .filter(|(id, _)| !id.starts_with(' '))
        .map(|(id, _)| id)
        .collect();
    format!("nodes:\n{nodes}flows:\n  f: {{nodes: [{}]}}\nworkflows:\n  w: {{flow: f}}\n", ids.join(", "))
}

/// The output of an upstream node is renamed by the transformer of the node that needs approval.
const PAY: &str = r#"  decide: {type: dynamiq.nodes.transformers.TextTemplate, template: "attacker {{ amount }}", input_transformer: {selector: {amount: $.amount}}}
  pay:
    type: dynamiq.nodes.transformers.TextTemplate
    template: "PAID {{ sum }} to {{ to }}, {{ why }}"
    depends: [{node: decide}]
    input_transformer: {selector: {sum: $.amount, to: $.decide.output.content}}
    input_mapping: {why: "as agreed"}
    approval: {enabled: true, msg_template: "Pay {{ input_data.sum }} to {{ input_data.to }}, {{ input_data.why }}?", mutable_data_params: [sum, gone], accept_pattern: go}
"#;

fn questions(events: &[Logged]) -> Vec<InputRequest> {
    events.iter().filter_map(|asked| asked.body.request().cloned()).collect()
}

fn answer(request: &InputRequest, answer: Value) -> Logged {
    let body = EventBody::InputReceived {
        request_id: request.id,
        kind: request.kind,
        approved: None,
        changes: Map::new(),
        by: Actor::default(),
    };
    Logged { body, key: Some(format!("answer:{}", request.id)), journal: Some(answer) }
}

fn executed(events: &[Logged]) -> Vec<(String, Value)> {
    let inputs = events.iter().filter_map(|logged| match &logged.body {
        EventBody::NodeStarted { node, input: Some(input) } => Some((node.id.clone(), input.clone())),
        _ => None,
    });
    inputs.collect()
}

#[tokio::test]
async fn the_input_after_transformer_and_mapping_is_shown_and_executed() {
    let first = Case::text(&flow(PAY)).input(json!({"amount": 500, "to": "my mother"}));
    first.run().await;
    let [request] = questions(&first.events()).try_into().expect("one question");
    let shown = json!({"sum": 500, "to": "attacker 500", "why": "as agreed"});
    assert_eq!(Value::Object(request.params.clone()), shown);
    assert_eq!(request.prompt, "Pay 500 to attacker 500, as agreed?");
    assert_eq!(request.editable_params, ["sum"], "what is not there cannot be changed");
    assert_eq!(request.accept_pattern.as_deref(), Some("go"));
    for (given_answer, paid, sum) in [
        (json!({"approved": true}), "PAID 500 to attacker 500, as agreed", json!(500)),
        (
            json!({"feedback": "go", "params": {"sum": 450}}),
            "PAID 450 to attacker 500, as agreed",
            json!(450),
        ),
        (
            json!({"approved": true, "params": {"sum": 1, "to": "me", "gone": 2, "amount": 3}}),
            "PAID 1 to attacker 500, as agreed",
            json!(1),
        ),
    ] {
        let mut journal = first.events();
        journal.push(answer(&request, given_answer));
        let second = Case::text(&flow(PAY)).input(json!({"amount": 500})).journal(journal);
        let results = second.run().await;
        assert_eq!(results["output"]["pay"]["output"]["content"], paid);
        let mut with = shown.clone();
        with["sum"] = sum;
        assert_eq!(executed(&second.events()), [("pay".to_owned(), with.clone())]);
        assert_eq!(questions(&second.events()), [], "once");
        // After a restart, the results show it too.
        let mut journal = first.events();
        journal.extend(second.events());
        journal.push(answer(&request, json!({"approved": true, "params": {"sum": with["sum"]}})));
        let third = Case::text(&flow(PAY)).input(json!({"amount": 500})).journal(journal);
        let results = third.run().await;
        assert_eq!(results["output"]["pay"]["input"]["sum"], with["sum"], "{results}");
        assert_eq!(third.events(), []);
    }
    let mut journal = first.events();
    journal.push(answer(&request, json!({"feedback": "no", "params": {"sum": 1}})));
    let denied = Case::text(&flow(PAY)).input(json!({"amount": 500})).journal(journal);
    assert_eq!(denied.run().await["output"]["pay"]["status"], "skip");
    assert_eq!(executed(&denied.events()), []);
}

/// After a retry or a repeated step, the upstream output may differ. The shown input is logged, and is executed.
#[tokio::test]
async fn a_changed_upstream_does_not_change_the_approved_input() {
    let first = Case::text(&flow(PAY)).input(json!({"amount": 500}));
    first.run().await;
    let [request] = questions(&first.events()).try_into().expect("one question");
    let mut journal = first.events();
    for logged in &mut journal {
        if let EventBody::NodeCompleted { output, .. } = &mut logged.body {
            *output = json!({"content": "somebody else"}).into();
        }
    }
    journal.push(answer(&request, json!({"approved": true, "params": {"sum": 450}})));
    let second = Case::text(&flow(PAY)).input(json!({"amount": 7})).journal(journal);
    let results = second.run().await;
    assert_eq!(results["output"]["decide"]["output"]["content"], "somebody else");
    assert_eq!(results["output"]["pay"]["output"]["content"], "PAID 450 to attacker 500, as agreed");
}

/// A node without a transformer gets the results of the nodes that had finished when the question was asked.
#[tokio::test]
async fn nodes_that_finish_after_the_question_do_not_change_the_input() {
    let text = flow(
        r"  a: {type: dynamiq.nodes.operators.Pass, input_transformer: {selector: {n: $.n}}}
  gate: {type: dynamiq.nodes.operators.Pass, depends: [{node: a}], approval: {enabled: true, mutable_data_params: [n]}}
  b: {type: dynamiq.nodes.operators.Pass, depends: [{node: a}], input_transformer: {selector: {n: $.n}}}
  c: {type: dynamiq.nodes.operators.Pass, depends: [{node: b}], input_transformer: {selector: {n: $.n}}}
",
    );
    let first = Case::text(&text).input(json!({"n": 1}));
    first.run().await;
    let [request] = questions(&first.events()).try_into().expect("one question");
    assert!(request.params.contains_key("a") && !request.params.contains_key("c"), "{:?}", request.params);
    for (given_answer, n) in
        [(json!({"approved": true}), 1), (json!({"approved": true, "params": {"n": 2}}), 2)]
    {
        let mut journal = first.events();
        journal.push(answer(&request, given_answer));
        let second = Case::text(&text).input(json!({"n": 1})).journal(journal);
        let results = second.run().await;
        let mut with = request.params.clone();
        with["n"] = n.into();
        assert_eq!(results["output"]["gate"]["output"], Value::Object(with.clone()));
        assert_eq!(executed(&second.events()), [("gate".to_owned(), Value::Object(with))]);
        assert_eq!(questions(&second.events()), []);
    }
}

/// An earlier release asked about the run's input. If that is not the input that would be executed, a new question is
/// asked.
#[tokio::test]
async fn a_question_about_another_input_is_asked_again() {
    let first = Case::text(&flow(PAY)).input(json!({"amount": 500}));
    first.run().await;
    let mut journal = first.events();
    for logged in &mut journal {
        if let EventBody::ApprovalRequestCreated { request } = &mut logged.body {
            request.params = Map::from_iter([("amount".to_owned(), json!(500))]);
            logged.journal = Some(Value::Null);
        }
    }
    let [old] = questions(&journal).try_into().expect("one question");
    journal.push(answer(&old, json!({"approved": true})));
    let second = Case::text(&flow(PAY)).input(json!({"amount": 500})).journal(journal.clone());
    second.run().await;
    let [new] = questions(&second.events()).try_into().expect("another question");
    assert_ne!(new.id, old.id);
    assert_eq!(new.params["sum"], 500);
    assert_eq!(executed(&second.events()), []);
    journal.extend(second.events());
    journal.push(answer(&new, json!({"approved": true, "params": {"sum": 5}})));
    let third = Case::text(&flow(PAY)).input(json!({"amount": 500})).journal(journal);
    let results = third.run().await;
    assert_eq!(results["output"]["pay"]["output"]["content"], "PAID 5 to attacker 500, as agreed");
}

#[tokio::test]
async fn an_item_of_a_map_is_shown_as_it_is_executed() {
    let node = r"{id: item, type: dynamiq.nodes.operators.Pass, input_transformer: {selector: {sum: $.amount}}, input_mapping: {by: map}, approval: {enabled: true, mutable_data_params: [sum]}}";
    let text = flow(&format!("  m: {{type: dynamiq.nodes.operators.Map, max_workers: 2, node: {node}}}\n"));
    let mut case = Case::text(&text).input(json!({"input": [{"amount": 1}, {"amount": 2}]}));
    let people = json!({
        "m/0/item": {"is_approved": true, "data": {"sum": 10, "amount": 11}}, "m/1/item": {"is_approved": true},
    });
    let results = case.run_with(&people).await;
    let output = &results["output"]["m"]["output"]["output"];
    assert_eq!(*output, json!([{"sum": 10, "by": "map"}, {"sum": 2, "by": "map"}]), "{results}");
}

#[tokio::test]
async fn an_expired_question_executes_the_shown_input() {
    let text = flow(PAY).replace("accept_pattern: go", "expires_in_seconds: 60, on_expiry: approve");
    let case = Case::text(&text).input(json!({"amount": 500}));
    case.run().await;
    let case = case.expired();
    let results = case.run().await;
    assert_eq!(results["output"]["pay"]["output"]["content"], "PAID 500 to attacker 500, as agreed");
    assert_eq!(executed(&case.events())[0].1["sum"], 500);
}

/// If the input cannot be built, no question is asked.
#[tokio::test]
async fn a_transformer_that_fails_creates_no_question() {
    let text = flow(
        "  n: {type: dynamiq.nodes.operators.Pass, input_transformer: {path: $.list}, input_mapping: {x: 1}, approval: {enabled: true}}\n",
    );
    let case = Case::text(&text).input(json!({"list": [1]}));
    let results = case.run().await;
    assert_eq!(results["output"]["n"]["error"]["type"], "TypeError", "{results}");
    assert_eq!(questions(&case.events()), []);
}

fn agent(tool: &str) -> String {
    format!(
        r#"
nodes:
  agent:
    id: agent
    type: dynamiq.nodes.agents.Agent
    llm: {{type: dynamiq.nodes.llms.OpenAI, model: m, connection: {{type: dynamiq.connections.OpenAI, api_key: none, url: "${{oc.env:STUB_URL}}"}}}}
    inference_mode: FUNCTION_CALLING
    input_transformer: {{selector: {{input: $.text}}}}
    tools: [{tool}]
flows: {{f: {{nodes: [agent]}}}}
workflows: {{w: {{flow: f}}}}
"#
    )
}

fn calls(events: &[Logged]) -> Vec<(&'static str, Value)> {
    let tool_results = events.iter().filter_map(|logged| match &logged.body {
        EventBody::AgentToolCallStarted { call }
        | EventBody::AgentToolCallCompleted { call, .. }
        | EventBody::AgentToolCallFailed { call, .. } => Some((logged.body.name(), call.input.clone())),
        EventBody::ApprovalRequestCreated { request } => {
            Some((logged.body.name(), Value::Object(request.params.clone())))
        }
        _ => None,
    });
    tool_results.collect()
}

/// The tool results in the last request to the model.
fn tool_results(model: &Scripted) -> Vec<String> {
    let request = model.requests().pop().expect("a request");
    let results = request["messages"].as_array().expect("messages").iter();
    results
        .filter(|message| message["role"] == "tool")
        .map(|message| message["content"].as_str().expect("text").to_owned())
        .collect()
}

/// The model gets a note about the person's changes, each call needs an approval, and events show the executed input.
#[tokio::test]
async fn a_model_gets_a_note_about_changes() {
    let call = json!({"tool_calls": [{"name": "pay", "arguments": {"thought": "", "amount": 800}}]});
    let done = json!({"tool_calls": [{"name": "provide_final_answer", "arguments": {"thought": "", "answer": "ok"}}]});
    let model = Scripted::start(json!([call, call, call, done])).await;
    let tool = r#"{id: pay, type: dynamiq.nodes.tools.Python, name: pay, code: "def run(d): return d", approval: {enabled: true, mutable_data_params: [amount]}}"#;
    let python = Counted::echo();
    let mut case = Case::text(&agent(tool))
        .env("STUB_URL", &model.url)
        .input(json!({"text": "pay"}))
        .python(Arc::clone(&python) as _);
    let people = json!({
        "agent/loop/1/tool/0/pay": {"is_approved": true, "data": {"amount": 300}},
        "agent/loop/2/tool/0/pay": {"is_approved": true},
        "agent/loop/3/tool/0/pay": {"is_approved": false, "feedback": "enough"},
    });
    let results = case.run_with(&people).await;
    assert_eq!(results["output"]["agent"]["output"]["content"], "ok", "{results}");
    assert_eq!(python.count(), 2, "what a person approves is not answered from what an earlier call gave");
    let tool_results = tool_results(&model);
    assert_eq!(
        tool_results[0].lines().next(),
        Some("[A person changed `amount` from 800 to 300 before it was executed.]")
    );
    assert!(tool_results[0].contains("300") && !tool_results[1].contains("changed"), "{tool_results:?}");
    assert!(tool_results[2].contains("denied by a person with feedback enough"), "{tool_results:?}");
    let tool_results = calls(case.recorded());
    let amounts: Vec<_> = tool_results.iter().map(|(name, input)| (*name, input["amount"].clone())).collect();
    assert_eq!(
        amounts,
        [
            ("approval_request.created", json!(800)),
            ("agent.tool_call.started", json!(300)),
            ("agent.tool_call.completed", json!(300)),
            ("approval_request.created", json!(800)),
            ("agent.tool_call.started", json!(800)),
            ("agent.tool_call.completed", json!(800)),
            ("approval_request.created", json!(800)),
            ("agent.tool_call.failed", json!(800)),
        ],
        "{tool_results:?}"
    );
}

/// Changes are validated against the tool's schema, and an HTTP tool is called with the approved arguments.
#[tokio::test]
async fn an_http_tool_is_called_with_the_approved_arguments() {
    let call = json!({"tool_calls": [{"name": "Pay", "arguments": {"thought": "", "data": {"usd": 800}}}]});
    let done = json!({"tool_calls": [{"name": "provide_final_answer", "arguments": {"thought": "", "answer": "ok"}}]});
    let model = Scripted::start(json!([call, done])).await;
    let tool = r#"{id: pay, type: dynamiq.nodes.tools.HttpApiCall, name: Pay, connection: {type: dynamiq.connections.Http, method: POST, url: "${oc.env:STUB_ROOT}/echo"}, approval: {enabled: true, msg_template: "{{ name }}: {{ input_data.data.usd }}?", mutable_data_params: [data, url]}}"#;
    let case = |journal| {
        Case::text(&agent(tool))
            .env("STUB_URL", &model.url)
            .env("STUB_ROOT", &model.root)
            .input(json!({"text": "pay"}))
            .journal(journal)
    };
    let first = case(Vec::new());
    first.run().await;
    let [request] = questions(&first.events()).try_into().expect("one question");
    assert_eq!(request.prompt, "Pay: 800?");
    assert_eq!(request.editable_params, ["data", "url"], "one that the tool's schema has may be added");
    let check = |changed: Value| {
        let changed = changed.as_object().expect("an object").clone();
        runyard_runs::Engine::check_params(&first.engine(), &request, &changed)
    };
    assert_eq!(check(json!({"data": {"usd": 450}})), Ok(()));
    let wrong = check(json!({"data": "450", "url": 5})).expect_err("they do not fit");
    assert_eq!(wrong.keys().collect::<Vec<_>>(), ["params.data", "params.url"]);
    let mut journal = first.events();
    journal.push(answer(&request, json!({"approved": true, "params": {"data": {"usd": 450}}})));
    let second = case(journal);
    assert_eq!(second.run().await["status"], "success");
    let tool_results = tool_results(&model);
    assert!(
        tool_results[0].contains("450")
            && tool_results[0].contains("`data` from {\"usd\":800} to {\"usd\":450}"),
        "{tool_results:?}"
    );
    assert_eq!(model.echoes(), 1);
}

/// An MCP server with one tool, `pay`, and the arguments of its calls.
async fn mcp_server() -> (String, Arc<Mutex<Vec<Value>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/mcp", listener.local_addr().expect("an address"));
    let called = Arc::new(Mutex::new(Vec::new()));
    let calls = Arc::clone(&called);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let calls = Arc::clone(&calls);
            tokio::spawn(async move { rpc(stream, &calls).await });
        }
    });
    (url, called)
}

async fn rpc(mut stream: TcpStream, calls: &Mutex<Vec<Value>>) -> Option<()> {
    let mut given = Vec::new();
    let message: Value = loop {
        if stream.read_buf(&mut given).await.ok()? == 0 {
            return None;
        }
        let text = String::from_utf8_lossy(&given).into_owned();
        let Some((_, body)) = text.split_once("\r\n\r\n") else { continue };
        if let Ok(message) = serde_json::from_str(body) {
            break message;
        }
    };
    let schema = json!({"type": "object", "properties": {"amount": {"type": "integer", "maximum": 1000}}});
    let result = match message["method"].as_str()? {
        "initialize" => json!({"protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": {}}),
        "tools/list" => json!({"tools": [{"name": "pay", "description": "Pays.", "inputSchema": schema}]}),
        "tools/call" => {
            calls.lock().expect("calls").push(message["params"].clone());
            json!({"content": [{"type": "text", "text": "paid"}]})
        }
        _ => Value::Null,
    };
    let body = json!({"jsonrpc": "2.0", "id": message["id"], "result": result}).to_string();
    let (status, body) =
        if message["id"].is_null() { ("202 Accepted", "") } else { ("200 OK", body.as_str()) };
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all((head + body).as_bytes()).await.ok()
}

/// For a tool of a server, its own name, schema and arguments are shown.
#[tokio::test]
async fn a_tool_of_a_server_is_called_with_the_approved_arguments() {
    let (url, called) = mcp_server().await;
    let call = json!({"tool_calls": [{"name": "pay", "arguments": {"thought": "", "amount": 800}}]});
    let done = json!({"tool_calls": [{"name": "provide_final_answer", "arguments": {"thought": "", "answer": "ok"}}]});
    let model = Scripted::start(json!([call, done])).await;
    let tool = format!(
        r#"{{id: bank, type: dynamiq.nodes.tools.MCPServer, name: Bank, connection: {{type: dynamiq.connections.MCPStreamableHTTP, url: "{url}"}}, approval: {{enabled: true, msg_template: "{{{{ name }}}} {{{{ input_data.amount }}}}?", mutable_data_params: [amount]}}}}"#
    );
    let case = |journal| {
        let case = Case::text(&agent(&tool)).env("STUB_URL", &model.url);
        case.input(json!({"text": "pay"})).journal(journal)
    };
    let first = case(Vec::new());
    first.run().await;
    let [request] = questions(&first.events()).try_into().expect("one question");
    assert_eq!((request.prompt.as_str(), &request.params["amount"]), ("pay 800?", &json!(800)));
    let check = |amount: Value| {
        let changed = Map::from_iter([("amount".to_owned(), amount)]);
        runyard_runs::Engine::check_params(&first.engine(), &request, &changed).is_ok()
    };
    assert!(check(json!(450)) && !check(json!(1001)) && !check(json!("450")));
    assert_eq!(*called.lock().expect("calls"), Vec::<Value>::new());
    let mut journal = first.events();
    journal.push(answer(&request, json!({"approved": true, "params": {"amount": 450}})));
    let second = case(journal);
    assert_eq!(second.run().await["status"], "success");
    let called = called.lock().expect("calls").clone();
    assert_eq!(called.len(), 1, "{called:?}");
    assert_eq!((&called[0]["name"], &called[0]["arguments"]["amount"]), (&json!("pay"), &json!(450)));
    let tool_results = tool_results(&model);
    assert!(tool_results[0].starts_with("[A person changed `amount` from 800 to 450"), "{tool_results:?}");
    let events = calls(&second.events());
    let amounts: Vec<_> = events.iter().map(|(name, input)| (*name, &input["amount"])).collect();
    let (started, completed) = ("agent.tool_call.started", "agent.tool_call.completed");
    assert_eq!(amounts, [(started, &json!(450)), (completed, &json!(450))]);
}
