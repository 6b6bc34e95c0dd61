use crate::place::Place;
use runyard_conformance::make::NOW;
use runyard_runs::{Credential, KeyStore, OrganizationId, ProjectId, Scope};
use std::{sync::Arc, time::Duration};
use uuid::Uuid;

fn scope(project: Option<u128>) -> Scope {
    let project = project.map(|project| ProjectId(Uuid::from_u128(project)));
    Scope { organization: OrganizationId(Uuid::from_u128(1)), project }
}

#[tokio::test]
async fn keys_are_created_found_listed_and_revoked() {
    let place = Place::new().await;
    let keys = place.aws.keys();
    let expires_at = Some(NOW + Duration::from_hours(1));
    let (first, stored) = keys.create(scope(None), None).await.unwrap();
    place.clock.forward(Duration::from_secs(1));
    let (second, other) = keys.create(scope(Some(2)), expires_at).await.unwrap();
    assert_eq!(keys.list().await.unwrap(), [stored.clone(), other.clone()]);

    let elsewhere = place.another().keys();
    let found = elsewhere.find(second.id()).await.unwrap().unwrap();
    assert_eq!(found, other);
    let given = Credential::parse(&second.reveal()).unwrap();
    assert!(given.opens(&found, NOW) && !first.opens(&found, NOW));

    assert!(keys.revoke(second.id()).await.unwrap());
    let revoked_at = keys.find(second.id()).await.unwrap().unwrap().revoked_at;
    place.clock.forward(Duration::from_secs(5));
    assert!(keys.revoke(second.id()).await.unwrap(), "again");
    assert_eq!(
        keys.find(second.id()).await.unwrap().unwrap().revoked_at,
        revoked_at,
        "the time of the first revocation"
    );
    assert!(!given.opens(&keys.find(second.id()).await.unwrap().unwrap(), NOW));
    assert_eq!(keys.list().await.unwrap()[1].revoked_at, revoked_at);
    assert!(!keys.revoke("0123456789abcdef").await.unwrap());
}

#[tokio::test]
async fn other_processes_see_changes_within_15_seconds() {
    let place = Place::new().await;
    let (operator, server) = (place.aws.keys(), place.another().keys());
    assert!(server.find("0123456789abcdef").await.unwrap().is_none());
    let (key, _) = operator.create(scope(None), None).await.unwrap();
    assert!(server.find(key.id()).await.unwrap().unwrap().revoked_at.is_none());
    operator.revoke(key.id()).await.unwrap();
    place.clock.forward(Duration::from_millis(14_999));
    assert!(server.find(key.id()).await.unwrap().unwrap().revoked_at.is_none(), "from memory");
    place.clock.forward(Duration::from_millis(1));
    assert!(server.find(key.id()).await.unwrap().unwrap().revoked_at.is_some());
}

#[tokio::test]
async fn results_are_cached() {
    let place = Place::new().await;
    let keys: Arc<dyn KeyStore> = place.aws.keys();
    let (key, _) = place.aws.keys().create(scope(None), None).await.unwrap();
    assert!(keys.find(key.id()).await.unwrap().is_some());
    assert!(keys.find("0123456789abcdef").await.unwrap().is_none());
    place.clients.dynamodb.delete_table().table_name(&place.config.table).send().await.unwrap();
    assert!(keys.find(key.id()).await.unwrap().is_some());
    assert!(keys.find("0123456789abcdef").await.unwrap().is_none());
    place.clock.forward(Duration::from_secs(15));
    assert!(keys.find(key.id()).await.is_err(), "the table is gone");
}
