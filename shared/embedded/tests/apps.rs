//! Apps from a folder, and access keys.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use runyard_embedded::{Apps, Embedded, Options, Problem};
use runyard_runs::{AppStore, KeyStore, OrganizationId, Scope, SystemClock, SystemIds};
use std::{fs, path::Path, sync::Arc};
use tempfile::TempDir;
use uuid::Uuid;

fn open() -> (Embedded, TempDir, TempDir) {
    let (data, apps) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let embedded =
        Embedded::open(data.path(), Arc::new(SystemClock), &SystemIds, Options::default()).unwrap();
    (embedded, data, apps)
}

fn write(apps: &Path, folder: &str, id: u128, more: &str) {
    let dir = apps.join(folder);
    fs::create_dir_all(&dir).unwrap();
    let text = format!(
        "id: {}\nproject: {}\norganization: {}\n{more}\n",
        Uuid::from_u128(id),
        Uuid::nil(),
        Uuid::nil()
    );
    fs::write(dir.join("app.yaml"), text).unwrap();
    fs::write(dir.join("workflow.yaml"), format!("# {folder}\n")).unwrap();
}

fn messages(problems: &[Problem], apps: &Path) -> Vec<String> {
    problems.iter().map(|problem| problem.to_string().replace(&format!("{}/", apps.display()), "")).collect()
}

async fn name_on(apps: &Apps, host: &str) -> Option<String> {
    apps.by_host(host).await.unwrap().map(|app| app.name.clone())
}

#[tokio::test]
async fn hosts_find_apps() {
    let (embedded, _data, dir) = open();
    write(dir.path(), "b", 2, "name: Beta\nhosts: [beta.example.com]");
    write(dir.path(), "c", 3, "");
    let (apps, problems) = Apps::open(dir.path(), &embedded, None).unwrap();
    assert_eq!(problems, []);
    for (host, name) in [
        ("beta.localhost", "Beta"),
        ("beta.example.com", "Beta"),
        ("c.localhost", "c"),
        ("127.0.0.1", "Beta"),
        ("", "Beta"),
    ] {
        assert_eq!(name_on(&apps, host).await.as_deref(), Some(name), "{host}");
    }
    let (apps, _) = Apps::open(dir.path(), &embedded, Some("c".to_owned())).unwrap();
    assert_eq!(name_on(&apps, "127.0.0.1").await.as_deref(), Some("c"));
    let (apps, problems) = Apps::open(dir.path(), &embedded, Some("d".to_owned())).unwrap();
    assert_eq!(name_on(&apps, "127.0.0.1").await, None);
    assert!(problems[0].message.contains("choose one of Beta, c"), "{}", problems[0]);
    assert!(Apps::open(&dir.path().join("nowhere"), &embedded, None).is_err());
}

#[tokio::test]
async fn a_run_stays_on_its_version() {
    let (embedded, data, dir) = open();
    write(dir.path(), "a", 1, "");
    let (apps, _) = Apps::open(dir.path(), &embedded, None).unwrap();
    let first = apps.by_host("").await.unwrap().unwrap();
    apps.reload().unwrap();
    assert_eq!(apps.by_host("").await.unwrap().unwrap().version, first.version, "nothing changed");
    fs::write(dir.path().join("a/workflow.yaml"), "# changed\n").unwrap();
    apps.reload().unwrap();
    let second = apps.by_host("").await.unwrap().unwrap();
    assert_ne!(second.version, first.version);
    write(dir.path(), "a", 1, "limits: {run_seconds: 5}");
    apps.reload().unwrap();
    let third = apps.by_host("").await.unwrap().unwrap();
    assert!(third.version != first.version && third.version != second.version);
    fs::remove_dir_all(dir.path().join("a")).unwrap();
    apps.reload().unwrap();
    assert_eq!(apps.list().await.unwrap(), []);
    drop((apps, embedded));
    let embedded =
        Embedded::open(data.path(), Arc::new(SystemClock), &SystemIds, Options::default()).unwrap();
    let (apps, _) = Apps::open(dir.path(), &embedded, None).unwrap();
    for app in [first, second, third] {
        for _ in 0..2 {
            assert_eq!(apps.version(app.id, &app.version).await.unwrap().as_ref(), Some(&app));
        }
    }
    assert_eq!(apps.version(runyard_runs::AppId(Uuid::nil()), "no").await.unwrap(), None);
}

#[tokio::test]
async fn a_problem_keeps_the_last_good_version() {
    let (embedded, _data, dir) = open();
    write(dir.path(), "a", 1, "");
    write(dir.path(), "b", 2, "");
    let (apps, _) = Apps::open(dir.path(), &embedded, None).unwrap();
    let before = apps.list().await.unwrap();
    write(dir.path(), "a", 1, "publik: true");
    fs::remove_file(dir.path().join("b/workflow.yaml")).unwrap();
    write(dir.path(), "c", 2, "");
    write(dir.path(), "d", 4, "hosts: [A.localhost]");
    write(dir.path(), "e", 5, "name: B");
    write(dir.path(), "no name", 6, "");
    let problems = apps.reload().unwrap();
    assert_eq!(
        messages(&problems, dir.path()),
        [
            "a/app.yaml:4:1: there is no key `publik`: did you mean `public`?".to_owned(),
            "b/workflow.yaml: there is no such file: put it there, or name another".to_owned(),
            format!("c/app.yaml: id {} is that of the app in \"b\" already: each app has its own", Uuid::from_u128(2)),
            "d/app.yaml: host a.localhost is that of the app in \"a\" already: each app has its own".to_owned(),
            "e/app.yaml: host b.localhost is that of the app in \"b\" already: each app has its own".to_owned(),
            "no name/app.yaml:1:1: the folder's name \"no name\" is no name for an app: say `name`, of letters, digits, \
             `-` and `_`"
                .to_owned(),
        ]
    );
    assert_eq!(apps.list().await.unwrap(), before);
    let (good, problems) = Apps::check(dir.path()).unwrap();
    assert_eq!((good.len(), problems.len()), (3, 3), "c, d and e are good where a and b are not there");
}

#[tokio::test]
async fn keys_are_made_listed_and_revoked() {
    let (embedded, _data, _apps) = open();
    let keys = embedded.keys();
    let scope = Scope { organization: OrganizationId(Uuid::from_u128(5)), project: None };
    assert_eq!(keys.find("0000000000000000").await.unwrap(), None);
    let (credential, key) = keys.create(&SystemIds, scope, None).await.unwrap();
    assert_eq!(keys.find(credential.id()).await.unwrap(), Some(key.clone()));
    assert!(credential.opens(&key, key.created_at));
    let (_, second) = keys.create(&SystemIds, scope, Some(key.created_at)).await.unwrap();
    assert_eq!(keys.list().await.unwrap().len(), 2);
    assert!(keys.revoke(&key.id).await.unwrap());
    let revoked = keys.find(&key.id).await.unwrap().unwrap();
    assert!(revoked.revoked_at.is_some() && !credential.opens(&revoked, key.created_at));
    assert!(!keys.revoke("0000000000000000").await.unwrap());
    assert_eq!(keys.find(&second.id).await.unwrap(), Some(second));
}
