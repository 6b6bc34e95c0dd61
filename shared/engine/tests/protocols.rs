//! Providers with other protocols than `OpenAI`: the requests, and how responses are parsed. The responses have the
//! shapes that the providers document.

mod support;

use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use serde_json::{Value, json};
use std::time::Duration;
use support::{
    Case, delta,
    provider::{Answer, Provider, Received},
};

/// Sizes of pieces that split a response within its words, lines and frames.
const CUTS: &[usize] = &[1, 2, 3, 5, 17, 64, 4096];

/// A flow with one model.
fn flow(class: &str, model: &str, connection: &str, extra: &str) -> String {
    format!(
        "nodes:
  l:
    type: dynamiq.nodes.llms.{class}
    model: {model}
    connection: {connection}
    prompt:
      messages:
        - {{role: system, content: be brief}}
        - role: user
          content:
            - {{type: text, text: \"look at {{{{ q }}}}\"}}
            - {{type: image_url, image_url: {{url: \"data:image/png;base64,iVBORw0KGgo=\"}}}}
            - {{type: file, file: {{file_data: \"data:application/pdf;base64,JVBERi0=\"}}}}
        - role: assistant
          content: calling
          tool_calls: [{{id: c1, type: function, function: {{name: f, arguments: '{{\"a\": 1}}'}}}}]
        - {{role: tool, tool_call_id: c1, content: \"7\"}}
    {extra}
flows: {{f: {{nodes: [l]}}}}
workflows: {{w: {{flow: f}}}}
"
    )
}

const ALL: &str = "temperature: 0.3
    max_tokens: 50
    stop: [a]
    top_p: 0.5
    seed: 3
    presence_penalty: 0.1
    frequency_penalty: 0.2
    tool_choice: required
    tools: [{type: function, function: {name: f, description: does, parameters: {type: object, properties: {a: {type: integer}}}}}]
    response_format: {type: json_schema, json_schema: {name: out, schema: {type: object, properties: {x: {type: integer}}}}}";

/// A provider's model, without the provider's URL.
struct ProviderCase {
    class: &'static str,
    model: &'static str,
    connection: &'static str,
    /// The node's key for the provider's URL.
    url_key: &'static str,
}

const ANTHROPIC: ProviderCase = ProviderCase {
    class: "Anthropic",
    model: "claude-sonnet-4-5",
    connection: "{type: dynamiq.connections.Anthropic, api_key: key-a}",
    url_key: "api_base",
};

const GEMINI: ProviderCase = ProviderCase {
    class: "Gemini",
    model: "gemini-2.5-flash",
    connection: "{type: dynamiq.connections.Gemini, api_key: key-g}",
    url_key: "api_base",
};

const COHERE: ProviderCase = ProviderCase {
    class: "Cohere",
    model: "command-a-03-2025",
    connection: "{type: dynamiq.connections.Cohere, api_key: key-c}",
    url_key: "api_base",
};

const BEDROCK: ProviderCase = ProviderCase {
    class: "Bedrock",
    model: "\"anthropic.claude-3-haiku-20240307-v1:0\"",
    connection: "{type: dynamiq.connections.AWS, access_key_id: AKID, secret_access_key: secret, session_token: token, region: eu-west-1}",
    url_key: "aws_bedrock_runtime_endpoint",
};

/// The outcome of a call.
struct Outcome {
    /// The node's result.
    result: Value,
    requests: Vec<Received>,
    /// The pieces of its text.
    pieces: Vec<String>,
    /// `(input, output, cached)` tokens.
    tokens: (u64, u64, u64),
}

impl ProviderCase {
    async fn ask(&self, extra: &str, answers: Vec<Answer>) -> Outcome {
        let provider = Provider::start(answers).await;
        let extra = format!("{extra}\n    {}: \"{}\"", self.url_key, provider.url);
        let text = flow(self.class, self.model, self.connection, &extra);
        let case = Case::text(&text).input(json!({"q": "cats"}));
        let context = case.context();
        let app = support::app(&text);
        let results = case.engine().results(&app, &context).await.expect("the file loads").to_json();
        let used = context.usage().total;
        Outcome {
            result: results["output"]["l"].clone(),
            requests: provider.received(),
            pieces: case.events().into_iter().filter_map(delta).collect(),
            tokens: (used.input_tokens, used.output_tokens, used.cached_tokens),
        }
    }
}

fn call(id: &str, arguments: &Value) -> Value {
    json!({"id": id, "type": "function", "function": {"name": "f", "arguments": arguments}})
}

#[tokio::test]
async fn calls_anthropic() {
    let answer = json!({
        "type": "message", "role": "assistant", "stop_reason": "tool_use",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "s"},
            {"type": "text", "text": "Let me see."},
            {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 2}},
        ],
        "usage": {"input_tokens": 10, "cache_creation_input_tokens": 5, "cache_read_input_tokens": 100, "output_tokens": 7},
    });
    let outcome = ANTHROPIC.ask(ALL, vec![Answer::json(&answer)]).await;
    assert_eq!(outcome.requests[0].path, "/v1/messages");
    let headers =
        ["x-api-key", "anthropic-version", "anthropic-beta"].map(|name| outcome.requests[0].header(name));
    assert_eq!(headers, [Some("key-a"), Some("2023-06-01"), Some("structured-outputs-2025-11-13")]);
    let expected = json!({
        "model": "claude-sonnet-4-5",
        "system": [{"type": "text", "text": "be brief"}],
        "messages": [
            {"role": "user", "content": [
                {"type": "text", "text": "look at cats"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}},
                {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}},
            ]},
            {"role": "assistant", "content": [
                {"type": "text", "text": "calling"},
                {"type": "tool_use", "id": "c1", "name": "f", "input": {"a": 1}},
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "c1", "content": [{"type": "text", "text": "7"}]},
            ]},
        ],
        "max_tokens": 50, "temperature": 0.3, "top_p": 0.5, "stop_sequences": ["a"],
        "tools": [{"name": "f", "description": "does", "type": "custom",
                   "input_schema": {"type": "object", "properties": {"a": {"type": "integer"}}}}],
        "tool_choice": {"type": "any"},
        "output_format": {"type": "json_schema", "schema": {"type": "object", "properties": {"x": {"type": "integer"}}}},
    });
    assert_eq!(outcome.requests[0].body, expected);
    let output = json!({"content": "Let me see.", "tool_calls": [call("toolu_1", &json!({"a": 2}))]});
    assert_eq!(outcome.result["output"], output);
    assert_eq!(outcome.tokens, (115, 7, 100));
}

#[tokio::test]
async fn anthropic_caches_and_answers_in_json_by_a_tool() {
    let provider_case = ProviderCase { model: "claude-3-haiku-20240307", ..ANTHROPIC };
    let answer = json!({
        "stop_reason": "tool_use", "usage": {"input_tokens": 1, "output_tokens": 2},
        "content": [{"type": "tool_use", "id": "t", "name": "answer", "input": {"x": 1}}],
    });
    let extra = "cache_control: {ttl: 1h}\n    response_format: {type: json_schema, json_schema: {name: out, schema: {type: object}}}";
    let outcome = provider_case.ask(extra, vec![Answer::json(&answer)]).await;
    assert_eq!(outcome.result["output"], json!({"content": "{\"x\":1}"}));
    let body = &outcome.requests[0].body;
    assert_eq!(
        (&body["tool_choice"]["name"], &body["tools"][0]["name"]),
        (&json!("answer"), &json!("answer"))
    );
    let control = json!({"type": "ephemeral", "ttl": "1h"});
    assert_eq!(body["system"][0]["cache_control"], control);
    assert_eq!(body["messages"][2]["content"][0]["cache_control"], control);
    assert_eq!((&body["cache_control"], &body["max_tokens"]), (&Value::Null, &json!(4096)));
}

const ANTHROPIC_STREAM: &str = r#"event: message_start
data: {"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","content":[],"stop_reason":null,"usage":{"input_tokens":10,"cache_read_input_tokens":90,"output_tokens":1}}}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"hm"}}

event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: content_block_start
data: {"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}

event: ping
data: {"type":"ping"}

event: content_block_delta
data: {"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"Grüß "}}

event: content_block_delta
data: {"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"dich"}}

event: content_block_stop
data: {"type":"content_block_stop","index":1}

event: content_block_start
data: {"type":"content_block_start","index":2,"content_block":{"type":"tool_use","id":"toolu_1","name":"f","input":{}}}

event: content_block_delta
data: {"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"{\"a\":"}}

event: content_block_delta
data: {"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":" 2}"}}

event: content_block_stop
data: {"type":"content_block_stop","index":2}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"output_tokens":15}}

event: message_stop
data: {"type":"message_stop"}

"#;

const STREAMING: &str = "streaming: {enabled: true}";

/// Checks the outcome of a stream of this file, which must not depend on how it is split.
fn assert_streamed(outcome: &Outcome, id: &str, tokens: (u64, u64, u64), cut: usize) {
    let output = json!({"content": "Grüß dich", "tool_calls": [call(id, &json!({"a": 2}))]});
    assert_eq!(outcome.result["output"], output, "pieces of {cut}");
    assert_eq!(outcome.pieces, ["Grüß ", "dich"], "pieces of {cut}");
    assert_eq!(outcome.tokens, tokens, "pieces of {cut}");
    assert_eq!(outcome.requests.len(), 1);
}

#[tokio::test]
async fn anthropic_streams() {
    for cut in CUTS {
        let outcome = ANTHROPIC.ask(STREAMING, vec![Answer::events(ANTHROPIC_STREAM).pieces(*cut)]).await;
        assert_streamed(&outcome, "toolu_1", (100, 15, 90), *cut);
        assert_eq!(outcome.requests[0].body["stream"], true);
    }
}

/// The kind of the error, and the number of calls.
fn failure(outcome: &Outcome) -> (String, usize) {
    assert_eq!(outcome.result["status"], "failure", "{}", outcome.result);
    (outcome.result["error"]["type"].as_str().expect("a type").to_owned(), outcome.requests.len())
}

#[tokio::test(start_paused = true)]
async fn errors_of_every_provider_are_mapped() {
    let body = json!({"type": "error", "error": {"type": "x", "message": "prompt of doom"}, "message": "prompt of doom"});
    for provider_case in [ANTHROPIC, GEMINI, COHERE, BEDROCK] {
        for (status, calls, kind) in [
            (400, 1, "BadRequestError"),
            (401, 1, "AuthenticationError"),
            (404, 1, "NotFoundError"),
            (429, 3, "RateLimitError"),
            (500, 3, "InternalServerError"),
            (503, 3, "ServiceUnavailableError"),
            (529, 3, "InternalServerError"),
        ] {
            let outcome = provider_case.ask("", vec![Answer::json(&body).status(status)]).await;
            assert_eq!(failure(&outcome), (kind.to_owned(), calls), "{} {status}", provider_case.class);
            let message = outcome.result["error"]["message"].as_str().expect("a message");
            assert!(message.contains("prompt of doom"), "{message}");
        }
    }
    let text = "prompt is too long: 210000 tokens > 200000 maximum";
    let long = json!({"type": "error", "error": {"type": "invalid_request_error", "message": text}});
    let outcome = ANTHROPIC.ask("", vec![Answer::json(&long).status(400)]).await;
    assert_eq!(failure(&outcome), ("ContextWindowExceededError".to_owned(), 1));
}

#[tokio::test(start_paused = true)]
async fn retries_wait_as_long_as_the_provider_requests() {
    let limit = json!({"type": "error", "error": {"type": "rate_limit_error", "message": "slow down"}});
    let begin = tokio::time::Instant::now();
    let outcome = ANTHROPIC
        .ask(
            STREAMING,
            vec![
                Answer::json(&limit).status(429).header("retry-after: 33"),
                Answer::events(ANTHROPIC_STREAM),
            ],
        )
        .await;
    assert_eq!(outcome.result["status"], "success");
    assert!(begin.elapsed() >= Duration::from_secs(33));
}

/// A broken stream is retried unless a part of it was already shown.
#[tokio::test(start_paused = true)]
async fn broken_streams_are_retried_if_nothing_was_shown() {
    let overloaded = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n";
    let good = Answer::events(ANTHROPIC_STREAM);
    let outcome = ANTHROPIC.ask(STREAMING, vec![Answer::events(overloaded), good.clone()]).await;
    assert_eq!((&outcome.result["status"], outcome.requests.len()), (&json!("success"), 2));
    let (begin, _) = ANTHROPIC_STREAM
        .split_once("event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":1}")
        .expect("a text");
    let outcome =
        ANTHROPIC.ask(STREAMING, vec![Answer::events(&format!("{begin}{overloaded}")), good.clone()]).await;
    assert_eq!(failure(&outcome), ("InternalServerError".to_owned(), 1));
    assert_eq!(outcome.pieces.concat(), "Grüß dich");
    let bytes = ANTHROPIC_STREAM.len() - begin.len();
    let outcome = ANTHROPIC.ask(STREAMING, vec![good.clone().broken(bytes), good]).await;
    assert_eq!(failure(&outcome), ("InternalServerError".to_owned(), 1));
}

#[tokio::test]
async fn calls_gemini() {
    let answer = json!({
        "candidates": [{"finishReason": "STOP", "content": {"role": "model", "parts": [
            {"text": "hm", "thought": true},
            {"text": "Let me see."},
            {"functionCall": {"name": "f", "args": {"a": 2}}, "thoughtSignature": "c2ln"},
        ]}}],
        "usageMetadata": {"promptTokenCount": 100, "candidatesTokenCount": 7, "thoughtsTokenCount": 3, "cachedContentTokenCount": 60},
    });
    let outcome = GEMINI.ask(ALL, vec![Answer::json(&answer)]).await;
    assert_eq!(outcome.requests[0].path, "/models/gemini-2.5-flash:generateContent");
    assert_eq!(outcome.requests[0].header("x-goog-api-key"), Some("key-g"));
    let expected = json!({
        "system_instruction": {"parts": [{"text": "be brief"}]},
        "contents": [
            {"role": "user", "parts": [
                {"text": "look at cats"},
                {"inline_data": {"mime_type": "image/png", "data": "iVBORw0KGgo="}},
                {"inline_data": {"mime_type": "application/pdf", "data": "JVBERi0="}},
            ]},
            {"role": "model", "parts": [{"text": "calling"}, {"functionCall": {"name": "f", "args": {"a": 1}}}]},
            {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"content": "7"}}}]},
        ],
        "tools": [{"function_declarations": [{"name": "f", "description": "does",
            "parametersJsonSchema": {"type": "object", "properties": {"a": {"type": "integer"}}}}]}],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY"}},
        "generationConfig": {
            "temperature": 0.3, "top_p": 0.5, "max_output_tokens": 50, "stop_sequences": ["a"], "seed": 3,
            "presence_penalty": 0.1, "frequency_penalty": 0.2, "response_mime_type": "application/json",
            "response_json_schema": {"type": "object", "properties": {"x": {"type": "integer"}}},
        },
    });
    assert_eq!(outcome.requests[0].body, expected);
    let id = "call_0__thought__c2ln";
    let output = json!({"content": "Let me see.", "tool_calls": [call(id, &json!({"a": 2}))]});
    assert_eq!(outcome.result["output"], output);
    assert_eq!(outcome.tokens, (100, 10, 60));
}

/// The signature of the thought behind a call is returned with the call.
#[tokio::test]
async fn gemini_gets_its_signatures_back() {
    let provider = Provider::start(vec![Answer::json(
        &json!({"candidates": [{"content": {"parts": [{"text": "ok"}]}}]}),
    )])
    .await;
    let text =
        flow("Gemini", "gemini-3-pro-preview", GEMINI.connection, &format!("api_base: \"{}\"", provider.url))
            .replace("c1", "call_0__thought__c2ln");
    Case::text(&text).input(json!({"q": "cats"})).run().await;
    let part = &provider.received()[0].body["contents"][1]["parts"][1];
    assert_eq!(*part, json!({"functionCall": {"name": "f", "args": {"a": 1}}, "thoughtSignature": "c2ln"}));
}

const GEMINI_STREAM: &str = "data: {\"candidates\": [{\"content\": {\"parts\": [{\"text\": \"Grüß \"}],\"role\": \"model\"},\"index\": 0}],\"usageMetadata\": {\"promptTokenCount\": 9,\"totalTokenCount\": 9}}\r\n\r\ndata: {\"candidates\": [{\"content\": {\"parts\": [{\"text\": \"dich\"}],\"role\": \"model\"},\"index\": 0}]}\r\n\r\ndata: {\"candidates\": [{\"content\": {\"parts\": [{\"functionCall\": {\"id\": \"g1\",\"name\": \"f\",\"args\": {\"a\": 2}}}],\"role\": \"model\"},\"finishReason\": \"STOP\"}],\"usageMetadata\": {\"promptTokenCount\": 9,\"candidatesTokenCount\": 4,\"cachedContentTokenCount\": 2}}\r\n\r\n";

#[tokio::test]
async fn gemini_streams() {
    for cut in CUTS {
        let outcome = GEMINI.ask(STREAMING, vec![Answer::events(GEMINI_STREAM).pieces(*cut)]).await;
        assert_streamed(&outcome, "g1", (9, 4, 2), *cut);
        assert_eq!(outcome.requests[0].path, "/models/gemini-2.5-flash:streamGenerateContent?alt=sse");
    }
}

#[tokio::test]
async fn a_response_that_a_filter_blocks_is_an_error() {
    let blocked =
        json!({"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 5}});
    let outcome = GEMINI.ask("", vec![Answer::json(&blocked)]).await;
    assert_eq!(failure(&outcome), ("LLMContentFilteredError".to_owned(), 1));
    assert_eq!(outcome.tokens, (5, 0, 0), "it is paid for all the same");
    let refused =
        json!({"content": [], "stop_reason": "refusal", "usage": {"input_tokens": 5, "output_tokens": 0}});
    let outcome = ANTHROPIC.ask("", vec![Answer::json(&refused)]).await;
    assert_eq!(failure(&outcome), ("LLMContentFilteredError".to_owned(), 1));
}

#[tokio::test]
async fn calls_cohere() {
    let answer = json!({
        "id": "1", "finish_reason": "TOOL_CALL",
        "message": {"role": "assistant", "tool_plan": "I will look.", "content": [{"type": "text", "text": "Let me see."}],
            "tool_calls": [{"id": "f_1", "type": "function", "function": {"name": "f", "arguments": "{\"a\":2}"}}]},
        "usage": {"billed_units": {"input_tokens": 5, "output_tokens": 6}, "tokens": {"input_tokens": 70.0, "output_tokens": 8.0}, "cached_tokens": 48},
    });
    let outcome = COHERE.ask(ALL, vec![Answer::json(&answer)]).await;
    assert_eq!(outcome.requests[0].header("authorization"), Some("Bearer key-c"));
    let body = &outcome.requests[0].body;
    let parameters =
        ["temperature", "max_tokens", "p", "seed", "presence_penalty", "stop_sequences", "tool_choice"];
    let sent: Vec<&Value> = parameters.iter().map(|name| &body[*name]).collect();
    assert_eq!(
        sent,
        [&json!(0.3), &json!(50), &json!(0.5), &json!(3), &json!(0.1), &json!(["a"]), &json!("REQUIRED")]
    );
    let schema = json!({"type": "json_object", "schema": {"type": "object", "properties": {"x": {"type": "integer"}}}});
    assert_eq!(body["response_format"], schema);
    assert_eq!(body["messages"][3], json!({"role": "tool", "tool_call_id": "c1", "content": "7"}));
    let output = json!({"content": "Let me see.", "tool_calls": [call("f_1", &json!({"a": 2}))]});
    assert_eq!(outcome.result["output"], output);
    assert_eq!(outcome.tokens, (70, 8, 48));
}

const COHERE_STREAM: &str = r#"event: message-start
data: {"id":"1","type":"message-start","delta":{"message":{"role":"assistant","content":[],"tool_plan":"","tool_calls":[],"citations":[]}}}

event: tool-plan-delta
data: {"type":"tool-plan-delta","delta":{"message":{"tool_plan":"I will look."}}}

event: content-start
data: {"type":"content-start","index":0,"delta":{"message":{"content":{"type":"text","text":""}}}}

event: content-delta
data: {"type":"content-delta","index":0,"delta":{"message":{"content":{"text":"Grüß "}}}}

event: content-delta
data: {"type":"content-delta","index":0,"delta":{"message":{"content":{"text":"dich"}}}}

event: content-end
data: {"type":"content-end","index":0}

event: tool-call-start
data: {"type":"tool-call-start","index":0,"delta":{"message":{"tool_calls":{"id":"f_1","type":"function","function":{"name":"f","arguments":""}}}}}

event: tool-call-delta
data: {"type":"tool-call-delta","index":0,"delta":{"message":{"tool_calls":{"function":{"arguments":"{\"a\""}}}}}

event: tool-call-delta
data: {"type":"tool-call-delta","index":0,"delta":{"message":{"tool_calls":{"function":{"arguments":":2}"}}}}}

event: tool-call-end
data: {"type":"tool-call-end","index":0}

event: message-end
data: {"type":"message-end","delta":{"finish_reason":"TOOL_CALL","usage":{"tokens":{"input_tokens":20,"output_tokens":9},"cached_tokens":16}}}

"#;

#[tokio::test]
async fn cohere_streams() {
    for cut in CUTS {
        let outcome = COHERE.ask(STREAMING, vec![Answer::events(COHERE_STREAM).pieces(*cut)]).await;
        assert_streamed(&outcome, "f_1", (20, 9, 16), *cut);
    }
}

#[tokio::test]
async fn calls_bedrock() {
    let answer = json!({
        "output": {"message": {"role": "assistant", "content": [
            {"text": "Let me see."},
            {"toolUse": {"toolUseId": "tooluse_1", "name": "f", "input": {"a": 2}}},
        ]}},
        "stopReason": "tool_use",
        "usage": {"inputTokens": 10, "outputTokens": 7, "totalTokens": 117, "cacheReadInputTokens": 100, "cacheWriteInputTokens": 0},
    });
    let extra =
        format!("{}\n    top_k: 5\n    cache_control: {{ttl: 5m}}", ALL.rsplit_once('\n').expect("lines").0);
    let outcome = BEDROCK.ask(&extra, vec![Answer::json(&answer)]).await;
    let request = &outcome.requests[0];
    assert_eq!(request.path, "/model/anthropic.claude-3-haiku-20240307-v1%3A0/converse");
    let authorization = request.header("authorization").expect("it is signed");
    assert!(authorization.starts_with("AWS4-HMAC-SHA256 Credential=AKID/"), "{authorization}");
    assert!(
        authorization
            .contains("/eu-west-1/bedrock/aws4_request, SignedHeaders=host;x-amz-date;x-amz-security-token,")
    );
    assert_eq!(request.header("x-amz-security-token"), Some("token"));
    let point = json!({"cachePoint": {"type": "default"}});
    let expected = json!({
        "system": [{"text": "be brief"}, point],
        "messages": [
            {"role": "user", "content": [
                {"text": "look at cats"},
                {"image": {"format": "png", "source": {"bytes": "iVBORw0KGgo="}}},
                {"document": {"format": "pdf", "name": "document-1", "source": {"bytes": "JVBERi0="}}},
            ]},
            {"role": "assistant", "content": [
                {"text": "calling"},
                {"toolUse": {"toolUseId": "c1", "name": "f", "input": {"a": 1}}},
            ]},
            {"role": "user", "content": [
                {"toolResult": {"toolUseId": "c1", "content": [{"text": "7"}]}},
                point,
            ]},
        ],
        "inferenceConfig": {"maxTokens": 50, "temperature": 0.3, "topP": 0.5, "stopSequences": ["a"]},
        "toolConfig": {
            "tools": [{"toolSpec": {"name": "f", "description": "does",
                "inputSchema": {"json": {"type": "object", "properties": {"a": {"type": "integer"}}}}}}],
            "toolChoice": {"any": {}},
        },
        "additionalModelRequestFields": {"top_k": 5},
    });
    assert_eq!(request.body, expected);
    let output = json!({"content": "Let me see.", "tool_calls": [call("tooluse_1", &json!({"a": 2}))]});
    assert_eq!(outcome.result["output"], output);
    assert_eq!(outcome.tokens, (110, 7, 100));
}

/// A frame of an event stream.
fn frame(kind: &str, name: &str, payload: &Value) -> Vec<u8> {
    let header =
        |name: &'static str, value: &str| Header::new(name, HeaderValue::String(value.to_owned().into()));
    let name_header = if kind == "exception" { ":exception-type" } else { ":event-type" };
    let message = Message::new(payload.to_string().into_bytes())
        .add_header(header(":message-type", kind))
        .add_header(header(name_header, name))
        .add_header(header(":content-type", "application/json"));
    let mut bytes = Vec::new();
    write_message_to(&message, &mut bytes).expect("a frame");
    bytes
}

fn frames(last: &[Vec<u8>]) -> Answer {
    let event = |name: &str, payload: Value| frame("event", name, &payload);
    let mut body = [
        event("messageStart", json!({"role": "assistant"})),
        event("contentBlockDelta", json!({"contentBlockIndex": 0, "delta": {"text": "Grüß "}})),
        event("contentBlockDelta", json!({"contentBlockIndex": 0, "delta": {"text": "dich"}})),
        event("contentBlockStop", json!({"contentBlockIndex": 0})),
    ]
    .concat();
    body.extend(last.concat());
    Answer::new("application/vnd.amazon.eventstream", body)
}

#[tokio::test]
async fn bedrock_streams() {
    let event = |name: &str, payload: Value| frame("event", name, &payload);
    let last = [
        event(
            "contentBlockStart",
            json!({"contentBlockIndex": 1, "start": {"toolUse": {"toolUseId": "t1", "name": "f"}}}),
        ),
        event(
            "contentBlockDelta",
            json!({"contentBlockIndex": 1, "delta": {"toolUse": {"input": "{\"a\""}}}),
        ),
        event("contentBlockDelta", json!({"contentBlockIndex": 1, "delta": {"toolUse": {"input": ":2}"}}})),
        event("contentBlockStop", json!({"contentBlockIndex": 1})),
        event("messageStop", json!({"stopReason": "tool_use"})),
        event(
            "metadata",
            json!({"usage": {"inputTokens": 20, "outputTokens": 9, "cacheReadInputTokens": 16}}),
        ),
    ];
    for cut in CUTS {
        let outcome = BEDROCK.ask(STREAMING, vec![frames(&last).pieces(*cut)]).await;
        assert_streamed(&outcome, "t1", (36, 9, 16), *cut);
        assert!(outcome.requests[0].path.ends_with("/converse-stream"));
    }
    let exception = [frame("exception", "throttlingException", &json!({"message": "Too many requests"}))];
    let outcome = BEDROCK.ask(STREAMING, vec![frames(&exception)]).await;
    assert_eq!(failure(&outcome), ("RateLimitError".to_owned(), 1));
    let mut damaged = frames(&last);
    let end = damaged.body.len() - 1;
    damaged.body[end] ^= 1;
    let outcome = BEDROCK.ask(STREAMING, vec![damaged]).await;
    assert_eq!(failure(&outcome), ("InternalServerError".to_owned(), 1));
}

/// For models that do not accept URLs, images are fetched, through the egress guard.
#[tokio::test]
async fn images_are_fetched_for_models_without_urls() {
    let image = Provider::start(vec![Answer::new("image/jpeg", b"jpeg".to_vec())]).await;
    let ok = json!({"candidates": [{"content": {"parts": [{"text": "ok"}]}}]});
    let provider = Provider::start(vec![Answer::json(&ok)]).await;
    let text = |origin: &str| {
        flow("Gemini", "gemini-2.5-flash", GEMINI.connection, &format!("api_base: \"{}\"", provider.url))
            .replace("data:image/png;base64,iVBORw0KGgo=", &format!("{origin}/x.jpg"))
    };
    let results = Case::text(&text(&image.url)).input(json!({"q": "cats"})).run().await;
    assert_eq!(results["output"]["l"]["output"]["content"], "ok");
    let part = &provider.received()[0].body["contents"][0]["parts"][1];
    assert_eq!(*part, json!({"inline_data": {"mime_type": "image/jpeg", "data": "anBlZw=="}}));
    let results = Case::text(&text("http://169.254.169.254")).input(json!({"q": "cats"})).run().await;
    assert_eq!(results["output"]["l"]["error"]["type"], "BadRequestError");
    assert_eq!(provider.received().len(), 1);
}

/// A service account's key is exchanged for a token, once, and calls use the token. The key was generated for the test.
#[tokio::test]
async fn calls_vertex_with_a_token() {
    let made = std::process::Command::new("openssl")
        .args(["genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"])
        .output();
    let key = match made {
        Ok(made) if made.status.success() => String::from_utf8(made.stdout).expect("PEM"),
        _ if std::env::var("CI").is_ok_and(|ci| ci == "true") => panic!("openssl is missing"),
        _ => return eprintln!("skipped: the test of Vertex AI, because openssl is missing"),
    };
    let token =
        Provider::start(vec![Answer::json(&json!({"access_token": "t0k", "expires_in": 3600}))]).await;
    let ok = json!({"candidates": [{"finishReason": "STOP", "content": {"parts": [{"text": "ok"}]}}]});
    let provider = Provider::start(vec![Answer::json(&ok)]).await;
    let connection = format!(
        "{{type: dynamiq.connections.VertexAI, vertex_project_id: p1, vertex_project_location: europe-west4, client_email: a@b, token_uri: \"{}/token\", private_key: \"${{oc.env:KEY}}\"}}",
        token.url
    );
    let text =
        flow("VertexAI", "gemini-2.5-flash", &connection, &format!("api_base: \"{}/v1\"", provider.url));
    let case = Case::text(&text).input(json!({"q": "cats"})).env("KEY", &key.replace('\n', "\\n"));
    let (engine, app) = (case.engine(), support::app(&text));
    for _ in 0..2 {
        let results = engine.results(&app, &case.context()).await.expect("the file loads").to_json();
        assert_eq!(results["output"]["l"]["output"]["content"], "ok", "{results}");
    }
    let token_requests = token.received();
    assert_eq!(token_requests.len(), 1, "the token is cached");
    let form = token_requests[0].body.as_str().expect("a form");
    let claim =
        form.strip_prefix("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=");
    assert_eq!(claim.map(|claim| claim.split('.').count()), Some(3), "{form}");
    let request = &provider.received()[1];
    assert_eq!(request.header("authorization"), Some("Bearer t0k"));
    let path =
        "/v1/projects/p1/locations/europe-west4/publishers/google/models/gemini-2.5-flash:generateContent";
    assert_eq!(request.path, path);
}
