//! What all responses have in common.

use crate::world::World;
use axum::body::Body;
use http::{HeaderValue, Request};
use runyard_http::Config;
use serde_json::json;

#[tokio::test]
async fn a_valid_request_id_is_kept() {
    let world = World::new();
    let long = "x".repeat(128);
    for (given, kept) in [
        ("a-1", true),
        (&*long, true),
        ("a b", false),
        ("", false),
        (&*format!("{long}x"), false),
        ("é", false),
    ] {
        for path in ["/healthz", "/nowhere"] {
            let header = HeaderValue::from_bytes(given.as_bytes()).unwrap();
            let request = Request::get(path).header("x-request-id", header).body(Body::empty()).unwrap();
            let id = world.send(request).await.header("x-request-id").to_owned();
            assert_eq!(id == given, kept, "{given:?}");
            assert!(kept || id.parse::<uuid::Uuid>().is_ok());
        }
    }
}

#[tokio::test]
async fn unknown_routes_are_404_and_unsupported_methods_405() {
    let world = World::new();
    for path in ["/", "/v1", "/v1/runs/", "/v1/runs/x/again", "/v2/runs", "//v1/runs", "/v1/runs/x/stream/y"]
    {
        assert_eq!(world.get(path).await.details(), ["path"], "{path}");
    }
    for (method, path, allow) in [
        ("DELETE", "/v1/runs", "POST,GET,HEAD"),
        ("PUT", "/v1/runs/x", "GET,HEAD"),
        ("GET", "/v1/runs/x/cancel", "POST"),
        ("GET", "/v1/runs/x/retry", "POST"),
        ("OPTIONS", "/v1/files", "POST"),
        ("BREW", "/healthz", "GET,HEAD"),
    ] {
        let answer = world.send(world.request(method, path).body(Body::empty()).unwrap()).await;
        assert_eq!((answer.status.as_u16(), answer.header("allow")), (405, allow), "{method} {path}");
    }
}

#[tokio::test]
async fn head_is_get_without_a_body() {
    let world = World::new();
    let id = world.run(json!([1])).await["id"].as_str().unwrap().to_owned();
    for path in ["/healthz", "/openapi.json", "/v1/runs", &format!("/v1/runs/{id}"), "/v1/runs/x", "/nowhere"]
    {
        let get = world.get(path).await;
        let head = world.send(world.request("HEAD", path).body(Body::empty()).unwrap()).await;
        assert_eq!((head.status, head.body.len()), (get.status, 0), "{path}");
        assert_eq!(head.header("content-type"), get.header("content-type"));
    }
}

#[tokio::test]
async fn the_cause_of_a_5xx_is_not_sent() {
    let world = World::new();
    for (host, status, retry) in [("broken.test", 500, ""), ("slow.test", 503, "1"), ("panic.test", 500, "")]
    {
        let request = Request::get("/v1/runs").header("host", host).body(Body::empty()).unwrap();
        let answer = world.send(request).await;
        assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (status, retry));
        assert!(answer.details().is_empty() && !format!("{answer:?}").contains("secrets"));
        assert!(!format!("{answer:?}").contains("10.0.0.1"));
    }
}

#[tokio::test]
async fn pages_of_listed_origins_are_allowed() {
    let config =
        Config { cors_origins: vec![HeaderValue::from_static("https://a.example")], ..Config::default() };
    for (world, listed) in [(World::with(config), true), (World::new(), false)] {
        let ask = async |method: &str, origin: &str| {
            let request = world.request(method, "/v1/runs").header("origin", origin);
            world
                .send(request.header("access-control-request-method", "POST").body(Body::empty()).unwrap())
                .await
        };
        let allowed = "access-control-allow-origin";
        let preflight = ask("OPTIONS", "https://a.example").await;
        assert_eq!(preflight.status.as_u16(), if listed { 204 } else { 405 });
        assert_eq!(preflight.header(allowed), if listed { "https://a.example" } else { "" });
        assert_eq!(preflight.header("access-control-allow-headers").contains("authorization"), listed);
        let get = ask("GET", "https://a.example").await;
        assert_eq!(get.header(allowed), if listed { "https://a.example" } else { "" });
        assert_eq!(get.header("access-control-expose-headers").contains("x-request-id"), listed);
        assert_eq!(ask("OPTIONS", "https://b.example").await.header(allowed), "");
        assert_eq!(ask("GET", "https://b.example").await.header(allowed), "");
    }
}
