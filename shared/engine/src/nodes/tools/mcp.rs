//! `MCPServer` and `MCPTool`: tools of a Model Context Protocol server.

use super::Registered;
use crate::{
    flow::{Call, Halt, Kind, Listed, NodeError, ToolSpec, seconds},
    load::{Connection, Fields, Loading},
    mcp::{Server, Tool, Transport},
    nodes::{admit::invalid, connection::needed},
    python_text,
    schema::Schema,
};
use async_trait::async_trait;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use runyard_runs::EventBody;
use serde_json::{Map, Value, json};
use std::{sync::Arc, time::Duration};

pub(super) const MCP_SERVER: Registered = Registered {
    class: "tools.MCPServer",
    name: Some("mcp"),
    timeout: None,
    build: |_, fields, loading| Some(Box::new(McpServer::read(fields, loading)?)),
};

pub(super) const MCP_TOOL: Registered = Registered {
    class: "tools.MCPTool",
    name: None,
    timeout: None,
    build: |id, fields, loading| Some(Box::new(McpTool::read(id, fields, loading)?)),
};

/// Input field with headers of the request. It is not passed to the tool.
const HEADERS: &str = "mcp_http_headers";

/// A server, and filters that select some of its tools. As a node of a flow it must select one tool, which it calls.
#[derive(Debug)]
pub(crate) struct McpServer {
    server: Server,
    include: Vec<String>,
    exclude: Vec<String>,
    for_agents: bool,
}

impl McpServer {
    pub(crate) fn read(fields: Fields<'_>, loading: &Loading<'_>) -> Option<Self> {
        let names = |key: &str| {
            let items = fields.list(key).unwrap_or_default();
            items.iter().filter_map(|item| item.text().map(str::to_owned)).collect()
        };
        // Ignored: tools are listed for each run.
        let _ = fields.bool("discover_per_run");
        Some(Self {
            include: names("include_tools"),
            exclude: names("exclude_tools"),
            for_agents: fields.bool("is_optimized_for_agents").unwrap_or(false),
            server: server(fields, loading)?,
        })
    }

    /// The tools that the node selects. The list is journaled under the call's key, so that a replay sees the same
    /// tools.
    pub(crate) async fn tools(
        &self,
        call: Call<'_>,
        headers: Option<&Map<String, Value>>,
    ) -> Result<Vec<Tool>, Halt> {
        let key = format!("{}tools", call.within());
        let listed = if let Some(recorded) = call.run.recorded(&key) {
            recorded.journal
        } else {
            call.run.outside().await?;
            let tools = self.server.tools(&call.services.http, &header_map(headers)?).await;
            let tools =
                tools.map_err(|error| failed(call, &format!("its tools cannot be listed: {error}")))?;
            let listed: Value = tools
                .into_iter()
                .map(
                    |tool| json!({"name": tool.name, "description": tool.description, "schema": tool.schema}),
                )
                .collect();
            call.run.record(&key, EventBody::RunCheckpoint, Some(listed.clone()));
            listed
        };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let tools = listed.as_array().into_iter().flatten().map(|tool| Tool {
            name: text(&tool["name"]),
            description: text(&tool["description"]),
            schema: tool["schema"].clone(),
        });
        Ok(tools.filter(|tool| self.selects(&tool.name)).collect())
    }

    /// Calls one of the tools. Returns `{content, raw_response}` with a content for models if `for_agents`; else
    /// `{content}` with the whole result.
    pub(crate) async fn call_tool(
        &self,
        call: Call<'_>,
        name: &str,
        input: &Map<String, Value>,
        for_agents: bool,
    ) -> Result<Value, Halt> {
        call_tool(&self.server, call, name, input, for_agents).await
    }

    fn selects(&self, name: &str) -> bool {
        let contains = |names: &[String]| names.iter().any(|known| known == name);
        (self.include.is_empty() || contains(&self.include)) && !contains(&self.exclude)
    }
}

#[async_trait]
impl Kind for McpServer {
    async fn execute(&self, call: Call<'_>, input: &Arc<Value>) -> Result<Arc<Value>, Halt> {
        // An agent calls one of the listed tools in this form.
        if let (Some(tool), Some(arguments)) = (input["tool"].as_str(), input["arguments"].as_object())
            && self.selects(tool)
        {
            return self.call_tool(call, tool, arguments, true).await.map(Arc::new);
        }
        let tools = self.tools(call, None).await?;
        let [tool] = tools.as_slice() else {
            let names: Vec<&str> = tools.iter().map(|tool| tool.name.as_str()).collect();
            let message = format!(
                "the server has {} tools ({}): select one with `include_tools`",
                tools.len(),
                names.join(", ")
            );
            return Err(NodeError::new("ValueError", message).lasting().into());
        };
        let empty = Map::new();
        let input = arguments(&tool.schema, input.as_object().unwrap_or(&empty));
        self.call_tool(call, &tool.name, &input, self.for_agents).await.map(Arc::new)
    }

    fn is_server(&self) -> bool {
        true
    }

    async fn list(&self, call: Call<'_>) -> Result<Vec<Listed>, Halt> {
        let tools = self.tools(call, None).await?;
        let listed = tools.into_iter().map(|Tool { name, description, schema }| Listed {
            name,
            description,
            parameters: schema,
        });
        Ok(listed.collect())
    }
}

/// One tool, with its schema in the file.
#[derive(Debug)]
struct McpTool {
    server: Server,
    name: String,
    schema: Value,
    compiled: Schema,
    for_agents: bool,
}

impl McpTool {
    fn read(id: &str, fields: Fields<'_>, loading: &Loading<'_>) -> Option<Self> {
        for key in ["name", "description", "json_input_schema"] {
            if fields.get(key).is_none() {
                fields.mistake(fields.yaml.spot, format!("the node `{id}` lacks its `{key}`"));
            }
        }
        let schema = fields.json("json_input_schema").map(rename_type);
        let compiled = schema.as_ref().map(Schema::new).transpose();
        if let Err(problem) = &compiled {
            let message = format!("`json_input_schema` is not a valid JSON schema: {problem}");
            fields.mistake(fields.spot("json_input_schema"), message);
        }
        let (server, _) = (server(fields, loading), fields.text("description")?);
        Some(Self {
            name: fields.text("name")?.to_owned(),
            schema: schema?,
            compiled: compiled.ok()??,
            for_agents: fields.bool("is_optimized_for_agents").unwrap_or(false),
            server: server?,
        })
    }
}

#[async_trait]
impl Kind for McpTool {
    async fn execute(&self, call: Call<'_>, input: &Arc<Value>) -> Result<Arc<Value>, Halt> {
        let empty = Map::new();
        let input = input.as_object().unwrap_or(&empty);
        call_tool(&self.server, call, &self.name, input, self.for_agents).await.map(Arc::new)
    }

    fn offer(&self) -> ToolSpec {
        // The description is a required field of the file.
        ToolSpec { description: "", parameters: self.schema.clone(), parallel: false }
    }

    fn admit(&self, input: Arc<Value>) -> Result<Arc<Value>, NodeError> {
        let Value::Object(given) = &*input else {
            let type_name = python_text::type_name(&input);
            return Err(invalid(format!("the input of an MCPTool must be a mapping, but it is {type_name}")));
        };
        let admitted = Value::Object(arguments(&self.schema, given));
        let mut problems = runyard_runs::FieldErrors::new();
        self.compiled.check(&admitted, &mut problems);
        if let Some((field, problem)) = problems.first_key_value() {
            return Err(invalid(format!("`{field}` of the input of `{}` {problem}", self.name)));
        }
        Ok(Arc::new(admitted))
    }
}

/// The server of a node's connection.
fn server(fields: Fields<'_>, loading: &Loading<'_>) -> Option<Server> {
    let connection = needed(&["MCPStreamableHTTP", "MCPSse", "MCPStdio"], fields, loading)?;
    let (transport, timeout) = match connection.class.as_str() {
        "MCPStreamableHTTP" => (Transport::Streamable, 30.0),
        "MCPSse" => (Transport::Sse, 5.0),
        _ => {
            let message = "servers that are started as a process (`MCPStdio`) do not run here; use one over HTTP, with a \
                           connection of type `dynamiq.connections.MCPStreamableHTTP`";
            fields.mistake(fields.spot("connection"), message.into());
            return None;
        }
    };
    let Some(url) = connection.url.clone() else {
        fields.mistake(fields.spot("connection"), "`url` of the connection cannot be blank".into());
        return None;
    };
    let headers = match header_map(connection.fields.get("headers").and_then(Value::as_object)) {
        Ok(headers) => headers,
        Err(problem) => {
            fields.mistake(fields.spot("connection"), problem.message);
            return None;
        }
    };
    let duration = |key: &str, default: f64| of_connection(&connection, key).unwrap_or(default);
    Some(Server {
        transport,
        url,
        headers,
        timeout: seconds(duration("timeout", timeout)),
        silence: seconds(duration("sse_read_timeout", 300.0)).max(Duration::from_millis(1)),
    })
}

fn of_connection(connection: &Connection, key: &str) -> Option<f64> {
    connection.fields.get(key)?.as_f64()
}

fn header_map(given: Option<&Map<String, Value>>) -> Result<HeaderMap, NodeError> {
    let mut headers = HeaderMap::new();
    for (name, value) in given.into_iter().flatten().filter(|(_, value)| !value.is_null()) {
        let text = python_text::str(value);
        let header = HeaderName::try_from(name.as_str()).ok().zip(HeaderValue::from_str(&text).ok());
        let Some((name, value)) = header else {
            return Err(invalid(format!("the name or value of the header `{name}` is not valid")));
        };
        headers.insert(name, value);
    }
    Ok(headers)
}

/// The fields of an input that the schema names, and the headers; the whole input if the schema names no fields.
fn arguments(schema: &Value, input: &Map<String, Value>) -> Map<String, Value> {
    let Some(properties) = schema["properties"].as_object() else { return input.clone() };
    let named = input.iter().filter(|(key, _)| properties.contains_key(*key) || *key == HEADERS);
    named.map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// Renames `type_` to `type`: the reference writes it so in files.
fn rename_type(value: Value) -> Value {
    match value {
        Value::Object(map) => map
            .into_iter()
            .map(|(key, value)| (if key == "type_" { "type".to_owned() } else { key }, rename_type(value)))
            .collect(),
        Value::Array(items) => items.into_iter().map(rename_type).collect(),
        other => other,
    }
}

async fn call_tool(
    server: &Server,
    call: Call<'_>,
    name: &str,
    input: &Map<String, Value>,
    for_agents: bool,
) -> Result<Value, Halt> {
    let mut arguments = input.clone();
    let headers = arguments.remove(HEADERS);
    let headers = header_map(headers.as_ref().and_then(Value::as_object))?;
    let key = call.announce().await?;
    let result = server.call(&call.services.http, &headers, &key, name, &arguments).await;
    let mut result = result.map_err(|error| failed(call, &format!("`{name}` was not called: {error}")))?;
    let text = text_of(&result);
    if result["isError"] == true {
        let text = if text.is_empty() { "the result has no error text" } else { &text };
        return Err(failed(call, &format!("`{name}` failed: {text}")).into());
    }
    without_nulls(&mut result);
    if let Value::Object(map) = &mut result {
        map.entry("isError").or_insert(false.into());
    }
    if !for_agents {
        return Ok(json!({"content": result}));
    }
    let content = result.get("structuredContent").cloned().unwrap_or_else(|| text.into());
    Ok(json!({"content": content, "raw_response": result}))
}

/// The texts of a result's content, one per line.
fn text_of(result: &Value) -> String {
    let parts = result["content"].as_array().into_iter().flatten();
    let texts = parts.filter(|part| part["type"] == "text").filter_map(|part| part["text"].as_str());
    texts.collect::<Vec<_>>().join("\n")
}

fn without_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(without_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(without_nulls),
        _ => {}
    }
}

/// An error that an agent can recover from.
fn failed(call: Call<'_>, reason: &str) -> NodeError {
    let name = call.node.name.as_deref().unwrap_or(&call.node.id);
    let message = format!("the MCP server of `{name}`: {reason}");
    NodeError { recoverable: true, ..NodeError::new("ToolExecutionException", message) }
}
