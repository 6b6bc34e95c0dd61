//! `POST /v1/runs/{run_id}/input`, `…/cancel` and `…/retry`.

use crate::world::World;
use serde_json::{Value, json};

async fn asked(world: &World) -> (String, Value) {
    let run = world.run(json!([{ "ask": "?" }])).await;
    (format!("/v1/runs/{}", run["id"].as_str().unwrap()), run["input_requests"][0]["id"].clone())
}

#[tokio::test]
async fn an_answer_resumes_the_run() {
    let world = World::new();
    let (run, request) = asked(&world).await;
    let answer = json!({ "type": "human_feedback", "data": { "request_id": request, "feedback": "yes" } });
    let given = world.post(&format!("{run}/input"), &answer).await;
    assert_eq!((given.status.as_u16(), given.json()), (200, json!({ "message": "ok" })));
    let again = world.post(&format!("{run}/input"), &answer).await;
    assert_eq!((again.status.as_u16(), again.details()), (400, vec!["request_id".to_owned()]));
    world.work_once().await;
    let ended = world.get(&run).await.json();
    assert_eq!(
        (&ended["data"]["status"], &ended["data"]["output"]),
        (&json!("completed"), &json!([{ "feedback": "yes" }]))
    );
}

#[tokio::test]
async fn an_invalid_answer_is_refused() {
    let world = World::new();
    let (run, request) = asked(&world).await;
    let unknown = "0190f3c2-7a4e-7c51-9d0b-3a1f5e8c2b77";
    for (body, details) in [
        (json!({}), "data type"),
        (json!({ "type": "x", "data": [] }), "data type"),
        (json!({ "type": "approval", "data": {} }), "approved request_id"),
        (
            json!({ "type": "human_feedback", "data": { "request_id": 1, "feedback": {} } }),
            "feedback request_id",
        ),
        (
            json!({ "type": "human_feedback", "data": { "request_id": unknown, "feedback": "" } }),
            "request_id",
        ),
        (json!({ "type": "approval", "data": { "request_id": request, "approved": true } }), "type"),
    ] {
        let answer = world.post(&format!("{run}/input"), &body).await;
        assert_eq!((answer.status.as_u16(), answer.details().join(" ")), (400, details.to_owned()), "{body}");
    }
    let form = world.request("POST", &format!("{run}/input")).header("content-type", crate::world::MULTIPART);
    assert_eq!(world.send(form.body("x".into()).unwrap()).await.status, 415);
}

#[tokio::test]
async fn a_cancel_ends_a_run_once() {
    let world = World::new();
    let (run, request) = asked(&world).await;
    for _ in 0..2 {
        let answer = world
            .send(world.request("POST", &format!("{run}/cancel")).body("not read".into()).unwrap())
            .await;
        assert_eq!((answer.status.as_u16(), answer.json()), (200, json!({ "message": "canceled" })));
    }
    assert_eq!(world.get(&run).await.json()["data"]["status"], "canceled");
    let answer = json!({ "type": "human_feedback", "data": { "request_id": request, "feedback": "yes" } });
    assert_eq!(world.post(&format!("{run}/input"), &answer).await.details(), ["request_id"]);
    let done = world.run(json!([1])).await;
    let path = format!("/v1/runs/{}", done["id"].as_str().unwrap());
    assert_eq!(world.post(&format!("{path}/cancel"), &json!({})).await.status, 200);
    assert_eq!(world.get(&path).await.json()["data"], done, "a run that has ended does not change");
}

#[tokio::test]
async fn a_retry_is_a_new_run_that_keeps_completed_steps() {
    let world = World::new();
    let failed = world.run(json!([{ "step": "a" }, { "flaky": "b" }])).await;
    let old = format!("/v1/runs/{}", failed["id"].as_str().unwrap());
    let retry = || world.request("POST", &format!("{old}/retry")).header("idempotency-key", "k");
    let answer = world.send(retry().body("not read".into()).unwrap()).await;
    let run = answer.json()["data"].clone();
    assert_eq!((answer.status.as_u16(), &run["status"]), (202, &json!("created")));
    assert_eq!((&run["retry_of"], &run["input"]), (&failed["id"], &failed["input"]));
    let new = answer.header("location").to_owned();
    assert_eq!(new, format!("/v1/runs/{}", run["id"].as_str().unwrap()));
    let again = world.send(retry().body("".into()).unwrap()).await;
    assert_eq!((again.header("location"), again.header("idempotency-replayed")), (new.as_str(), "true"));
    world.work_once().await;
    let ended = world.get(&new).await.json()["data"].clone();
    assert_eq!((&ended["status"], &ended["output"]), (&json!("completed"), &json!(["a", "b"])));
    assert_eq!(world.get(&old).await.json()["data"], failed, "the old run does not change");

    let refused = world.post(&format!("{new}/retry"), &json!({})).await;
    assert_eq!((refused.status.as_u16(), refused.details()), (400, vec!["status".to_owned()]));
    let other = world.run(json!([{ "fail": "no" }])).await;
    let path = format!("/v1/runs/{}/retry", other["id"].as_str().unwrap());
    let reused = world.request("POST", &path).header("idempotency-key", "k");
    assert_eq!(world.send(reused.body("".into()).unwrap()).await.status, 409);
    let unknown = "/v1/runs/0190f3c2-7a4e-7c51-9d0b-3a1f5e8c2b77/retry";
    assert_eq!(world.post(unknown, &json!({})).await.status, 404);
}
