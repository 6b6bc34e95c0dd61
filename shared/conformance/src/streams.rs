//! `OpenStreams`: each app has its own number of permits for streams.

use crate::make;
use futures::future::join_all;
use runyard_runs::OpenStreams;
use std::sync::Arc;

/// An app gets as many permits as its limit, and a returned permit is available again.
pub async fn places_are_limited(streams: Arc<dyn OpenStreams>) {
    let app = make::app();
    let first = streams.enter(app, 2).await.unwrap().expect("a permit");
    let second = streams.enter(app, 2).await.unwrap().expect("a permit");
    for _ in 0..3 {
        assert_eq!(streams.enter(app, 2).await.unwrap(), None, "a refused stream is not counted");
    }
    streams.leave(first).await.unwrap();
    let third = streams.enter(app, 2).await.unwrap().expect("the returned permit");
    assert_eq!(streams.enter(app, 2).await.unwrap(), None);
    for permit in [second, third] {
        streams.leave(permit).await.unwrap();
    }
    assert_eq!(streams.enter(app, 0).await.unwrap(), None, "the limit is 0");
    assert!(streams.enter(app, 1).await.unwrap().is_some());
}

/// Concurrent streams never get more permits than the limit.
pub async fn a_race_is_for_the_places_there_are(streams: Arc<dyn OpenStreams>) {
    let app = make::app();
    let taken = join_all((0..20).map(|_| streams.enter(app, 5))).await;
    let taken: Vec<_> = taken.into_iter().filter_map(Result::unwrap).collect();
    assert!(taken.len() <= 5, "{}", taken.len());
    for permit in taken {
        streams.leave(permit).await.unwrap();
    }
    for _ in 0..5 {
        assert!(streams.enter(app, 5).await.unwrap().is_some(), "all permits are available again");
    }
}

/// Each app has its own permits.
pub async fn apps_have_their_own_places(streams: Arc<dyn OpenStreams>) {
    let (app, other) = (make::app(), make::app());
    assert!(streams.enter(app, 1).await.unwrap().is_some());
    assert!(streams.enter(other, 1).await.unwrap().is_some());
    assert_eq!(streams.enter(app, 1).await.unwrap(), None);
}
