//! The Model Context Protocol, against a server built with the official SDK.

use crate::{
    failure, node, output, ran,
    server::{free_port, had, installed, start},
    support::scripted::Scripted,
};
use serde_json::{Map, Value, json};
use std::{path::Path, process::Command, sync::OnceLock};

const PACKAGE: &str = "mcp==1.30.0";

/// The connection to a server of that transport.
fn connection(transport: &str) -> Option<Value> {
    static STREAMABLE: OnceLock<Result<u16, String>> = OnceLock::new();
    static SSE: OnceLock<Result<u16, String>> = OnceLock::new();
    let launch = || {
        let (venv, port) = (installed(&[PACKAGE])?, free_port()?);
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/servers/mcp_server.py");
        let mut server = Command::new(venv.join("bin/python"));
        start(server.arg(script).args([transport, &port.to_string()]), port)?;
        Ok(port)
    };
    let (started, class, path) = match transport {
        "sse" => (&SSE, "MCPSse", "sse"),
        _ => (&STREAMABLE, "MCPStreamableHTTP", "mcp"),
    };
    let port = had("an MCP server", started.get_or_init(launch))?;
    Some(json!({
        "type": format!("dynamiq.connections.{class}"), "url": format!("http://127.0.0.1:{port}/{path}"),
        "headers": {"x-own": "connection"},
    }))
}

fn tool(connection: &Value, name: &str, more: &Value) -> Value {
    let text = json!({"type": "string"});
    let schema = match name {
        "add" => {
            json!({"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}, "required": ["a"]})
        }
        "fail" => json!({"type": "object", "properties": {}}),
        // In the form in which the reference writes schemas into files.
        _ => json!({"type_": "object", "properties": {"name": text}, "required": ["name"]}),
    };
    let mut tool = json!({
        "connection": connection, "name": name, "description": "a tool", "json_input_schema": schema,
    });
    for (key, value) in more.as_object().expect("settings") {
        tool[key] = value.clone();
    }
    tool
}

const TOOL: &str = "tools.MCPTool";
const SERVER: &str = "tools.MCPServer";

async fn calls_tools(transport: &str) {
    let Some(connection) = connection(transport) else { return };
    let call = |name: &str, more: Value, input: Value| {
        let settings = tool(&connection, name, &more);
        async move { output(node(TOOL, &settings, &input)).await }
    };
    let greeting = call("greet", json!({}), json!({"name": "Ada", "unknown": 1})).await;
    let raw = json!({"content": [{"type": "text", "text": "Hello Ada"}], "isError": false});
    assert_eq!(greeting, json!({"content": raw}));
    let for_agents = json!({"is_optimized_for_agents": true});
    let greeting = call("greet", for_agents.clone(), json!({"name": "Ada"})).await;
    assert_eq!(greeting, json!({"content": "Hello Ada", "raw_response": raw}));
    // Omitted arguments are left to the server.
    let sum = call("add", for_agents.clone(), json!({"a": 2})).await;
    assert_eq!(sum["content"], json!({"result": 3}));
    for (name, expected) in [("x-own", "connection"), ("x-mine", "input")] {
        let input = json!({"name": name, "mcp_http_headers": {"x-mine": "input"}});
        assert_eq!(call("header", for_agents.clone(), input).await["content"], expected);
    }
    let own = json!({"name": "x-own", "mcp_http_headers": {"x-own": "input"}});
    assert_eq!(call("header", for_agents.clone(), own).await["content"], "input");
    let key = call("header", for_agents, json!({"name": "idempotency-key"})).await;
    assert_eq!(key["content"], "00000000-0000-0000-0000-000000000001:n");
    let (kind, message) = failure(node(TOOL, &tool(&connection, "fail", &json!({})), &json!({}))).await;
    assert_eq!(kind, "ToolExecutionException");
    assert!(message.contains("`fail` failed:") && message.contains("it is broken"), "{message}");
    let wrong = node(TOOL, &tool(&connection, "add", &json!({})), &json!({"a": "many"}));
    assert_eq!(failure(wrong).await.0, "ValidationError");
}

#[tokio::test]
async fn calls_tools_over_streamable_http() {
    calls_tools("streamable-http").await;
}

#[tokio::test]
async fn calls_tools_over_server_sent_events() {
    calls_tools("sse").await;
}

#[tokio::test]
async fn a_server_runs_the_selected_tool() {
    let Some(connection) = connection("streamable-http") else { return };
    let settings = |more: Value| {
        let mut settings = json!({"connection": connection});
        for (key, value) in more.as_object().expect("settings") {
            settings[key] = value.clone();
        }
        settings
    };
    let one = settings(json!({"include_tools": ["greet"]}));
    let greeting = output(node(SERVER, &one, &json!({"name": "Bob"}))).await;
    assert_eq!(greeting["content"]["content"][0]["text"], "Hello Bob");
    let (kind, message) =
        failure(node(SERVER, &settings(json!({"exclude_tools": ["fail", "header"]})), &json!({}))).await;
    assert_eq!(kind, "ValueError");
    assert!(message.contains("2 tools (add, greet)"), "{message}");
}

/// An agent gets all tools of a server, calls one of them, and gets its result.
#[tokio::test]
async fn an_agent_calls_the_tools_of_a_server() {
    let Some(connection) = connection("streamable-http") else { return };
    let arguments = json!({"thought": "a greeting", "name": "Ada"});
    let end = json!({"thought": "done", "answer": "greeted"});
    let model = Scripted::start(json!([
        {"tool_calls": [{"name": "greet", "arguments": arguments}]},
        {"tool_calls": [{"name": "provide_final_answer", "arguments": end}]},
    ]))
    .await;
    let openai = json!({"type": "dynamiq.connections.OpenAI", "api_key": "sk-stub", "url": model.url});
    let settings = json!({
        "llm": {"type": "dynamiq.nodes.llms.OpenAI", "model": "gpt-4o-mini", "connection": openai},
        "inference_mode": "FUNCTION_CALLING",
        "tools": [{"id": "s", "type": format!("dynamiq.nodes.{SERVER}"), "connection": connection, "exclude_tools": ["fail"]}],
    });
    let answer = output(node("agents.Agent", &settings, &json!({"input": "greet Ada"}))).await;
    assert_eq!(answer["content"], "greeted");
    let requests = model.requests();
    let offered: Vec<&str> = requests[0]["tools"]
        .as_array()
        .expect("tools")
        .iter()
        .filter_map(|tool| tool["function"]["name"].as_str())
        .collect();
    for name in ["add", "greet", "header"] {
        assert!(offered.contains(&name), "{offered:?}");
    }
    assert!(!offered.contains(&"fail") && requests.len() == 2, "{offered:?}");
    assert!(requests[1]["messages"].to_string().contains("Hello Ada"), "{}", requests[1]["messages"]);
}

#[tokio::test]
async fn reports_errors() {
    let nowhere = json!({"type": "dynamiq.connections.MCPStreamableHTTP", "url": "http://127.0.0.1:1/mcp"});
    let nodes =
        Map::from_iter([("n".to_owned(), node(TOOL, &tool(&nowhere, "add", &json!({})), &json!({"a": 1})))]);
    let error = &ran(nodes).await["n"]["error"];
    assert_eq!((&error["type"], &error["recoverable"]), (&json!("ToolExecutionException"), &json!(true)));
    assert!(error["message"].as_str().is_some_and(|message| message.contains("was not called")), "{error}");
}
