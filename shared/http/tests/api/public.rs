//! What callers without a key can do on a public app; and when callers lose access.

use crate::world::World;
use axum::body::Body;
use http::Request;
use http_body_util::BodyExt;
use runyard_http::Config;
use runyard_runs::App;
use serde_json::{Value, json};
use std::time::Duration;

fn doing(commands: &Value) -> Value {
    json!({ "input": { "do": commands } })
}

/// Returns the path of a run, and the id of its question.
fn asked(created: &Value) -> (String, Value) {
    let run = &created["data"];
    (format!("/v1/runs/{}", run["id"].as_str().unwrap()), run["input_requests"][0]["id"].clone())
}

fn feedback(request: &Value) -> Value {
    json!({ "type": "human_feedback", "data": { "request_id": request, "feedback": "yes" } })
}

fn approval(request: &Value) -> Value {
    json!({ "type": "approval", "data": { "request_id": request, "approved": true } })
}

#[tokio::test]
async fn without_a_key_only_runs_created_without_one_can_be_changed() {
    let world = World::new();
    let key = world.key.clone();
    let ask = doing(&json!([{ "ask": "?" }]));
    let (anonymous, question) = asked(&world.anonymous("POST", "/v1/runs", &ask).await.json());
    let (holders, holders_question) = asked(&world.with_key(&key, "POST", "/v1/runs", &ask).await.json());
    for (path, body) in [
        (format!("{holders}/cancel"), json!({})),
        (format!("{holders}/input"), feedback(&holders_question)),
        (format!("{holders}/retry"), json!({})),
        (format!("{anonymous}/retry"), json!({})),
    ] {
        let refused = world.anonymous("POST", &path, &body).await;
        assert_eq!(
            (refused.status.as_u16(), refused.details()),
            (401, vec!["Authorization".to_owned()]),
            "{path}"
        );
        let why = refused.json()["error"]["details"]["Authorization"].as_str().unwrap().to_owned();
        assert!(why.starts_with("is missing: without an access key"), "{why}");
    }
    assert_eq!(world.anonymous("GET", &holders, &json!({})).await.json()["data"]["status"], "awaiting_input");
    let answered = world.anonymous("POST", &format!("{anonymous}/input"), &feedback(&question)).await;
    assert_eq!(answered.status, 200);
    assert_eq!(world.anonymous("POST", &format!("{anonymous}/cancel"), &json!({})).await.status, 200);
    let mut with_file = ask.clone();
    with_file["file_ids"] = json!(["0190f3c2-7a4e-7c51-9d0b-3a1f5e8c2b77"]);
    let refused = world.anonymous("POST", "/v1/runs", &with_file).await;
    assert_eq!(
        (refused.status.as_u16(), refused.details().join(" ")),
        (401, "Authorization file_ids".to_owned())
    );
    assert_eq!(
        world.with_key(&key, "POST", "/v1/runs", &with_file).await.status,
        400,
        "with a key, an unknown file is 400"
    );
    let nowhere = "/v1/runs/0190f3c2-7a4e-7c51-9d0b-3a1f5e8c2b77/cancel";
    assert_eq!(world.anonymous("POST", nowhere, &json!({})).await.status, 404);

    // A key works for both, and a run that it retries belongs to key holders.
    let retried = world.with_key(&key, "POST", &format!("{anonymous}/retry"), &json!({})).await;
    assert_eq!(retried.status, 202);
    let retried = format!("/v1/runs/{}", retried.json()["data"]["id"].as_str().unwrap());
    assert_eq!(world.anonymous("POST", &format!("{retried}/cancel"), &json!({})).await.status, 401);
    assert_eq!(world.with_key(&key, "POST", &format!("{retried}/cancel"), &json!({})).await.status, 200);
    assert_eq!(world.with_key(&key, "POST", &format!("{holders}/cancel"), &json!({})).await.status, 200);
}

#[tokio::test]
async fn an_approval_needs_a_key() {
    let world = World::new();
    let key = world.key.clone();
    let body = doing(&json!([{ "approve": { "amount": 10_000 } }]));
    for by in [None, Some(&key)] {
        let created = match by {
            None => world.anonymous("POST", "/v1/runs", &body).await,
            Some(key) => world.with_key(key, "POST", "/v1/runs", &body).await,
        };
        let (run, request) = asked(&created.json());
        for answer in [
            approval(&request),
            json!({ "type": "approval", "data": { "request_id": request, "approved": false } }),
        ] {
            assert_eq!(
                world.anonymous("POST", &format!("{run}/input"), &answer).await.status,
                401,
                "{answer}"
            );
        }
        let wrong = world.anonymous("POST", &format!("{run}/input"), &feedback(&request)).await;
        assert_eq!(wrong.status, 401, "another type of answer is refused as well");
        let approved = world.with_key(&key, "POST", &format!("{run}/input"), &approval(&request)).await;
        assert_eq!(approved.status, 200);
    }
}

#[tokio::test]
async fn the_log_records_who_approved_what() {
    let world = World::new();
    let schema = json!({ "properties": { "note": { "type": "string" } } });
    let approve = json!({
        "approve": { "amount": 500, "to": "me" }, "editable": ["amount", "note"], "schema": schema, "accept_pattern": "go",
    });
    let id = world.key.split('_').nth(1).unwrap().to_owned();
    let received = async |data: Value, user: Value| {
        let created = world.run(json!([approve])).await;
        let (run, request) = asked(&json!({ "data": created }));
        let mut body = json!({ "type": "approval", "data": data, "user_id": user });
        body["data"]["request_id"] = request;
        let answer = world.post(&format!("{run}/input"), &body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        world.work_once().await;
        let events = world.get(&format!("{run}/events")).await.json();
        let events = events["data"].as_array().unwrap().clone();
        let mut data =
            events.into_iter().find(|event| event["type"] == "input.received").unwrap()["data"].take();
        assert_eq!(data["type"], "approval_request");
        data.as_object_mut()
            .unwrap()
            .retain(|key, _| !matches!(key.as_str(), "object" | "request_id" | "type"));
        data
    };
    assert_eq!(
        received(json!({ "approved": true, "params": { "amount": 450, "note": "x" } }), json!("u-17")).await,
        json!({
            "approved": true,
            "changes": { "amount": { "from": 500, "to": 450 }, "note": { "to": "x" } },
            "by": { "key": id, "user_id": "u-17" },
        })
    );
    assert_eq!(
        received(json!({ "approved": false, "params": { "amount": 450 } }), json!(null)).await,
        json!({ "approved": false, "by": { "key": id } }),
        "a denied approval has no changes"
    );
    let by = json!({ "key": id });
    assert_eq!(
        received(json!({ "feedback": "go" }), json!(null)).await,
        json!({ "approved": true, "by": by })
    );
    assert_eq!(
        received(json!({ "feedback": "no" }), json!(null)).await,
        json!({ "approved": false, "by": by })
    );
}

/// A caller that repeats a request with its idempotency key gets the run, so without an access key it must be a secret.
#[tokio::test]
async fn callers_without_a_key_do_not_share_runs() {
    let world = World::new();
    let post = async |key: &str, body: &Value| {
        let request = Request::builder().method("POST").uri("/v1/runs").header("host", "public.test");
        let request = request.header("content-type", "application/json").header("idempotency-key", key);
        world.send(request.body(Body::from(body.to_string())).unwrap()).await
    };
    let body = doing(&json!([1]));
    for guessed in
        ["1", "order-17", "0190f3c2-7a4e-7c51-9d0b-3a1f5e8c2b77", "00000000-0000-0000-0000-000000000000"]
    {
        let refused = post(guessed, &body).await;
        assert_eq!(
            (refused.status.as_u16(), refused.details()),
            (400, vec!["Idempotency-Key".to_owned()]),
            "{guessed}"
        );
    }
    let (one, other) = ("1f0c6b1e-3a7d-4c58-9a43-6a1f0a1e0009", "2f0c6b1e-3a7d-4c58-9a43-6a1f0a1e0009");
    let (first, again, another) = (post(one, &body).await, post(one, &body).await, post(other, &body).await);
    assert_eq!((first.status.as_u16(), again.header("idempotency-replayed")), (200, "true"));
    assert_eq!(again.json()["data"]["id"], first.json()["data"]["id"]);
    assert_ne!(another.json()["data"]["id"], first.json()["data"]["id"]);
    assert_eq!(post(one, &doing(&json!([2]))).await.status, 409);
}

/// Takes access away from a caller that is being answered.
async fn take_away(world: &World, what: &str) {
    match what {
        "the key" => world.revoke(&world.key).await,
        "its scope" => world.change("public", |app| {
            let organization = runyard_runs::OrganizationId(uuid::Uuid::from_u128(9));
            Some(App { organization, ..app })
        }),
        "the app" => world.change("public", |_| None),
        "being public" => world.change("public", |app| Some(App { public: false, ..app })),
        "nothing" => {}
        what => unreachable!("{what}"),
    }
}

const CASES: [(&str, bool, u16); 7] = [
    ("the key", true, 401),
    ("its scope", true, 403),
    ("the app", true, 404),
    ("the app", false, 404),
    ("being public", false, 401),
    ("being public", true, 200),
    ("nothing", false, 200),
];

fn request(world: &World, method: &str, path: &str, keyed: bool, body: &Value) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path).header("host", "public.test");
    request = request.header("content-type", "application/json");
    if keyed {
        request = request.header("authorization", format!("Bearer {}", world.key));
    }
    request.body(Body::from(body.to_string())).unwrap()
}

/// Access ends within 30 s. Keys may be cached for 15 s, but not by the store of this test; the check takes the rest.
const CHECK_TIME: Duration = Duration::from_secs(15);

#[tokio::test(start_paused = true)]
async fn a_stream_ends_when_its_caller_loses_access() {
    // A silent stream, and one whose events arrive without a pause.
    let busy: Vec<Value> =
        (0..600).flat_map(|_| [json!({ "say": "x" }), json!({ "wait_ms": 100 })]).collect();
    for (commands, wanted) in [(json!([{ "wait_ms": 60_000 }]), "silent"), (busy.into(), "busy")] {
        for (what, keyed, status) in CASES {
            let world = World::new();
            let mut body = doing(&commands);
            body["stream"] = true.into();
            let response = world.open(request(&world, "POST", "/v1/runs", keyed, &body)).await;
            assert_eq!(response.status(), 200);
            let path = response.headers()["location"].to_str().unwrap().to_owned();
            let begun = tokio::time::Instant::now();
            let (rest, ()) = tokio::join!(response.into_body().collect(), async {
                tokio::time::sleep(Duration::from_secs(5)).await;
                take_away(&world, what).await;
            });
            let rest = String::from_utf8(rest.unwrap().to_bytes().to_vec()).unwrap();
            let took = begun.elapsed().checked_sub(Duration::from_secs(5)).unwrap();
            let keeps_access = status == 200;
            assert_eq!(rest.contains("event: run.completed"), keeps_access, "{wanted}: {what}");
            assert_eq!(took > CHECK_TIME, keeps_access, "{wanted}: {what} was seen after {took:?}");
            let again =
                world.open(request(&world, "GET", &format!("{path}/stream"), keyed, &json!({}))).await;
            assert_eq!(again.status().as_u16(), status, "a client that reconnects gets the error: {what}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_loses_access_does_not_get_the_run() {
    for (background, silence) in [(false, None), (true, None), (false, Some(Duration::from_secs(1)))] {
        for (what, keyed, status) in CASES {
            let world = World::with(Config { sync_silence: silence, ..Config::default() });
            let mut body = doing(&json!([{ "wait_ms": 40_000 }, "secret"]));
            body["background"] = background.into();
            let mut request = request(&world, "POST", "/v1/runs", keyed, &body);
            request.headers_mut().insert("prefer", "wait=60".parse().unwrap());
            let worker = async {
                if background {
                    world.work_once().await;
                }
            };
            let answering = async {
                let response = world.open(request).await;
                let status = response.status().as_u16();
                (status, response.into_body().collect().await.unwrap().to_bytes())
            };
            let ((answered, body), (), ()) = tokio::join!(answering, worker, async {
                tokio::time::sleep(Duration::from_secs(5)).await;
                take_away(&world, what).await;
            });
            let body = String::from_utf8(body.to_vec()).unwrap();
            assert_eq!(body.contains("\"completed\""), status == 200, "{what}: {body}");
            let expected = match (status, background, silence) {
                // The status was sent before.
                (_, false, Some(_)) => 200,
                (200, true, _) => 202,
                (status, ..) => status,
            };
            assert_eq!(answered, expected, "{what}");
            if silence.is_some() && status != 200 {
                assert_eq!(body.trim(), "", "{what}");
            }
        }
    }
}
