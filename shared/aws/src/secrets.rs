//! Secrets: values of environment variables that are kept in Secrets Manager or SSM Parameter Store.
//!
//! All secrets of an app are read when it is first used, and every 5 minutes while it is in use, so that rotated
//! secrets reach processes that live for hours. They are never written anywhere; an error names the variable, a log
//! line the reference.

use crate::{aws::Shared, error::store_error};
use async_trait::async_trait;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use futures::future;
use runyard_runs::{App, AppId, AppStore, SecretReference, StoreError, Timestamp};
use serde_json::Value;
use std::{
    collections::{BTreeSet, HashMap},
    error::Error,
    fmt,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

/// `secretsmanager:NAME`, where NAME is a secret's name or ARN.
pub(crate) const SECRETS_MANAGER: &str = "secretsmanager";

/// `ssm:NAME`, where NAME is a parameter's name, or its name and version or label.
pub(crate) const SSM: &str = "ssm";

/// How long a secret is used before it is read again.
const REFRESH_INTERVAL: Duration = Duration::from_mins(5);

/// How long to wait before reading a secret again that could not be read.
const RETRY_INTERVAL: Duration = Duration::from_secs(30);

/// Number of cached secrets.
const CAPACITY: usize = 1024;

/// A secret. Only [`Secret::reveal`] shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Returns the secret in plain text.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Reads and caches the secrets that apps refer to.
pub struct Secrets {
    home: Arc<Shared>,
    manager: OnceLock<aws_sdk_secretsmanager::Client>,
    ssm: OnceLock<aws_sdk_ssm::Client>,
    known: Mutex<HashMap<SecretKey, Known>>,
}

/// The store and the name of a secret. Does not include the field: fields of one secret are read together.
type SecretKey = (String, String);

#[derive(Clone)]
struct Known {
    read_again_at: Timestamp,
    /// The secret, or why it cannot be read, as shown to callers of the app.
    value: Result<Secret, String>,
}

impl Secrets {
    pub(crate) fn new(home: Arc<Shared>) -> Self {
        Self { home, manager: OnceLock::new(), ssm: OnceLock::new(), known: Mutex::default() }
    }

    /// Reads all secrets of an app that are not cached; [`Secrets::of`] reports those that cannot be read. An error
    /// means that AWS did not answer, and that a secret was never read.
    pub async fn ready(&self, app: &App) -> Result<(), StoreError> {
        if app.secrets.is_empty() {
            return Ok(());
        }
        let now = self.home.clock.now();
        let missing: BTreeSet<SecretKey> = {
            let known = self.lock();
            let is_fresh = |key: &SecretKey| known.get(key).is_some_and(|known| now < known.read_again_at);
            app.secrets.values().map(key_of).filter(|key| !is_fresh(key)).collect()
        };
        let read = future::join_all(missing.into_iter().map(|key| async {
            let value = self.read(&key).await;
            (key, value)
        }));
        for (key, value) in read.await {
            self.keep(key, now, value)?;
        }
        Ok(())
    }

    /// Returns the value of an app's environment variable as of the last [`Secrets::ready`], or `None` if `app.yaml`
    /// names no secret for it. The error says why it cannot be read.
    pub fn of(&self, app: &App, variable: &str) -> Result<Option<Secret>, String> {
        let Some(reference) = app.secrets.get(variable) else { return Ok(None) };
        let known = self.lock().get(&key_of(reference)).map(|known| known.value.clone());
        let secret = match known {
            Some(Ok(secret)) => field(&secret, reference.field.as_deref()),
            Some(Err(why)) => Err(why),
            None => Err("it has not been read yet".to_owned()),
        };
        secret
            .map(Some)
            .map_err(|why| format!("`{variable}` is kept in {}, and cannot be read: {why}", reference.store))
    }

    fn keep(
        &self,
        key: SecretKey,
        now: Timestamp,
        read: Result<Secret, ReadError>,
    ) -> Result<(), StoreError> {
        let mut known = self.lock();
        let value = match read {
            Ok(secret) => Ok(secret),
            Err(ReadError::Refused(why)) => Err(why),
            Err(ReadError::Unknown(error)) => {
                let Some(old) = known.get_mut(&key) else { return Err(error) };
                tracing::warn!(store = key.0, secret = key.1, %error, "secret not refreshed: the old value is used");
                old.read_again_at = now + RETRY_INTERVAL;
                return Ok(());
            }
        };
        if known.len() >= CAPACITY && !known.contains_key(&key) {
            known.clear();
        }
        let read_again_at = now + if value.is_ok() { REFRESH_INTERVAL } else { RETRY_INTERVAL };
        known.insert(key, Known { read_again_at, value });
        Ok(())
    }

    async fn read(&self, key: &SecretKey) -> Result<Secret, ReadError> {
        let (store, name) = key;
        let value = match store.as_str() {
            SECRETS_MANAGER => self.secrets_manager(name).await,
            SSM => self.ssm(name).await,
            _ => Err(ReadError::Refused(format!("the store is unknown: use {SECRETS_MANAGER} or {SSM}"))),
        };
        if let Err(ReadError::Refused(why)) = &value {
            tracing::error!(store, secret = name, why, "secret of an app cannot be read");
        }
        value.map(|value| Secret(value.into()))
    }

    async fn secrets_manager(&self, name: &str) -> Result<String, ReadError> {
        let client = self.manager.get_or_init(|| aws_sdk_secretsmanager::Client::new(&self.home.clients.sdk));
        let read = client.get_secret_value().secret_id(name).send().await.map_err(read_error)?;
        match (read.secret_string, read.secret_binary) {
            (Some(text), _) => Ok(text),
            (None, Some(bytes)) => String::from_utf8(bytes.into_inner()).map_err(|_| not_text()),
            (None, None) => Err(not_text()),
        }
    }

    async fn ssm(&self, name: &str) -> Result<String, ReadError> {
        let client = self.ssm.get_or_init(|| aws_sdk_ssm::Client::new(&self.home.clients.sdk));
        let read =
            client.get_parameter().name(name).with_decryption(true).send().await.map_err(read_error)?;
        read.parameter.and_then(|parameter| parameter.value).ok_or_else(not_text)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SecretKey, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum ReadError {
    /// It does not exist, or access is denied.
    Refused(String),
    /// AWS did not answer.
    Unknown(StoreError),
}

fn read_error<E, R>(error: SdkError<E, R>) -> ReadError
where
    E: Error + ProvideErrorMetadata + Send + Sync + 'static,
    R: fmt::Debug + Send + Sync + 'static,
{
    let code = error.as_service_error().and_then(|error| error.code()).map(str::to_owned);
    let why = match code.as_deref() {
        Some("AccessDenied" | "AccessDeniedException") => "access is denied",
        Some("ResourceNotFoundException" | "ParameterNotFound" | "ParameterVersionNotFound") => {
            "it does not exist in this account and region"
        }
        Some("DecryptionFailure" | "InvalidKeyId") => "it cannot be decrypted with its KMS key",
        Some("InvalidParameterException" | "ValidationException") => "its name is not valid",
        Some("InvalidRequestException") => "it is being deleted, or has no value yet",
        _ => return ReadError::Unknown(store_error(error)),
    };
    tracing::debug!(error = ?store_error(error), "secret refused");
    ReadError::Refused(why.to_owned())
}

fn not_text() -> ReadError {
    ReadError::Refused("it is not text".to_owned())
}

fn key_of(reference: &SecretReference) -> SecretKey {
    (reference.store.clone(), reference.name.clone())
}

/// Returns the secret, or one field of it if it is a JSON object.
fn field(secret: &Secret, field: Option<&str>) -> Result<Secret, String> {
    let Some(field) = field else { return Ok(secret.clone()) };
    let Ok(Value::Object(mut object)) = serde_json::from_str(secret.reveal()) else {
        return Err(format!("it is not a JSON object, so it has no field `{field}`"));
    };
    match object.remove(field) {
        Some(Value::String(text)) => Ok(Secret(text.into())),
        Some(value @ (Value::Number(_) | Value::Bool(_))) => Ok(Secret(value.to_string().into())),
        Some(_) => Err(format!("its field `{field}` is not text")),
        None => Err(format!("it has no field `{field}`")),
    }
}

/// An [`AppStore`] that reads the secrets of the apps it returns, for processes that execute runs or check their input.
pub struct AppsWithSecrets {
    apps: Arc<dyn AppStore>,
    secrets: Arc<Secrets>,
}

impl AppsWithSecrets {
    /// Returns the apps of `apps`, with [`Secrets::ready`] called for each one that is found.
    pub fn new(apps: Arc<dyn AppStore>, secrets: Arc<Secrets>) -> Self {
        Self { apps, secrets }
    }

    async fn ready(&self, app: Option<Arc<App>>) -> Result<Option<Arc<App>>, StoreError> {
        if let Some(app) = &app {
            self.secrets.ready(app).await?;
        }
        Ok(app)
    }
}

#[async_trait]
impl AppStore for AppsWithSecrets {
    async fn by_host(&self, host: &str) -> Result<Option<Arc<App>>, StoreError> {
        self.ready(self.apps.by_host(host).await?).await
    }

    async fn version(&self, app: AppId, version: &str) -> Result<Option<Arc<App>>, StoreError> {
        self.ready(self.apps.version(app, version).await?).await
    }

    async fn list(&self) -> Result<Vec<Arc<App>>, StoreError> {
        self.apps.list().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_shown_by_reveal_only() {
        let secret = Secret("hunter2".into());
        assert_eq!(format!("{secret:?} {:?}", Some(&secret)), "Secret(…) Some(Secret(…))");
        assert_eq!(secret.reveal(), "hunter2");
    }

    #[test]
    fn a_field_of_a_json_secret_is_a_secret() {
        let secret = Secret(r#"{"key": "k", "port": 8080, "list": []}"#.into());
        let of = |name| field(&secret, Some(name)).map(|found| found.reveal().to_owned());
        assert_eq!(of("key").as_deref(), Ok("k"));
        assert_eq!(of("port").as_deref(), Ok("8080"));
        for (name, why) in [("list", "its field `list` is not text"), ("kye", "it has no field `kye`")] {
            assert_eq!(of(name).unwrap_err(), why);
        }
        let plain = field(&Secret("hunter2".into()), Some("key")).unwrap_err();
        assert!(plain.contains("not a JSON object") && !plain.contains("hunter2"), "{plain}");
    }
}
