//! `GET /v1/runs`.

use crate::world::World;
use serde_json::json;

#[tokio::test]
async fn runs_are_filtered_and_paged() {
    let world = World::new();
    let session = "0190f3c2-7a4e-7c51-9d0b-3a1f5e8c2b77";
    for user in ["a", "b", "a", "a"] {
        let body = json!({ "input": { "do": [] }, "user_id": user, "session_id": session, "metadata": { "a b": user } });
        assert_eq!(world.post("/v1/runs", &body).await.status, 200);
    }
    world.run(json!([{ "ask": "?" }])).await;
    let count = async |query: &str| {
        let answer = world.get(&format!("/v1/runs?{query}")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["pagination"]["total_count"].as_u64().unwrap()
    };
    assert_eq!(count("").await, 5);
    assert_eq!(count("status=completed&status=awaiting_input&status=completed").await, 5);
    assert_eq!(count("status=paused").await, 0);
    assert_eq!(count("status=awaiting_input").await, 1);
    assert_eq!(count("user_id=a").await, 3);
    assert_eq!(count(&format!("session_id={session}")).await, 4);
    assert_eq!(count("metadata.a+b=b").await, 1);
    assert_eq!(count("metadata.a%20b=b&user_id=a").await, 0);

    let first = world.get("/v1/runs?page_size=2&sort=started_at").await.json();
    let cursor = first["pagination"]["next_cursor"].as_str().unwrap().to_owned();
    assert_eq!(
        first["pagination"],
        json!({ "page": 1, "page_size": 2, "page_count": 3, "total_count": 5, "next_cursor": cursor })
    );
    let by_page = world.get("/v1/runs?page_size=2&sort=started_at&page=2").await.json();
    let by_cursor = world.get(&format!("/v1/runs?page_size=2&sort=started_at&cursor={cursor}")).await.json();
    assert_eq!(by_page["data"], by_cursor["data"]);
    assert!(by_cursor["pagination"].get("page").is_none());
    let last = world.get("/v1/runs?page_size=100&sort=started_at").await.json();
    assert!(last["pagination"].get("next_cursor").is_none());
}

#[tokio::test]
async fn bad_parameters_are_named() {
    let world = World::new();
    let long = "x".repeat(600);
    for (query, details) in [
        ("status=done".to_owned(), "status"),
        ("status=".to_owned(), "status"),
        ("session_id=x".to_owned(), "session_id"),
        ("user_id=a&user_id=b".to_owned(), "user_id"),
        (format!("user_id={long}"), "user_id"),
        ("metadata.=x".to_owned(), "metadata."),
        (format!("metadata.k={long}"), "metadata.k"),
        ("sort=name".to_owned(), "sort"),
        ("sort=-status,status".to_owned(), "sort"),
        ("cursor=x".to_owned(), "cursor"),
        ("cursor=x&page=2".to_owned(), "page"),
        ("page=401".to_owned(), "cursor page"),
        ("page=18446744073709551615&page_size=100".to_owned(), "cursor page"),
        (
            "page=x&page_size=0&sort=x&status=x&session_id=x".to_owned(),
            "page page_size session_id sort status",
        ),
    ] {
        let answer = world.get(&format!("/v1/runs?{query}")).await;
        assert_eq!(
            (answer.status.as_u16(), answer.details().join(" ")),
            (400, details.to_owned()),
            "{query}"
        );
    }
    assert_eq!(world.get("/v1/runs?page=400&whatever=%ff%00&&=").await.status, 200);
}
