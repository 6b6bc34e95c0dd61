//! Compares every case that runs natively with the reference's output.

mod support;

use serde_json::{Value, json};
use support::{Case, golden, scripted::Scripted};

/// Compares status, error and every node's result. In the reference, the input of a skipped node depends on timing.
fn assert_same(name: &str, ours: &Value) {
    let theirs = golden(name);
    assert_eq!(ours["status"], theirs["status"], "{name}: status");
    assert_eq!(ours["error"]["type"], theirs["error"]["type"], "{name}: error");
    assert_eq!(ours["error"]["message"], theirs["error"]["message"], "{name}: error");
    assert_eq!(ours["error"]["failed_nodes"], theirs["error"]["failed_nodes"], "{name}: error");
    let (ours, theirs) = (&ours["output"], &theirs["output"]);
    let ids = |results: &Value| {
        let mut ids: Vec<String> = results.as_object().expect("results by node").keys().cloned().collect();
        ids.sort();
        ids
    };
    assert_eq!(ids(ours), ids(theirs), "{name}: nodes");
    for id in ids(theirs) {
        let (ours, theirs) = (&ours[&id], &theirs[&id]);
        assert_eq!(ours["status"], theirs["status"], "{name}: status of {id}");
        assert_eq!(ours["error"], theirs["error"], "{name}: error of {id}");
        if theirs["status"] != "skip" {
            assert_eq!(untimed(&ours["output"]), untimed(&theirs["output"]), "{name}: output of {id}");
            assert_eq!(untimed(&ours["input"]), untimed(&theirs["input"]), "{name}: input of {id}");
        }
    }
}

/// Removes values that depend on timing: a node without a transformer sees all nodes that have ended.
fn untimed(value: &Value) -> Value {
    match value {
        Value::Object(map) => map
            .iter()
            .filter(|(key, _)| !matches!(key.as_str(), "cond" | "d"))
            .map(|(key, value)| (key.clone(), untimed(value)))
            .collect(),
        other => other.clone(),
    }
}

#[tokio::test]
async fn passes_match() {
    assert_same("passes", &Case::new("passes").input(json!({"q": "hi"})).run().await);
}

#[tokio::test]
async fn five_matches() {
    assert_same("five", &Case::new("five").input(json!({"q": "hi"})).run().await);
}

#[tokio::test]
async fn choice_matches() {
    assert_same("choice", &Case::new("choice").input(json!({"n": 7, "tag": "abc"})).run().await);
}

#[tokio::test]
async fn errors_match() {
    assert_same("errors", &Case::new("errors").run().await);
}

fn question() -> Value {
    json!({"question": "why?", "topic": "cats", "items": ["a", "b"]})
}

#[tokio::test]
async fn llm_matches() {
    let model = Scripted::start(json!(["Because."])).await;
    let case = Case::new("llm").env("STUB_URL", &model.url).input(question());
    assert_same("llm", &case.run().await);
    let mut requests = model.requests();
    // The reference streams only if a client listens; here, a client may always connect.
    for request in &mut requests {
        request.as_object_mut().expect("a request").retain(|key, _| !key.starts_with("stream"));
    }
    assert_eq!(Value::from(requests), golden("llm")["llm_requests"]);
}

#[tokio::test]
async fn llm_stream_matches() {
    let model = Scripted::start(json!(["Because it is so."])).await;
    let case = Case::new("llm").env("STUB_URL", &model.url).input(question());
    assert_same("llm_stream", &case.run().await);
    let theirs: String = golden("llm_stream")["events"]
        .as_array()
        .expect("events")
        .iter()
        .filter_map(|event| event["data"]["choices"][0]["delta"]["content"].as_str())
        .collect();
    let pieces: Vec<String> = case.events().into_iter().filter_map(support::delta).collect();
    assert_eq!(pieces.concat(), theirs);
    assert!(pieces.len() > 1, "the answer came in one piece");
}

#[tokio::test]
async fn map_matches() {
    let script = json!([
        {"match": "item 1", "content": "r1"},
        {"match": "item 3", "content": "r3"},
        {"match": "item 2", "content": "r2"},
    ]);
    let model = Scripted::start(script).await;
    let case = Case::new("map").env("STUB_URL", &model.url);
    assert_same("map", &case.input(json!({"items": [{"x": 1}, {"x": 3}, {"x": 2}]})).run().await);
}

#[tokio::test]
async fn hitl_matches() {
    let script = json!([
        "Thought: ask\nAction: Ask\nAction Input: {\"action\": \"ask\", \"input\": \"Proceed?\"}",
        "Thought: ok\nAnswer: user said yes",
    ]);
    let model = Scripted::start(script).await;
    let mut case = Case::new("hitl").env("STUB_URL", &model.url).input(json!({"input": "hello"}));
    let people = json!({
        "agent/loop/1/tool/0/hf": {"content": "yes"},
        "gated": {"is_approved": true, "data": {"input": "edited"}},
    });
    assert_same("hitl", &case.run_with(&people).await);
    assert_eq!(case.questions(), ["Proceed?", "Approve ? hello"]);
    assert_eq!(model.requests().len(), 2, "no call to the model is repeated");
}

/// The cases under `tests/dynamiq/more`, with input, script and people's answers in their first lines. Error messages
/// may differ.
#[tokio::test]
async fn more_cases_match() {
    let folder = support::shared("dynamiq/more");
    let mut names: Vec<String> = std::fs::read_dir(&folder)
        .expect("cases")
        .filter_map(|entry| {
            entry.expect("a file").file_name().to_str()?.strip_suffix(".yaml").map(str::to_owned)
        })
        .collect();
    names.sort();
    assert!(names.len() >= 14, "{names:?}");
    let mut different = Vec::new();
    for name in names {
        let text = std::fs::read_to_string(folder.join(format!("{name}.yaml"))).expect("case");
        let expected = std::fs::read_to_string(folder.join(format!("{name}.json"))).expect("golden");
        let header = |key: &str| -> Option<Value> {
            let line = text.lines().find_map(|line| line.strip_prefix(&format!("# {key}: ")))?;
            Some(serde_json::from_str(line).expect("JSON"))
        };
        let model = Scripted::start(header("script").expect("a script")).await;
        let mut case = Case::text(&text)
            .env("STUB_URL", &model.url)
            .env("STUB_ROOT", &model.root)
            .input(header("input").expect("an input"));
        for file in header("files").as_ref().and_then(Value::as_array).into_iter().flatten() {
            let file = file.as_str().expect("a name");
            let content = std::fs::read(support::shared(&format!("dynamiq/files/{file}"))).expect("a file");
            case = case.file(file, content);
        }
        let files = header("files").unwrap_or_default();
        let people = header("people").unwrap_or_default();
        let mut ours = case.run_with(&people).await;
        ours["llm_requests"] = model.requests().into();
        let mut theirs: Value = serde_json::from_str(&expected).expect("JSON");
        for results in [&mut ours, &mut theirs] {
            comparable(results, &files);
        }
        if ours != theirs {
            let lines = |value: &Value| serde_json::to_string_pretty(value).expect("JSON");
            let (ours, theirs) = (lines(&ours), lines(&theirs));
            let known: std::collections::BTreeSet<&str> = theirs.lines().collect();
            let extra: Vec<&str> = ours.lines().filter(|line| !known.contains(line)).collect();
            different.push(format!("{name}: {extra:#?}\n ours: {ours}\n theirs: {theirs}"));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n\n"));
}

/// Removes what may differ: error messages, inputs of skipped nodes, the notation of files, and random ids.
fn comparable(results: &mut Value, files: &Value) {
    results["error"] = results["error"]["type"].take();
    for (_, result) in results["output"].as_object_mut().expect("results") {
        if let Some(error) = result.get_mut("error") {
            *error = error["type"].take();
        }
        if result["status"] == "skip" {
            result["input"] = Value::Null;
        }
        for key in ["file", "value"] {
            let is_name = |value: &Value| files.as_array().is_some_and(|files| files.contains(value));
            if let Some(value) = result["input"].get_mut(key)
                && (is_name(value) || is_name(&value["name"]))
            {
                *value = Value::Null;
            }
        }
        // The reference adds vectors and scores to documents in place, so that its inputs show them too.
        let documents = result.pointer_mut("/input/documents").and_then(Value::as_array_mut);
        for document in documents.into_iter().flatten().filter(|document| document.is_object()) {
            document["embedding"] = Value::Null;
            document["score"] = Value::Null;
        }
    }
    // Sorted, because `serde_json` ignores the order of maps when it compares, but shows it.
    *results = support::sorted(results);
    number_ids(results, &mut Vec::new());
}

/// Replaces random ids, which have 32 hexadecimal digits, by the order of their first appearance.
fn number_ids(value: &mut Value, seen: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            if let Some(files) = map.get_mut("files").filter(|files| files.is_array()) {
                *files = Value::Null;
            }
            map.values_mut().for_each(|value| number_ids(value, seen));
        }
        Value::Array(items) => items.iter_mut().for_each(|value| number_ids(value, seen)),
        Value::String(text) => {
            let id = text.as_str();
            if id.len() == 32 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
                let index = seen.iter().position(|known| known == id).unwrap_or_else(|| {
                    seen.push(id.to_owned());
                    seen.len() - 1
                });
                *text = format!("id {index}");
            }
        }
        _ => {}
    }
}
