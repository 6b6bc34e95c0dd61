use crate::place::Place;
use runyard_aws::{AppsWithSecrets, Aws};
use runyard_runs::{App, AppStore, StoreError, SystemIds};
use serde_json::json;
use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};
use uuid::Uuid;

fn app(secrets: &[(&str, &str)]) -> App {
    let id = Uuid::from_u128(1).to_string();
    let secrets: serde_json::Map<_, _> =
        secrets.iter().map(|(name, reference)| ((*name).to_owned(), json!(reference))).collect();
    serde_json::from_value(json!({
        "id": id, "project": id, "organization": id, "name": "app", "version": "v1",
        "workflow": {"file": "workflow.yaml", "text": ""},
        "env": secrets.keys().collect::<Vec<_>>(), "secrets": secrets,
    }))
    .unwrap()
}

struct Stores {
    secrets_manager: aws_sdk_secretsmanager::Client,
    ssm: aws_sdk_ssm::Client,
    prefix: String,
}

impl Stores {
    fn new(place: &Place) -> Self {
        Self {
            secrets_manager: aws_sdk_secretsmanager::Client::new(&place.clients.sdk),
            ssm: aws_sdk_ssm::Client::new(&place.clients.sdk),
            prefix: place.config.table.clone(),
        }
    }

    async fn put_parameter(&self, value: &str) -> String {
        let name = format!("/{}/parameter", self.prefix);
        let put = self.ssm.put_parameter().name(&name).value(value).overwrite(true);
        put.r#type(aws_sdk_ssm::types::ParameterType::SecureString).send().await.unwrap();
        name
    }

    async fn create_secret(&self, value: &str) -> String {
        let name = format!("{}/openai", self.prefix);
        self.secrets_manager.create_secret().name(&name).secret_string(value).send().await.unwrap();
        name
    }
}

fn value(place: &Place, app: &App, name: &str) -> Result<Option<String>, String> {
    let secret = place.aws.secrets().of(app, name)?;
    Ok(secret.map(|secret| secret.reveal().to_owned()))
}

#[tokio::test]
async fn secrets_are_read_when_an_app_is_first_found() {
    let place = Place::new().await;
    let stores = Stores::new(&place);
    let secret = stores.create_secret(r#"{"api_key": "sk-1", "org": "o-1"}"#).await;
    let parameter = stores.put_parameter("p-1").await;
    let app = app(&[
        ("KEY", &format!("secretsmanager:{secret}#api_key")),
        ("ORG", &format!("secretsmanager:{secret}#org")),
        ("WHOLE", &format!("secretsmanager:{secret}")),
        ("PARAMETER", &format!("ssm:{parameter}")),
        ("VERSION", &format!("ssm:{parameter}:1")),
        ("FIELD", &format!("secretsmanager:{secret}#nope")),
        ("ABSENT", "ssm:/nothing/here"),
    ]);
    place.aws.deployments().deploy(&app).await.unwrap();
    assert!(value(&place, &app, "KEY").unwrap_err().ends_with("it has not been read yet"));
    let apps = AppsWithSecrets::new(place.aws.apps(), place.aws.secrets());
    assert_eq!(apps.by_host("app.example.com").await.unwrap().as_deref(), Some(&app));
    for (name, expected) in [
        ("KEY", "sk-1"),
        ("ORG", "o-1"),
        ("WHOLE", r#"{"api_key": "sk-1", "org": "o-1"}"#),
        ("PARAMETER", "p-1"),
        ("VERSION", "p-1"),
    ] {
        assert_eq!(value(&place, &app, name).unwrap().as_deref(), Some(expected), "{name}");
    }
    assert_eq!(value(&place, &app, "OPENAI_URL"), Ok(None), "no secret is named for it");
    assert_eq!(
        value(&place, &app, "FIELD").unwrap_err(),
        "`FIELD` is kept in secretsmanager, and cannot be read: it has no field `nope`"
    );
    assert_eq!(
        value(&place, &app, "ABSENT").unwrap_err(),
        "`ABSENT` is kept in ssm, and cannot be read: it does not exist in this account and region"
    );
}

#[tokio::test]
async fn a_rotated_secret_arrives_within_5_minutes() {
    let place = Place::new().await;
    let stores = Stores::new(&place);
    let app = app(&[("KEY", &format!("ssm:{}", stores.put_parameter("old").await))]);
    let ready = async || place.aws.secrets().ready(&app).await;
    let key = || value(&place, &app, "KEY").unwrap().unwrap();
    ready().await.unwrap();
    stores.put_parameter("new").await;
    place.clock.forward(Duration::from_millis(299_999));
    ready().await.unwrap();
    assert_eq!(key(), "old");
    place.clock.forward(Duration::from_millis(1));
    ready().await.unwrap();
    assert_eq!(key(), "new");
}

#[tokio::test]
async fn a_secret_is_unknown_if_aws_does_not_answer() {
    let place = Place::new().await;
    let mut clients = place.clients.clone();
    clients.sdk = clients.sdk.to_builder().endpoint_url("http://127.0.0.1:1").build();
    let aws = Aws::with_clients(place.config.clone(), clients, place.clock.clone(), Arc::new(SystemIds));
    let error = aws.secrets().ready(&app(&[("KEY", "ssm:/key")])).await.unwrap_err();
    assert!(matches!(error, StoreError::Unknown(_)), "the caller may try again: {error}");
}

/// Collects all log lines at the finest level, including the SDK's.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_secret_is_never_logged() {
    let place = Place::new().await;
    let stores = Stores::new(&place);
    let (secret, parameter) =
        (stores.create_secret(r#"{"key": "hunter2"}"#).await, stores.put_parameter("hunter3").await);
    let app = app(&[("A", &format!("secretsmanager:{secret}#key")), ("B", &format!("ssm:{parameter}"))]);
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let logging = tracing::subscriber::set_default(subscriber);
    place.aws.secrets().ready(&app).await.unwrap();
    drop(logging);
    assert_eq!(value(&place, &app, "A").unwrap().as_deref(), Some("hunter2"));
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(
        log.contains("GetSecretValue") && log.contains("GetParameter"),
        "the SDK logged its calls: {} bytes",
        log.len()
    );
    assert!(!log.contains("hunter2") && !log.contains("hunter3"));
}
