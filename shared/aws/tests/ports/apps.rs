use crate::place::Place;
use runyard_aws::{DeployError, Deployed};
use runyard_conformance::make::NOW;
use runyard_runs::{App, AppId, AppStore};
use serde_json::json;
use std::time::Duration;
use uuid::Uuid;

fn app(id: u128, name: &str, version: &str, hosts: &[&str]) -> App {
    let uuid = |id| Uuid::from_u128(id).to_string();
    serde_json::from_value(json!({
        "id": uuid(id), "project": uuid(1), "organization": uuid(2), "name": name, "hosts": hosts, "version": version,
        "workflow": {"file": "workflow.yaml", "text": format!("# {name} {version}")},
        "env": ["KEY"], "secrets": {"KEY": "ssm:/key"}, "limits": {"run_seconds": 60},
    }))
    .unwrap()
}

async fn versions_at(place: &Place, hosts: &[&str]) -> Vec<Option<String>> {
    let apps = place.another().apps();
    let mut found = Vec::new();
    for host in hosts {
        let app = apps.by_host(host).await.unwrap();
        found.push(app.map(|app| format!("{} {}", app.name, app.version)));
    }
    found
}

#[tokio::test]
async fn a_deployed_app_is_found_as_it_was_deployed() {
    let place = Place::new().await;
    let (deployments, apps) = (place.aws.deployments(), place.aws.apps());
    assert_eq!(apps.by_host("api.example.com").await.unwrap(), None);
    let first = app(10, "Echo", "v1", &["api.example.com"]);
    let deployed = deployments.deploy(&first).await.unwrap();
    let expected = Deployed {
        app: first.id,
        name: "Echo".to_owned(),
        version: "v1".to_owned(),
        before: None,
        changed: true,
    };
    assert_eq!(deployed, expected);
    assert_eq!(apps.by_host("api.example.com").await.unwrap(), None, "cached for 15 s");
    place.clock.forward(Duration::from_secs(15));
    for host in ["api.example.com", "echo.localhost", "echo.runs.example.com", "x.execute-api.example", ""] {
        assert_eq!(*apps.by_host(host).await.unwrap().unwrap(), first, "{host}: one app answers everywhere");
    }
    let again = deployments.deploy(&first).await.unwrap();
    assert_eq!((again.changed, again.before.as_deref()), (false, Some("v1")));

    deployments.deploy(&app(11, "other", "w1", &[])).await.unwrap();
    assert_eq!(
        versions_at(&place, &["api.example.com", "echo.x", "other.x", "x.example", ""]).await,
        [Some("Echo v1".into()), Some("Echo v1".into()), Some("other w1".into()), None, None]
    );
    let list: Vec<_> = apps.list().await.unwrap().iter().map(|app| app.name.clone()).collect();
    assert_eq!(list, ["Echo", "other"]);
}

#[tokio::test]
async fn the_default_app_answers_on_hosts_that_name_no_app() {
    let place = Place::with(|config| config.default_app = Some("Other".to_owned())).await;
    let deployments = place.aws.deployments();
    deployments.deploy(&app(10, "echo", "v1", &[])).await.unwrap();
    assert_eq!(versions_at(&place, &["x.example", "echo.example"]).await, [None, Some("echo v1".into())]);
    deployments.deploy(&app(11, "other", "w1", &[])).await.unwrap();
    assert_eq!(versions_at(&place, &["x.example"]).await, [Some("other w1".into())]);
}

#[tokio::test]
async fn versions_are_kept_and_can_be_rolled_back_to() {
    let place = Place::new().await;
    let (deployments, apps) = (place.aws.deployments(), place.aws.apps());
    let id = AppId(Uuid::from_u128(10));
    for (version, hosts) in
        [("aaaa1", &["a.com", "b.com"][..]), ("aaaa2", &["b.com", "c.com"]), ("bbbb3", &[])]
    {
        deployments.deploy(&app(10, "echo", version, hosts)).await.unwrap();
        deployments.deploy(&app(11, "other", &format!("of {version}"), &[])).await.unwrap();
        place.clock.forward(Duration::from_mins(1));
    }
    let hosts = ["a.com", "b.com", "c.com", "echo.x"];
    assert_eq!(versions_at(&place, &hosts).await, [None, None, None, Some("echo bbbb3".into())]);
    assert_eq!(apps.version(id, "aaaa1").await.unwrap().unwrap().hosts, ["a.com", "b.com"]);
    assert_eq!(apps.version(id, "aaaa9").await.unwrap(), None);

    let listed = deployments.versions("echo").await.unwrap();
    let shown: Vec<_> = listed.iter().map(|version| (version.version.as_str(), version.is_current)).collect();
    assert_eq!(shown, [("bbbb3", true), ("aaaa2", false), ("aaaa1", false)]);
    assert_eq!(listed[2].deployed_at, NOW);

    for (version, ambiguous) in [("aaaa", true), ("cccc", false), ("bbb", false)] {
        match deployments.roll_back("echo", version).await.unwrap_err() {
            DeployError::NoSuchVersion { ambiguous: found, .. } => assert_eq!(found, ambiguous, "{version}"),
            error => panic!("{error}"),
        }
    }
    let back = deployments.roll_back("echo", "aaaa2").await.unwrap();
    assert_eq!((back.before.as_deref(), back.changed), (Some("bbbb3"), true));
    let now = Some("echo aaaa2".to_owned());
    assert_eq!(versions_at(&place, &hosts).await, [None, now.clone(), now.clone(), now]);
    assert!(!deployments.roll_back("echo", "aaaa2").await.unwrap().changed);
    let error = deployments.roll_back("ecko", "aaaa2").await.unwrap_err().to_string();
    assert_eq!(error, "no app ecko is deployed: there are echo, other");
}

#[tokio::test]
async fn a_former_version_loses_what_the_current_one_lost() {
    let place = Place::new().await;
    let deployments = place.aws.deployments();
    let version = |version: &str, env: &[&str], allow_hosts: &[&str]| {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        App { env: owned(env), allow_hosts: owned(allow_hosts), ..app(10, "echo", version, &[]) }
    };
    let old = version("aaaa1", &["KEPT", "GONE"], &["10.0.0.1", "10.0.0.2"]);
    deployments.deploy(&old).await.unwrap();
    let apps = place.aws.apps();
    assert_eq!(*apps.version(old.id, "aaaa1").await.unwrap().unwrap(), old);
    deployments.deploy(&version("bbbb2", &["KEPT", "NEW"], &["10.0.0.2"])).await.unwrap();
    // The cached current version is older than this one.
    assert_eq!(apps.version(old.id, "bbbb2").await.unwrap().unwrap().env, ["KEPT", "NEW"]);
    let held = apps.version(old.id, "aaaa1").await.unwrap().unwrap();
    assert_eq!((&held.env, &held.allow_hosts), (&vec!["KEPT".to_owned()], &vec!["10.0.0.2".to_owned()]));
    deployments.roll_back("echo", "aaaa1").await.unwrap();
    assert_eq!(*apps.version(old.id, "aaaa1").await.unwrap().unwrap(), old);
}

#[tokio::test]
async fn a_host_has_one_app_and_a_refused_deployment_changes_nothing() {
    let place = Place::new().await;
    let deployments = place.aws.deployments();
    deployments.deploy(&app(10, "echo", "v1", &["a.com"])).await.unwrap();
    deployments.deploy(&app(11, "other", "w1", &["b.com"])).await.unwrap();
    let error =
        deployments.deploy(&app(11, "other", "w2", &["b.com", "A.com", "new.com"])).await.unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("the host a.com belongs to the app echo (00000000-0000-0000-0000-00000000000a)"),
        "{text}"
    );
    assert_eq!(
        versions_at(&place, &["a.com", "b.com", "new.com"]).await,
        [Some("echo v1".into()), Some("other w1".into()), None]
    );
    assert_eq!(place.aws.apps().version(AppId(Uuid::from_u128(11)), "w2").await.unwrap(), None);
    match deployments.deploy(&app(12, "ECHO", "x1", &[])).await.unwrap_err() {
        DeployError::NameTaken { owner_id, .. } => assert_eq!(owner_id, AppId(Uuid::from_u128(10))),
        error => panic!("{error}"),
    }
    // Another app can take a host that its owner no longer lists.
    deployments.deploy(&app(10, "echo", "v2", &[])).await.unwrap();
    deployments.deploy(&app(11, "other", "w2", &["b.com", "A.com", "new.com"])).await.unwrap();
    assert_eq!(versions_at(&place, &["a.com", "new.com"]).await, vec![Some("other w2".to_owned()); 2]);
    let many: Vec<_> = (0..48).map(|number| format!("{number}.com")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    let error = deployments.deploy(&app(10, "echo", "v3", &many)).await.unwrap_err();
    assert!(matches!(error, DeployError::TooManyHosts(49)), "{error}");
    deployments.deploy(&app(10, "echo", "v4", &many[1..])).await.unwrap();
    assert_eq!(versions_at(&place, &["47.com"]).await, [Some("echo v4".into())]);
}

#[tokio::test]
async fn one_of_several_concurrent_deployments_is_current() {
    let place = Place::new().await;
    let versions: Vec<_> = (0..4).map(|number| format!("version {number}")).collect();
    let deploying = versions.iter().map(|version| {
        let deployments = place.another().deployments();
        let app = app(10, "echo", version, &[&format!("{}.com", version.replace(' ', "-"))]);
        async move { deployments.deploy(&app).await }
    });
    for deployed in futures::future::join_all(deploying).await {
        assert!(deployed.unwrap().changed);
    }
    let deployments = place.aws.deployments();
    let current = deployments.list().await.unwrap().pop().unwrap();
    let listed = deployments.versions("echo").await.unwrap();
    assert_eq!(listed.len(), 4);
    let is_current: Vec<_> = listed.iter().filter(|version| version.is_current).collect();
    assert_eq!((is_current.len(), &is_current[0].version), (1, &current.version));
    // No app answers on the hosts of the other versions. A second app is needed: a single app answers on every host.
    deployments.deploy(&app(11, "other", "w1", &[])).await.unwrap();
    for version in versions {
        let host = format!("{}.com", version.replace(' ', "-"));
        let expected = (version == current.version).then(|| format!("echo {version}"));
        assert_eq!(versions_at(&place, &[&host]).await, [expected], "{host}");
    }
}

#[tokio::test]
async fn a_large_workflow_is_stored_in_the_bucket() {
    let place = Place::new().await;
    for (id, size, objects) in [(10, 32 << 10, 0), (11, (32 << 10) + 1, 1), (12, 4 << 20, 2)] {
        let mut app = app(id, &format!("app-{id}"), "v1", &[]);
        app.workflow.text = "ü".repeat(size / 2).into();
        if size % 2 == 1 {
            app.workflow.text = format!("{}x", app.workflow.text).into();
        }
        place.aws.deployments().deploy(&app).await.unwrap();
        assert_eq!(place.objects().await.len(), objects, "{size} bytes");
        let found = place.another().apps().version(app.id, "v1").await.unwrap().unwrap();
        assert!(*found == app, "{size} bytes");
    }
}

#[tokio::test]
async fn unknown_stores_of_secrets_are_refused() {
    let place = Place::new().await;
    let mut app = app(10, "echo", "v1", &[]);
    app.secrets.insert("OTHER".to_owned(), "vault:x".parse().unwrap());
    let error = place.aws.deployments().deploy(&app).await.unwrap_err().to_string();
    assert!(error.contains("`OTHER` is kept in \"vault\""), "{error}");
}

#[tokio::test]
async fn runs_are_kept_no_longer_than_objects_in_the_bucket() {
    let place = Place::new().await;
    let mut app = app(10, "echo", "v1", &[]);
    app.retention_days = 2_047;
    let error = place.aws.deployments().deploy(&app).await.unwrap_err();
    assert!(matches!(error, DeployError::KeptTooLong { days: 2_047, most: 2_046 }), "{error}");
    assert!(error.to_string().contains("after 2048 days"), "{error}");
    assert_eq!(place.aws.apps().version(app.id, "v1").await.unwrap(), None);
    app.retention_days = 2_046;
    place.aws.deployments().deploy(&app).await.unwrap();
    // The large input of such a run is kept almost as long as the longest lifecycle rule allows.
    let created_at = NOW;
    let kept = created_at + app.lifetime() + runyard_aws::table::LINGER + Duration::from_secs(1);
    let longest = u64::from(runyard_aws::bodies::KEPT_DAYS[11]) * 86_400;
    assert!(kept.since(created_at) <= Duration::from_secs(longest));
    assert!(kept.since(created_at) + Duration::from_hours(24) > Duration::from_secs(longest));
}
