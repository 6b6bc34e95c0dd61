//! The quota of an app: `limits.stored_bytes`.

use super::{World, an_app, request};
use runyard_runs::{
    App, FileId, Limits, NewFile, RECORD_BYTES, RunStatus,
    service::{
        create::{Error as CreateError, Mode},
        quota::Error as QuotaError,
        retry::Error as RetryError,
    },
};
use serde_json::json;
use std::{sync::Arc, time::Duration};

const QUOTA: u64 = 1 << 20;

fn limited(world: World) -> World {
    world.limited(Limits { stored_bytes: QUOTA, ..Limits::default() })
}

/// An app at its quota cannot create or retry runs, and stores nothing of refused ones; its accepted runs go on, and so
/// do other apps. Expired data no longer counts.
pub async fn an_app_at_its_quota_creates_no_runs(world: World) {
    let world = limited(world);
    let failed = world.sync(json!([{"fail": "no luck"}])).await;
    let waiting = world.created(Mode::Sync, json!([{"wait_ms": 1500}, {"say": "x".repeat(5000)}])).await;
    let filling = world.sync(json!(["x".repeat(600_000), {"say": "x".repeat(600_000)}])).await;
    assert_eq!(filling.status, RunStatus::Completed, "the log of a run that was accepted may pass the quota");
    let runs = async || world.service.list(&super::newest(&world)).await.expect("a page").total_count;
    let before = runs().await;
    for mode in [Mode::Sync, Mode::Stream, Mode::Background] {
        let refused = world.create(mode, json!([])).await.err();
        let Some(CreateError::QuotaExceeded(exceeded)) = refused else { panic!("{refused:?}") };
        assert!(exceeded.used >= QUOTA && exceeded.quota == QUOTA, "{exceeded:?}");
    }
    let refused = world.service.retry(&world.app, failed.new.id, None).await.err();
    assert!(matches!(refused, Some(RetryError::Create(CreateError::QuotaExceeded(_)))), "{refused:?}");
    assert_eq!(runs().await, before);
    let other = an_app("beside", Limits { stored_bytes: QUOTA, ..Limits::default() });
    assert!(world.service.left_to_store(&other).await.is_ok());
    let ended = world.service.settled(waiting, Duration::from_secs(10)).await.expect("the store answers");
    assert_eq!(ended.status, RunStatus::Completed);
    // Its lifetime, and the rest of its last day.
    world.clock.forward(world.app.lifetime() + Duration::from_hours(24));
    assert_eq!(world.sync(json!([])).await.status, RunStatus::Completed);
}

/// Uploads in progress count before they are stored: concurrent uploads share the remaining bytes.
pub async fn uploads_share_what_is_left(world: World) {
    let world = limited(world);
    let left = world.service.left_to_store(&world.app).await.expect("all is left");
    assert_eq!(left, QUOTA);
    let (mut one, mut two) = (world.service.arriving(&world.app), world.service.arriving(&world.app));
    let service = &world.service;
    service.receive(&world.app, &mut one, 700_000).await.expect("it fits");
    service.receive(&world.app, &mut two, 300_000).await.expect("it fits");
    let refused = service.receive(&world.app, &mut two, 100_000).await;
    assert!(matches!(refused, Err(QuotaError::Exceeded(_))), "{refused:?}");
    drop(two);
    service.receive(&world.app, &mut one, 300_000).await.expect("it fits again");
    drop(one);
    assert_eq!(service.left_to_store(&world.app).await.expect("all is left"), QUOTA);
    store_file(&world, &world.app, 900_000).await;
    let left = service.left_to_store(&world.app).await.expect("some is left");
    assert_eq!(left, QUOTA - 900_000 - RECORD_BYTES);
    let mut three = service.arriving(&world.app);
    assert!(service.receive(&world.app, &mut three, left + 1).await.is_err());
    drop(three);
    let run =
        service.create(&world.app, request(Mode::Background, json!([]))).await.expect("the quota allows it");
    assert_eq!(run.run.status, RunStatus::Created);
}

async fn store_file(world: &World, app: &Arc<App>, bytes: usize) {
    let file = NewFile {
        id: FileId(runyard_runs::Ids::random(&runyard_runs::SystemIds)),
        app: app.id,
        name: "a".to_owned(),
        mime_type: "text/plain".to_owned(),
        expires_at: runyard_runs::Clock::now(&*world.clock) + app.lifetime(),
    };
    let mut upload = world.backend.files.create(file).await.expect("it begins");
    upload.write(vec![0; bytes].into()).await.expect("it is written");
    upload.finish().await.expect("it is stored");
}
