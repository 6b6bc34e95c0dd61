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
async fn a_host_selects_an_app() {
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
async fn an_app_with_a_problem_keeps_its_last_valid_version() {
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
            "b/workflow.yaml: file not found: create it, or name another".to_owned(),
            format!("c/app.yaml: id {} already belongs to the app in \"b\": each app needs its own", Uuid::from_u128(2)),
            "d/app.yaml: host a.localhost already belongs to the app in \"a\": each app needs its own".to_owned(),
            "e/app.yaml: host b.localhost already belongs to the app in \"b\": each app needs its own".to_owned(),
            "no name/app.yaml:1:1: the folder name \"no name\" is not a valid app name: set `name`, from letters, digits, \
             `-` and `_`"
                .to_owned(),
        ]
    );
    assert_eq!(apps.list().await.unwrap(), before);
    let (valid, problems) = Apps::check(dir.path()).unwrap();
    assert_eq!((valid.len(), problems.len()), (3, 3), "c, d and e are valid if a and b are not served");
}

#[tokio::test]
async fn a_former_version_loses_what_the_current_one_lost() {
    let (embedded, _data, dir) = open();
    write(
        dir.path(),
        "a",
        1,
        "env: [KEPT, GONE]\nallow_hosts: [10.0.0.1, 10.0.0.2]\nlimits: {run_seconds: 9}",
    );
    let (apps, _) = Apps::open(dir.path(), &embedded, None).unwrap();
    let old = apps.by_host("").await.unwrap().unwrap();
    write(dir.path(), "a", 1, "env: [KEPT, NEW]\nallow_hosts: [10.0.0.2]");
    // A process that has not read the new files does not restrict a newer version.
    let (elsewhere, _) = Apps::open(dir.path(), &embedded, None).unwrap();
    let new = elsewhere.by_host("").await.unwrap().unwrap();
    assert_eq!(apps.version(new.id, &new.version).await.unwrap().unwrap().env, ["KEPT", "NEW"]);
    apps.reload().unwrap();
    for _ in 0..2 {
        let held = apps.version(old.id, &old.version).await.unwrap().unwrap();
        assert_eq!((&held.env, &held.allow_hosts), (&vec!["KEPT".to_owned()], &vec!["10.0.0.2".to_owned()]));
        assert_eq!((&held.version, held.limits.run_seconds), (&old.version, 9));
    }
    // Granted again, it is available again.
    write(dir.path(), "a", 1, "env: [KEPT, GONE]\nallow_hosts: [10.0.0.1, 10.0.0.2]");
    apps.reload().unwrap();
    assert_eq!(apps.version(old.id, &old.version).await.unwrap(), Some(old));
}

#[tokio::test]
async fn a_served_app_keeps_its_hosts() {
    let (embedded, _data, dir) = open();
    write(dir.path(), "m", 1, "hosts: [m.example.com]");
    write(dir.path(), "n", 2, "hosts: [n.example.com]");
    let (apps, _) = Apps::open(dir.path(), &embedded, None).unwrap();
    // New folders that come first by name, and whose ids or hosts belong to served apps.
    write(dir.path(), "a", 1, "name: other");
    write(dir.path(), "b", 3, "hosts: [m.example.com]");
    write(dir.path(), "c", 4, "hosts: [n.localhost]");
    write(dir.path(), "d", 5, "name: M");
    write(dir.path(), "e", 6, "");
    let problems = messages(&apps.reload().unwrap(), dir.path());
    assert_eq!(problems.len(), 4, "{problems:?}");
    for (problem, (folder, owner)) in problems.iter().zip([("a", "m"), ("b", "m"), ("c", "n"), ("d", "m")]) {
        assert!(problem.starts_with(&format!("{folder}/app.yaml: ")), "{problem}");
        assert!(problem.contains(&format!("the app in \"{owner}\"")), "{problem}");
    }
    for (host, name) in [
        ("m.localhost", "m"),
        ("m.example.com", "m"),
        ("n.localhost", "n"),
        ("e.localhost", "e"),
        ("127.0.0.1", "m"),
    ] {
        assert_eq!(name_on(&apps, host).await.as_deref(), Some(name), "{host}");
    }
    // A served app that claims a host of another one stays unchanged, with all its hosts.
    write(dir.path(), "n", 2, "hosts: [m.example.com]");
    assert_eq!(apps.reload().unwrap().len(), 5);
    assert_eq!(name_on(&apps, "m.example.com").await.as_deref(), Some("m"));
    assert_eq!(name_on(&apps, "n.example.com").await.as_deref(), Some("n"));
    // A host that one app gives up is free for another one, in the same reload.
    for folder in ["a", "b", "c", "d"] {
        fs::remove_dir_all(dir.path().join(folder)).unwrap();
    }
    write(dir.path(), "m", 1, "");
    assert_eq!(apps.reload().unwrap(), []);
    assert_eq!(name_on(&apps, "m.example.com").await.as_deref(), Some("n"));
    // Unless the app that gives it up has a problem, and therefore keeps it.
    write(dir.path(), "n", 2, "");
    apps.reload().unwrap();
    write(dir.path(), "m", 1, "hosts: [m.example.com]");
    assert_eq!(apps.reload().unwrap(), []);
    write(dir.path(), "m", 1, "publik: true");
    write(dir.path(), "n", 2, "hosts: [m.example.com]");
    assert_eq!(apps.reload().unwrap().len(), 2);
    assert_eq!(name_on(&apps, "m.example.com").await.as_deref(), Some("m"));
}

#[tokio::test]
async fn no_app_answers_at_the_host_of_a_removed_or_invalid_app() {
    let (embedded, _data, dir) = open();
    for (folder, id) in [("a", 1), ("b", 2), ("c", 3)] {
        write(dir.path(), folder, id, if folder == "b" { "hosts: [b.example.com]" } else { "" });
    }
    fs::remove_file(dir.path().join("c/workflow.yaml")).unwrap();
    let (apps, problems) = Apps::open(dir.path(), &embedded, None).unwrap();
    assert_eq!(problems.len(), 1);
    assert_eq!(name_on(&apps, "c.localhost").await, None);
    fs::remove_dir_all(dir.path().join("b")).unwrap();
    fs::write(dir.path().join("c/workflow.yaml"), "# valid\n").unwrap();
    apps.reload().unwrap();
    for host in ["b.localhost", "b.example.com"] {
        assert_eq!(name_on(&apps, host).await, None, "{host}");
    }
    assert_eq!(name_on(&apps, "c.localhost").await.as_deref(), Some("c"));
    assert_eq!(name_on(&apps, "127.0.0.1").await.as_deref(), Some("a"));
}

#[tokio::test]
async fn keys_are_created_listed_and_revoked() {
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
