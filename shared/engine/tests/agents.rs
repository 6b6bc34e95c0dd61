//! Compares agents with the reference for the same replies of the model: the tool calls, the results shown to the
//! model, the answer and the number of model calls must be equal. Prompts and error messages may differ.

mod support;

use runyard_runs::{Clock, EventBody, Logged, MemoryStore, Origin, Outcome, ProcessMemory, Timestamp};
use serde_json::{Value, json};
use std::sync::Arc;
use support::{
    Case, Counted,
    provider::{Answer, Provider},
    scripted::Scripted,
};

/// A case under `tests/dynamiq/agents`: its file, the model's replies, and the reference's results.
struct Golden {
    name: String,
    text: String,
    expected: Value,
}

impl Golden {
    fn all() -> Vec<Self> {
        let folder = support::shared("dynamiq/agents");
        let mut names: Vec<String> = std::fs::read_dir(folder)
            .expect("cases")
            .filter_map(|entry| {
                entry.expect("a file").file_name().to_str()?.strip_suffix(".yaml").map(str::to_owned)
            })
            .collect();
        names.sort();
        names.into_iter().map(|name| Self::read(&name)).collect()
    }

    fn read(name: &str) -> Self {
        let read = |ending: &str| {
            let path = support::shared(&format!("dynamiq/agents/{name}.{ending}"));
            std::fs::read_to_string(path).expect("a file")
        };
        let expected = serde_json::from_str(&read("json")).expect("JSON");
        Self { name: name.to_owned(), text: read("yaml"), expected }
    }

    fn header(&self, key: &str) -> Value {
        let start = format!("# {key}: ");
        let line = self.text.lines().find_map(|line| line.strip_prefix(&start)).expect("a header");
        serde_json::from_str(line).expect("JSON")
    }

    fn case(&self, model: &Scripted) -> Case {
        Case::text(&self.text).env("STUB_URL", &model.url).input(self.header("input"))
    }
}

#[tokio::test]
async fn agents_match_the_reference() {
    let goldens = Golden::all();
    assert!(goldens.len() >= 35, "{} cases", goldens.len());
    let mut different = Vec::new();
    for golden in goldens {
        let model = Scripted::start(golden.header("script")).await;
        let mut ours = golden.case(&model).run().await;
        ours["llm_requests"] = model.requests().into();
        let (ours, theirs) = (comparable(&ours), comparable(&golden.expected));
        if ours != theirs {
            let lines = |value: &Value| serde_json::to_string_pretty(value).expect("JSON");
            let (ours, theirs) = (lines(&ours), lines(&theirs));
            let missing = |of: &str, from: &str| -> Vec<String> {
                of.lines().filter(|line| !from.contains(line)).map(str::to_owned).collect()
            };
            let (extra, lacking) = (missing(&ours, &theirs), missing(&theirs, &ours));
            different.push(format!("{}:\n ours: {extra:#?}\n theirs: {lacking:#?}", golden.name));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n\n"));
}

/// The part of the results that must be equal.
fn comparable(results: &Value) -> Value {
    let mut nodes = results["output"].clone();
    for (_, node) in nodes.as_object_mut().expect("results") {
        if let Some(error) = node.get_mut("error") {
            *error = error["type"].take();
        }
        if node["status"] == "skip" {
            node["input"] = Value::Null;
        }
    }
    let requests: Vec<Value> =
        results["llm_requests"].as_array().expect("requests").iter().map(request).collect();
    support::sorted(&json!({
        "status": results["status"], "error": results["error"]["type"], "nodes": nodes, "requests": requests,
    }))
}

fn request(request: &Value) -> Value {
    let messages: Vec<Value> =
        request["messages"].as_array().expect("messages").iter().map(message).collect();
    let names: Vec<&Value> =
        request["tools"].as_array().into_iter().flatten().map(|tool| &tool["function"]["name"]).collect();
    json!({
        "model": request["model"],
        "messages": messages,
        "tools": names,
        "stop": request["stop"],
        "tool_choice": request["tool_choice"],
        "parallel_tool_calls": request["parallel_tool_calls"],
        "schema": request["response_format"]["json_schema"]["schema"]["required"],
    })
}

/// A message, without texts that differ between the engines.
fn message(message: &Value) -> Value {
    let mut message = message.clone();
    if message["role"] == "system" {
        message["content"] = "system".into();
    }
    if let Some(text) = message["content"].as_str() {
        let own = [
            ("Correction Instruction:", "correction"),
            ("Your last reply could not be used", "correction"),
            ("Tool call failed: the previous call", "correction"),
            ("[tool_error] the call could not be made", "correction"),
            ("the call could not be made", "correction"),
            ("Not accepted:", "not accepted"),
            ("-TOOL OUTPUT START-", "record"),
            ("[user]\n", "to summarise"),
            ("Result:", "record"),
            ("Observation: [tool_error] Unknown tool", "unknown tool"),
            ("[tool_error] Unknown tool", "unknown tool"),
            ("Observation: [tool_error] Invalid parallel", "invalid parallel"),
            ("Observation: [tool_error] Sub-agent invocation limit", "limit"),
            ("Observation: [tool_error] None of these calls was made", "limit"),
        ];
        let within = [
            ("SUMMARY OF IT", "summary"),
            ("was summari", "summarised"),
            ("Provide a concise summary", "summarise"),
            ("Summarise the conversation above", "summarise"),
        ];
        if let Some((_, shown)) = within.iter().find(|(part, _)| text.contains(part)) {
            message["content"] = (*shown).into();
        } else if let Some((_, shown)) = own.iter().find(|(start, _)| text.starts_with(start)) {
            message["content"] = (*shown).into();
        } else if text.contains(".extracted.txt") {
            // The reference keeps the text that it extracted from a file next to the file.
            let lines: Vec<&str> = text.lines().filter(|line| !line.contains(".extracted.txt")).collect();
            message["content"] = (lines.join("\n") + "\n").into();
        } else if let Some((before, after)) = text.split_once("Unknown tool: nope. ") {
            // A result between others.
            let rest = after.split_once("\n\n---").map_or("", |(_, rest)| rest);
            message["content"] = format!("{before}unknown tool{rest}").into();
        } else if let Some((start, _)) = text.split_once("has reached the maximum loop limit") {
            message["content"] = start.into();
        }
    }
    message
}

/// The cases of the harness, which call a tool over HTTP. Those with `_stream` also compare the streamed text.
#[tokio::test]
async fn agents_with_http_tools_match_the_reference() {
    for name in ["agent_default", "agent_function_calling"] {
        let path = support::shared(&format!("dynamiq/cases/{name}.script.json"));
        let script: Value = serde_json::from_slice(&std::fs::read(path).expect("a script")).expect("JSON");
        let model = Scripted::start(script).await;
        let root = model.url.trim_end_matches("/v1").to_owned();
        let case = Case::new(name).env("STUB_URL", &model.url).env("STUB_ROOT", &root);
        let case = case.input(json!({"question": "sum?"}));
        let mut ours = case.run().await;
        ours["llm_requests"] = model.requests().into();
        assert_eq!(comparable(&ours), comparable(&support::golden(name)), "{name}");
        let theirs = support::golden(&format!("{name}_stream"));
        for (step, shown) in [("answer", answers as fn(&Logged) -> Option<String>), ("reasoning", thoughts)] {
            let ours: String = case.events().iter().filter_map(shown).collect();
            // Here, a line break after a thought is not part of it.
            assert_eq!(ours, streamed(&theirs, step).replace('\n', ""), "{name}: {step}");
        }
    }
}

/// The text of a step that the reference streamed.
fn streamed(golden: &Value, step: &str) -> String {
    let events = golden["events"].as_array().expect("events");
    let deltas = events.iter().map(|event| &event["data"]["choices"][0]["delta"]);
    deltas
        .filter(|delta| delta["step"] == step)
        .filter_map(|delta| {
            // The whole thought is repeated with the action.
            let content = &delta["content"];
            content.as_str().or_else(|| content["thought"].as_str().filter(|_| content["action"].is_null()))
        })
        .collect()
}

fn answers(logged: &Logged) -> Option<String> {
    match &logged.body {
        EventBody::AgentAnswerDelta { delta, .. } => Some(delta.clone()),
        _ => None,
    }
}

fn thoughts(logged: &Logged) -> Option<String> {
    match &logged.body {
        EventBody::AgentReasoningDelta { delta, .. } => Some(delta.clone()),
        _ => None,
    }
}

/// A run that stops after any of its events and is executed again calls the model and runs Python only for steps that
/// were not recorded, and has the same outcome.
#[tokio::test]
async fn a_run_resumes_from_any_prefix_of_the_journal() {
    for name in [
        "default_tools",
        "fc_parallel",
        "sub_agent",
        "xml_recovery",
        "todo",
        "structured",
        "max_loops_return",
        "sub_workflow_fc",
    ] {
        let golden = Golden::read(name);
        let script = golden.header("script");
        let python = Counted::echo();
        let model = Scripted::start(script.clone()).await;
        let case = golden.case(&model).python(Arc::clone(&python) as _);
        let expected = case.run().await;
        let events = case.events();
        let all = python.count();
        for kept in 0..=events.len() {
            let journal = events[..kept].to_vec();
            let has = |end: &str| journal.iter().filter(|logged| key(logged).ends_with(end)).count();
            let model_calls = has("/llm");
            let ran = journal.iter().filter(|logged| is_python_done(logged)).count();
            let rest: Vec<Value> = script.as_array().expect("a script")[model_calls..].to_vec();
            let left = rest.len();
            let model = Scripted::start(rest.into()).await;
            let python = Counted::echo();
            let case = golden.case(&model).python(Arc::clone(&python) as _).journal(journal);
            assert_eq!(case.run().await, expected, "{name} from {kept}");
            assert_eq!(model.requests().len(), left, "{name} from {kept}: calls of the model");
            assert_eq!(python.count(), all - ran, "{name} from {kept}: calls of tools");
        }
    }
}

fn key(logged: &Logged) -> &str {
    logged.key.as_deref().unwrap_or_default()
}

fn is_python_done(logged: &Logged) -> bool {
    let (EventBody::NodeCompleted { node, .. } | EventBody::NodeFailed { node, .. }) = &logged.body else {
        return false;
    };
    node.kind.ends_with("Python")
}

/// Events report the start and the end of each tool call, with its arguments and its result.
#[tokio::test]
async fn events_report_tool_calls() {
    let golden = Golden::read("fc_parallel");
    let model = Scripted::start(golden.header("script")).await;
    let case = golden.case(&model);
    case.run().await;
    let (mut started, mut completed, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    for logged in case.events() {
        match logged.body {
            EventBody::AgentToolCallStarted { call } => started.push(call),
            EventBody::AgentToolCallCompleted { call, result } => completed.push((call, result)),
            EventBody::AgentToolCallFailed { call, error } => failed.push((call, error)),
            _ => {}
        }
    }
    let mut names: Vec<&str> = started.iter().map(|call| call.tool.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["Sum Tool", "echo", "fail"]);
    assert!(started.iter().all(|call| call.iteration == 1 && call.tool.kind == "dynamiq.nodes.tools.Python"));
    let (sum, result) = completed.iter().find(|(call, _)| call.tool.name == "Sum Tool").expect("the sum");
    assert_eq!((&sum.input, result), (&json!({"n": 4}), &json!("10")));
    assert!(started.contains(sum));
    assert_eq!(failed.len(), 1);
    assert!(failed[0].1.message.contains("no w"), "{}", failed[0].1.message);
}

/// A call that was in flight when its worker died is made once more. If the file forbids that, the model gets an error
/// that the outcome is unknown, and continues.
#[tokio::test]
async fn a_call_that_was_in_flight_is_repeated_once_unless_the_file_forbids_it() {
    let text = |idempotent: bool| {
        format!(
            "connections:
  oa: {{type: dynamiq.connections.OpenAI, api_key: sk-stub, url: \"${{oc.env:STUB_URL}}\"}}
  api: {{type: dynamiq.connections.Http, method: POST, url: \"${{oc.env:STUB_ROOT}}/echo\"}}
nodes:
  agent:
    type: dynamiq.nodes.agents.Agent
    name: Payer
    llm: {{id: agent-llm, type: dynamiq.nodes.llms.OpenAI, model: gpt-4o-mini, connection: oa}}
    inference_mode: FUNCTION_CALLING
    tools: [{{id: pay, type: dynamiq.nodes.tools.HttpApiCall, name: Pay, connection: api, idempotent: {idempotent}}}]
flows: {{f: {{nodes: [agent]}}}}
workflows: {{w: {{flow: f}}}}
"
        )
    };
    let script = json!([
        {"tool_calls": [{"name": "Pay", "arguments": {"thought": "", "data": {"usd": 5}}}]},
        {"tool_calls": [{"name": "provide_final_answer", "arguments": {"thought": "", "answer": "I will ask them."}}]},
    ]);
    for idempotent in [true, false] {
        let case = |model: &Scripted| {
            Case::text(&text(idempotent))
                .env("STUB_URL", &model.url)
                .env("STUB_ROOT", &model.root)
                .input(json!({"input": "pay"}))
        };
        let model = Scripted::start(script.clone()).await;
        let first = case(&model);
        assert_eq!(first.run().await["status"], "success");
        let events = first.events();
        let announced =
            events.iter().position(|logged| key(logged).starts_with("call:")).expect("it was announced");
        assert_eq!(model.echoes(), 1);

        let model = Scripted::start(json!([script[1]])).await;
        let second = case(&model).journal(events[..=announced].to_vec());
        let results = second.run().await;
        assert_eq!(results["output"]["agent"]["output"]["content"], "I will ask them.", "{results}");
        assert_eq!(model.echoes(), usize::from(idempotent), "idempotent: {idempotent}");
        let request = &model.requests()[0];
        let last_result =
            request["messages"].as_array().expect("messages").last().expect("a message")["content"]
                .to_string();
        assert_eq!(last_result.contains("its outcome is uncertain"), !idempotent, "{last_result}");
        let failed = second.events().into_iter().find_map(|logged| match logged.body {
            EventBody::AgentToolCallFailed { error, .. } => Some(error.message),
            _ => None,
        });
        assert_eq!(failed.is_some_and(|message| message.contains("UncertainOutcomeError")), !idempotent);
    }
}

/// A clock that is stopped.
struct At(i64);

impl Clock for At {
    fn now(&self) -> Timestamp {
        Timestamp(self.0 * 1_000)
    }
}

/// A run rests while a tool of an agent waits for a point in time, in a sub-workflow and next to a finished call. Then
/// it continues where it stopped.
#[tokio::test]
async fn a_run_rests_while_a_tool_waits_for_an_hour() {
    let golden = Golden::read("sub_workflow_fc");
    let text = golden
        .text
        .replace(
            "  parts-of:",
            "  wait: {type: dynamiq.nodes.operators.Delay, duration_seconds: 3600}\n  parts-of:",
        )
        .replace("parts: {nodes: [parts-of]}", "parts: {nodes: [wait]}")
        .replace("name: Price\n", "name: Price\n        is_parallel_execution_allowed: true\n")
        .replace("name: Parts,", "name: Parts, is_parallel_execution_allowed: true,")
        .replace("max_loops: 8", "max_loops: 8\n    parallel_tool_calls_enabled: true");
    let script = golden.header("script");
    let model = Scripted::start(script.clone()).await;
    let case = |model: &Scripted, at| {
        Case::text(&text)
            .env("STUB_URL", &model.url)
            .input(golden.header("input"))
            .python(Counted::echo() as _)
            .clock(Arc::new(At(at)))
    };
    let first = case(&model, 0);
    assert_eq!(first.outcome().await, Outcome::Resting(Timestamp(3_600_000)));
    assert_eq!(model.requests().len(), 3, "the model waits for its tools");
    let waits = |name: &str| {
        let ended = first.events().into_iter().filter_map(|logged| match logged.body {
            EventBody::AgentToolCallCompleted { call, .. } if call.iteration == 3 => Some(call.tool.name),
            _ => None,
        });
        ended.filter(|ended| ended == name).count()
    };
    assert_eq!((waits("Price"), waits("Parts")), (1, 0), "the other call was made in the meantime");
    let rest: Vec<Value> = script.as_array().expect("a script")[3..].to_vec();
    let model = Scripted::start(rest.into()).await;
    let second = case(&model, 3600).journal(first.events());
    let Outcome::Completed(output) = second.outcome().await else { panic!("it waits again") };
    assert_eq!(((*output).clone(), model.requests().len()), (json!({"answer": "6"}), 1));
}

/// The journal records each message once: twice the loops, twice the journal.
#[tokio::test]
async fn the_journal_grows_linearly_with_the_loops() {
    let golden = Golden::read("fc_sequential");
    let size = async |loops: usize| {
        let call = |n: usize| {
            let arguments = json!({"thought": "x".repeat(200), "n": n}).to_string();
            json!({"tool_calls": [{"id": format!("call_{n}"), "type": "function",
                "function": {"name": "Sum-Tool", "arguments": arguments}}]})
        };
        let mut script: Vec<Value> = (0..loops).map(call).collect();
        let answer = json!({"thought": "", "answer": "10"}).to_string();
        script.push(json!({"tool_calls": [{"id": "last", "type": "function",
            "function": {"name": "provide_final_answer", "arguments": answer}}]}));
        let model = Scripted::start(script.into()).await;
        let text = golden.text.replace("max_loops: 8", "max_loops: 60");
        let case = Case::text(&text).env("STUB_URL", &model.url).input(golden.header("input"));
        let case = case.python(Counted::echo() as _);
        assert_eq!(case.run().await["status"], "success");
        case.events().iter().map(|logged| json!(logged).to_string().len()).sum::<usize>()
    };
    let (ten, twenty, forty) = (size(10).await, size(20).await, size(40).await);
    let (first, second) = (twenty - ten, forty - twenty);
    assert!(second < first * 22 / 10, "{ten}, {twenty}, {forty}");
}

/// A conversation is remembered in the next run of the same user and session, and in no other run.
#[tokio::test]
async fn memory_is_kept_per_user_and_session() {
    let text = r#"
nodes:
  in1: {type: dynamiq.nodes.utils.Input}
  agent:
    type: dynamiq.nodes.agents.Agent
    llm: {type: dynamiq.nodes.llms.OpenAI, model: gpt-4o-mini, connection: {type: dynamiq.connections.OpenAI, api_key: none, url: "${oc.env:STUB_URL}"}}
    memory: {backend: {type: dynamiq.memory.backends.InMemory}, save_mode: SAVE}
    memory_limit: 4
    depends: [{node: in1}]
    input_transformer: {selector: {input: $.in1.output.text, user_id: $.in1.output.user, session_id: $.in1.output.session}}
flows: {f: {nodes: [in1, agent]}}
workflows: {w: {flow: f}}
"#;
    for (mode, kept) in [("input_output", "first answer"), ("full", "Thought: t\nAnswer: first answer")] {
        let text = text.replace("SAVE", mode);
        let store: Arc<dyn MemoryStore> = Arc::new(ProcessMemory::default());
        let run = async |number: u128, user: &str, answer: &str| {
            let model = Scripted::start(json!([format!("Thought: t\nAnswer: {answer}")])).await;
            let input = json!({"text": format!("question {number}"), "user": user, "session": "s"});
            let case = Case::text(&text).env("STUB_URL", &model.url).input(input).id(number);
            let engine = case.engine();
            engine.remember_in(Arc::clone(&store));
            let results = engine.results(&support::app(&text), &case.context()).await.expect("it loads");
            assert_eq!(results.output["agent"]["output"]["content"], answer);
            let mut messages = model.requests().remove(0)["messages"].take();
            messages.as_array_mut().expect("messages").retain(|message| message["role"] != "system");
            messages
        };
        run(1, "ann", "first answer").await;
        let remembered = run(2, "ann", "second answer").await;
        assert_eq!(
            remembered,
            json!([
                {"role": "user", "content": "question 1"},
                {"role": "assistant", "content": kept},
                {"role": "user", "content": "question 2"},
            ])
        );
        assert_eq!(run(3, "bob", "x").await, json!([{"role": "user", "content": "question 3"}]));
        run(4, "ann", "third answer").await;
        let newest = run(5, "ann", "fourth answer").await;
        assert_eq!(newest.as_array().expect("messages").len(), 5, "four are remembered");
        assert_eq!(newest[0]["content"], "question 2");
    }
}

/// A user or session that is named by the input, or by a caller without a key, gives no access to that user's memory.
#[tokio::test]
async fn only_a_caller_with_a_key_selects_the_memory() {
    const RANDOM: u128 = 0x1f0c6b1e_3a7d_4c58_9a43_6a1f0a1e0009;
    const OTHER: u128 = 0x2f0c6b1e_3a7d_4c58_9a43_6a1f0a1e0009;
    const COUNTED: u128 = 9;
    let text = r#"
nodes:
  agent:
    type: dynamiq.nodes.agents.Agent
    llm: {type: dynamiq.nodes.llms.OpenAI, model: gpt-4o-mini, connection: {type: dynamiq.connections.OpenAI, api_key: none, url: "${oc.env:STUB_URL}"}}
    memory: {backend: {type: dynamiq.memory.backends.InMemory}}
    input_transformer: {selector: {input: $.text, user_id: $.user, session_id: $.session}}
flows: {f: {nodes: [agent]}}
workflows: {w: {flow: f}}
"#;
    let store: Arc<dyn MemoryStore> = Arc::new(ProcessMemory::default());
    let number = std::cell::Cell::new(0_u128);
    // The number of messages remembered in a run with this origin, user and session, whose input names others.
    let run = async |origin: Origin, user: Option<&'static str>, session: Option<u128>, input: Value| {
        number.set(number.get() + 1);
        let model = Scripted::start(json!(["Thought: t\nAnswer: x"])).await;
        let case = Case::text(text).env("STUB_URL", &model.url).input(input).id(number.get());
        let case = case.by(move |new| {
            new.origin = origin;
            new.user_id = user.map(str::to_owned);
            new.session_id = session.map(uuid::Uuid::from_u128);
        });
        let engine = case.engine();
        engine.remember_in(Arc::clone(&store));
        engine.results(&support::app(text), &case.context()).await.expect("it loads");
        let messages = model.requests().remove(0)["messages"].take();
        messages.as_array().expect("messages").iter().filter(|message| message["role"] == "assistant").count()
    };
    let plain = || json!({"text": "q"});
    let as_ann = || json!({"text": "q", "user": "ann"});
    assert_eq!(run(Origin::Key, Some("ann"), None, plain()).await, 0);
    assert_eq!(run(Origin::Key, Some("ann"), None, json!({"text": "q", "user": "bob"})).await, 1, "ann's");
    assert_eq!(run(Origin::Key, Some("bob"), None, as_ann()).await, 0, "the run names its user");
    assert_eq!(run(Origin::Key, Some("eve"), Some(RANDOM), as_ann()).await, 0);
    assert_eq!(
        run(Origin::Key, None, Some(OTHER), as_ann()).await,
        0,
        "nor does it add to what the run says"
    );
    assert_eq!(run(Origin::Key, None, None, as_ann()).await, 2, "where the run says nothing, its input may");
    for origin in [Origin::Anonymous, Origin::RetriedAnonymous] {
        assert_eq!(run(origin, Some("ann"), None, plain()).await, 0, "{origin:?}");
        assert_eq!(run(origin, None, None, as_ann()).await, 0, "{origin:?}");
        let session = json!({"text": "q", "session": uuid::Uuid::from_u128(OTHER).to_string()});
        assert_eq!(run(origin, None, None, session).await, 0, "{origin:?}");
    }
    assert_eq!(
        run(Origin::Anonymous, Some("ann"), Some(OTHER), plain()).await,
        0,
        "apart from callers with a key"
    );
    assert_eq!(run(Origin::Anonymous, None, Some(OTHER), plain()).await, 1, "by the session alone");
    assert_eq!(run(Origin::Anonymous, Some("bob"), Some(RANDOM), plain()).await, 0);
    let as_them = json!({"text": "q", "session": format!("anonymous:{}", uuid::Uuid::from_u128(OTHER))});
    assert_eq!(run(Origin::Key, None, None, as_them).await, 0);
    for _ in 0..2 {
        assert_eq!(run(Origin::Anonymous, None, Some(COUNTED), plain()).await, 0, "no secret, no memory");
    }
    assert_eq!(run(Origin::Key, Some("ann"), None, plain()).await, 3, "no other run has added to it");
}

/// A question to a person does not block the other calls. After the answer, calls that were made before are not
/// repeated.
#[tokio::test]
async fn a_question_blocks_no_other_calls() {
    let golden = Golden::read("fc_parallel");
    let ask = "      - {id: ask, type: dynamiq.nodes.tools.HumanFeedbackTool, name: ask, is_parallel_execution_allowed: true}\n";
    let text = golden.text.replace("    tools:\n", &format!("    tools:\n{ask}"));
    let script = json!([
        {"tool_calls": [
            {"name": "ask", "arguments": {"thought": "", "action": "ask", "input": "How much?"}},
            {"name": "echo", "arguments": {"thought": "", "x": 1}},
        ]},
        {"tool_calls": [{"name": "provide_final_answer", "arguments": {"thought": "", "answer": "done"}}]},
    ]);
    let model = Scripted::start(script).await;
    let python = Counted::echo();
    let case = Case::text(&text).env("STUB_URL", &model.url).input(golden.header("input"));
    let results = case
        .python(Arc::clone(&python) as _)
        .run_with(&json!({"agent/loop/1/tool/0/ask": {"content": "Ten."}}))
        .await;
    assert_eq!(results["output"]["agent"]["output"]["content"], "done", "{results}");
    assert_eq!(python.count(), 1, "the other call went on, once");
    let requests = model.requests();
    assert_eq!(requests.len(), 2);
    let results: Vec<&Value> = requests[1]["messages"]
        .as_array()
        .expect("messages")
        .iter()
        .filter(|message| message["role"] == "tool")
        .map(|message| &message["content"])
        .collect();
    assert_eq!(results, ["Ten.", "{'x': 1}"]);
}

/// Several calls run concurrently if both the agent and the tools allow it.
#[tokio::test]
async fn calls_run_concurrently_where_allowed() {
    let golden = Golden::read("fc_parallel");
    let model = Scripted::start(golden.header("script")).await;
    let python = Counted::waiting_for(2);
    let case = golden.case(&model).python(Arc::clone(&python) as _);
    // `Sum Tool` and `echo` may run concurrently; `fail` runs after them.
    assert_eq!(case.run().await["status"], "success");
    assert_eq!(python.most(), 2);
}

/// An agent uploads its own files, by their paths.
#[tokio::test]
async fn an_agent_uploads_its_files() {
    let text = r#"
nodes:
  in1: {type: dynamiq.nodes.utils.Input}
  agent:
    type: dynamiq.nodes.agents.Agent
    llm: {type: dynamiq.nodes.llms.OpenAI, model: gpt-4o-mini, connection: {type: dynamiq.connections.OpenAI, api_key: none, url: "${oc.env:STUB_URL}"}}
    tools:
      - {type: dynamiq.nodes.tools.HttpApiCall, name: upload, connection: {type: dynamiq.connections.Http, method: POST, url: "${oc.env:UPLOAD_URL}"}}
    depends: [{node: in1}]
    input_transformer: {selector: {input: $.in1.output.text, files: $.in1.output.files}}
flows: {f: {nodes: [in1, agent]}}
workflows: {w: {flow: f}}
"#;
    let call = r#"{"files": {"doc": "a.txt", "raw": "b.bin"}}"#;
    let model = Scripted::start(json!([
        format!("Thought: t\nAction: upload\nAction Input: {call}"),
        "Thought: d\nAnswer: done",
    ]))
    .await;
    let server = Provider::start(vec![Answer::json(&json!({"stored": 2}))]).await;
    let results = Case::text(text)
        .env("STUB_URL", &model.url)
        .env("UPLOAD_URL", &server.url)
        .file("a.txt", "hello")
        .file("b.bin", vec![1_u8, 0, 2])
        .input(json!({"text": "upload them", "files": ["a.txt", "b.bin"]}))
        .run()
        .await;
    assert_eq!(results["output"]["agent"]["output"]["content"], "done");
    let body = server.received()[0].body.as_str().expect("a form").to_owned();
    assert!(body.contains("name=\"doc\"; filename=\"doc\"\r\n\r\nhello\r\n"), "{body}");
    assert!(body.contains("name=\"raw\"; filename=\"raw\"\r\n\r\n\u{1}\0\u{2}\r\n"), "{body}");
    // The model sees the path that it wrote, instead of the file.
    let shown = model.requests()[1]["messages"].to_string();
    assert!(shown.contains("stored") && !shown.contains("AQAC"), "{shown}");
}
