//! When a request is answered with 401, 403 or 404.

use crate::world::{World, project_scope};
use axum::body::Body;
use http::Request;
use runyard_runs::{OrganizationId, Scope};
use serde_json::json;
use std::time::Duration;
use uuid::Uuid;

/// Returns the status, and the keys of the error's details.
async fn ask(world: &World, host: &str, key: Option<&str>, path: &str) -> (u16, String) {
    let mut request = Request::builder().uri(path).header("host", host);
    if let Some(key) = key {
        request = request.header("authorization", key);
    }
    let answer = world.send(request.body(Body::empty()).unwrap()).await;
    if answer.status == 401 {
        assert_eq!(answer.header("www-authenticate"), "Bearer");
    }
    let details = if answer.status.is_success() { String::new() } else { answer.details().join(" ") };
    (answer.status.as_u16(), details)
}

#[tokio::test]
async fn an_invalid_key_is_401() {
    let world = World::new();
    let valid = format!("Bearer {}", world.key);
    let scope = project_scope(2);
    let revoked = world.new_key(scope, |key| key.revoked_at = Some(key.created_at));
    let expires = world.now() + Duration::from_mins(1);
    let expiring = world.new_key(scope, |key| key.expires_at = Some(expires));
    let unknown = world.key.replace(&world.key[world.key.len() - 4..], "0000");
    let other_id = format!("ry_0000000000000000_{}", world.key.rsplit('_').next().unwrap());
    assert_eq!(ask(&world, "private.test", Some(&valid), "/v1/runs").await, (200, String::new()));
    assert_eq!(ask(&world, "private.test", Some(&format!("bearer  {expiring}")), "/v1/runs").await.0, 200);
    world.clock.forward(Duration::from_mins(2));
    for bad in [
        None,
        Some(String::new()),
        Some("Bearer".to_owned()),
        Some("Bearer ".to_owned()),
        Some(world.key.clone()),
        Some(format!("Basic {}", world.key)),
        Some(format!("Bearer x{}", world.key)),
        Some(format!("Bearer {} x", world.key)),
        Some(format!("Bearer {unknown}")),
        Some(format!("Bearer {other_id}")),
        Some(format!("Bearer {revoked}")),
        Some(format!("Bearer {expiring}")),
    ] {
        let answer = ask(&world, "private.test", bad.as_deref(), "/v1/runs").await;
        assert_eq!(answer, (401, "Authorization".to_owned()), "{bad:?}");
    }
    let twice = world.request("GET", "/v1/runs").header("authorization", &valid).body(Body::empty()).unwrap();
    assert_eq!(world.send(twice).await.status, 401);
}

#[tokio::test]
async fn a_key_works_for_the_apps_in_its_scope() {
    let world = World::new();
    let other = Scope { organization: OrganizationId(Uuid::from_u128(9)), project: None };
    for (key, host, status) in [
        (world.key.clone(), "private.test", 200),
        (world.key.clone(), "Public.Test:8080", 200),
        (world.key.clone(), "foreign.test", 403),
        (world.new_key(project_scope(2), |_| {}), "private.test", 200),
        (world.new_key(project_scope(3), |_| {}), "private.test", 403),
        (world.new_key(other, |_| {}), "private.test", 403),
        (world.new_key(other, |_| {}), "public.test", 403),
        (world.key.clone(), "nowhere.test", 404),
    ] {
        let (found, details) = ask(&world, host, Some(&format!("Bearer {key}")), "/v1/runs").await;
        assert_eq!(found, status, "{host} {details}");
        assert_eq!(details == "Host", status == 404);
    }
}

#[tokio::test]
async fn a_run_is_visible_only_in_its_app() {
    let world = World::new();
    let id = world.run(json!([1])).await["id"].as_str().unwrap().to_owned();
    let key = format!("Bearer {}", world.key);
    let none = Uuid::nil().to_string();
    for path in ["", "/events", "/stream"] {
        let of = |run: &str| format!("/v1/runs/{run}{path}");
        assert_eq!(ask(&world, "private.test", Some(&key), &of(&id)).await.0, 200);
        for (host, run) in [
            ("public.test", &*id),
            ("private.test", &none),
            ("private.test", "last"),
            ("private.test", "%ff"),
        ] {
            let answer = ask(&world, host, Some(&key), &of(run)).await;
            assert_eq!(answer, (404, "run_id".to_owned()), "{host} {run}{path}");
        }
        assert_eq!(ask(&world, "private.test", None, &of(&id)).await.0, 401);
        assert_eq!(
            ask(&world, "private.test", None, &of("last")).await.0,
            401,
            "without a key, an invalid id is 401 as well"
        );
    }
}

#[tokio::test]
async fn a_public_app_needs_no_key() {
    let world = World::new();
    let post = |path: &str, body: serde_json::Value| {
        let request = Request::builder().method("POST").uri(path).header("host", "public.test");
        request.header("content-type", "application/json").body(Body::from(body.to_string())).unwrap()
    };
    let created = world.send(post("/v1/runs", json!({ "input": { "do": [{ "ask": "?" }] } }))).await.json();
    let id = created["data"]["id"].as_str().unwrap();
    let request = &created["data"]["input_requests"][0]["id"];
    for path in ["", "/events"] {
        assert_eq!(ask(&world, "public.test", None, &format!("/v1/runs/{id}{path}")).await.0, 200);
        let bad = ask(&world, "public.test", Some("Bearer nonsense"), &format!("/v1/runs/{id}{path}")).await;
        assert_eq!(bad.0, 401, "an invalid header is refused even if none is needed");
    }
    let answer = json!({ "type": "human_feedback", "data": { "request_id": request, "feedback": "yes" } });
    assert_eq!(world.send(post(&format!("/v1/runs/{id}/input"), answer)).await.status, 200);
    assert_eq!(world.send(post(&format!("/v1/runs/{id}/cancel"), json!({}))).await.status, 200);
    assert_eq!(ask(&world, "public.test", None, &format!("/v1/runs/{id}/stream")).await.0, 200);
    assert_eq!(ask(&world, "public.test", None, "/v1/runs").await.0, 401);
    assert_eq!(world.send(post("/v1/files", json!({}))).await.status, 401);
}
