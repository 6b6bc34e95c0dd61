//! `OpenStreams`: an app has a number of permits, and no other app's streams take them.

use crate::make;
use futures::future::join_all;
use runyard_runs::OpenStreams;
use std::sync::Arc;

/// There are as many places as there may be, and one that is given back is free.
pub async fn places_are_limited(streams: Arc<dyn OpenStreams>) {
    let app = make::app();
    let first = streams.enter(app, 2).await.unwrap().expect("a place");
    let second = streams.enter(app, 2).await.unwrap().expect("a place");
    for _ in 0..3 {
        assert_eq!(streams.enter(app, 2).await.unwrap(), None, "a refused stream is not counted");
    }
    streams.leave(first).await.unwrap();
    let third = streams.enter(app, 2).await.unwrap().expect("the place that was given back");
    assert_eq!(streams.enter(app, 2).await.unwrap(), None);
    for place in [second, third] {
        streams.leave(place).await.unwrap();
    }
    assert_eq!(streams.enter(app, 0).await.unwrap(), None, "there may be none");
    assert!(streams.enter(app, 1).await.unwrap().is_some());
}

/// Who races for places gets no more than there are.
pub async fn a_race_is_for_the_places_there_are(streams: Arc<dyn OpenStreams>) {
    let app = make::app();
    let taken = join_all((0..20).map(|_| streams.enter(app, 5))).await;
    let taken: Vec<_> = taken.into_iter().filter_map(Result::unwrap).collect();
    assert!(taken.len() <= 5, "{}", taken.len());
    for place in taken {
        streams.leave(place).await.unwrap();
    }
    for _ in 0..5 {
        assert!(streams.enter(app, 5).await.unwrap().is_some(), "all are free again");
    }
}

/// Another app has places of its own.
pub async fn apps_have_their_own_places(streams: Arc<dyn OpenStreams>) {
    let (app, other) = (make::app(), make::app());
    assert!(streams.enter(app, 1).await.unwrap().is_some());
    assert!(streams.enter(other, 1).await.unwrap().is_some());
    assert_eq!(streams.enter(app, 1).await.unwrap(), None);
}
