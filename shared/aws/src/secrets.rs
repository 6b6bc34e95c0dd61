//! Secrets: the values of environment variables that Secrets Manager or SSM's parameter store keeps.
//!
//! Read when an app is first used, all of it at once, and again each 5 minutes that it is in use, so that a rotated key
//! reaches processes that live for hours. Never written anywhere; an error names the variable, the log the reference.

use crate::{aws::Home, error::store_error};
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
const FRESH: Duration = Duration::from_mins(5);

/// How long it is before a secret that could not be read is asked for again.
const REFUSED: Duration = Duration::from_secs(30);

/// Secrets that are cached.
const CAPACITY: usize = 1024;

/// A secret. Shown by nothing but [`Secret::reveal`].
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// The secret itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Reads the secrets that apps name.
pub struct Secrets {
    home: Arc<Home>,
    manager: OnceLock<aws_sdk_secretsmanager::Client>,
    ssm: OnceLock<aws_sdk_ssm::Client>,
    known: Mutex<HashMap<Place, Known>>,
}

/// The store and the name of a secret; fields of one secret are read together.
type Place = (String, String);

#[derive(Clone)]
struct Known {
    again_at: Timestamp,
    /// The secret, or why it cannot be read, told to whoever calls the app.
    value: Result<Secret, String>,
}

impl Secrets {
    pub(crate) fn new(home: Arc<Home>) -> Self {
        Self { home, manager: OnceLock::new(), ssm: OnceLock::new(), known: Mutex::default() }
    }

    /// Has all secrets of an app at hand that can be read; those that cannot are told by [`Secrets::of`]. An error means that
    /// AWS did not answer, and that it is not known yet.
    pub async fn ready(&self, app: &App) -> Result<(), StoreError> {
        if app.secrets.is_empty() {
            return Ok(());
        }
        let now = self.home.clock.now();
        let missing: BTreeSet<Place> = {
            let known = self.lock();
            let is_fresh = |place: &Place| known.get(place).is_some_and(|known| now < known.again_at);
            app.secrets.values().map(place).filter(|place| !is_fresh(place)).collect()
        };
        let read = future::join_all(missing.into_iter().map(|place| async {
            let value = self.read(&place).await;
            (place, value)
        }));
        for (place, value) in read.await {
            self.keep(place, now, value)?;
        }
        Ok(())
    }

    /// The value of an app's environment variable, if `app.yaml` names a secret for it, as it was when the app was last
    /// [made ready](Secrets::ready); else nothing. Or why it cannot be read.
    pub fn of(&self, app: &App, variable: &str) -> Result<Option<Secret>, String> {
        let Some(reference) = app.secrets.get(variable) else { return Ok(None) };
        let known = self.lock().get(&place(reference)).map(|known| known.value.clone());
        let secret = match known {
            Some(Ok(secret)) => field(&secret, reference.field.as_deref()),
            Some(Err(why)) => Err(why),
            None => Err("it was not read yet".to_owned()),
        };
        secret
            .map(Some)
            .map_err(|why| format!("`{variable}` is kept in {}, and cannot be read: {why}", reference.store))
    }

    fn keep(&self, place: Place, now: Timestamp, read: Result<Secret, Unread>) -> Result<(), StoreError> {
        let mut known = self.lock();
        let value = match read {
            Ok(secret) => Ok(secret),
            Err(Unread::Refused(why)) => Err(why),
            Err(Unread::Unknown(error)) => {
                let Some(old) = known.get_mut(&place) else { return Err(error) };
                tracing::warn!(store = place.0, secret = place.1, %error, "a secret is used as it was last read");
                old.again_at = now + REFUSED;
                return Ok(());
            }
        };
        if known.len() >= CAPACITY && !known.contains_key(&place) {
            known.clear();
        }
        let again_at = now + if value.is_ok() { FRESH } else { REFUSED };
        known.insert(place, Known { again_at, value });
        Ok(())
    }

    async fn read(&self, place: &Place) -> Result<Secret, Unread> {
        let (store, name) = place;
        let value = match store.as_str() {
            SECRETS_MANAGER => self.secrets_manager(name).await,
            SSM => self.ssm(name).await,
            _ => Err(Unread::Refused("there is no such store here".to_owned())),
        };
        if let Err(Unread::Refused(why)) = &value {
            tracing::error!(store, secret = name, "a secret that an app names cannot be read: {why}");
        }
        value.map(|value| Secret(value.into()))
    }

    async fn secrets_manager(&self, name: &str) -> Result<String, Unread> {
        let client = self.manager.get_or_init(|| aws_sdk_secretsmanager::Client::new(&self.home.clients.sdk));
        let read = client.get_secret_value().secret_id(name).send().await.map_err(unread)?;
        match (read.secret_string, read.secret_binary) {
            (Some(text), _) => Ok(text),
            (None, Some(bytes)) => String::from_utf8(bytes.into_inner()).map_err(|_| not_text()),
            (None, None) => Err(not_text()),
        }
    }

    async fn ssm(&self, name: &str) -> Result<String, Unread> {
        let client = self.ssm.get_or_init(|| aws_sdk_ssm::Client::new(&self.home.clients.sdk));
        let read = client.get_parameter().name(name).with_decryption(true).send().await.map_err(unread)?;
        read.parameter.and_then(|parameter| parameter.value).ok_or_else(not_text)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Place, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Unread {
    /// It is not there, or may not be read.
    Refused(String),
    /// AWS did not say.
    Unknown(StoreError),
}

fn unread<E, R>(error: SdkError<E, R>) -> Unread
where
    E: Error + ProvideErrorMetadata + Send + Sync + 'static,
    R: fmt::Debug + Send + Sync + 'static,
{
    let code = error.as_service_error().and_then(|error| error.code()).map(str::to_owned);
    let why = match code.as_deref() {
        Some("AccessDenied" | "AccessDeniedException") => "access is denied",
        Some("ResourceNotFoundException" | "ParameterNotFound" | "ParameterVersionNotFound") => {
            "there is none of that name, in this account and region"
        }
        Some("DecryptionFailure" | "InvalidKeyId") => "it cannot be decrypted with its KMS key",
        Some("InvalidParameterException" | "ValidationException") => "that is no name of one",
        Some("InvalidRequestException") => "it is being deleted, or has no value yet",
        _ => return Unread::Unknown(store_error(error)),
    };
    tracing::debug!(error = ?store_error(error), "a secret was refused");
    Unread::Refused(why.to_owned())
}

fn not_text() -> Unread {
    Unread::Refused("it is no text".to_owned())
}

fn place(reference: &SecretReference) -> Place {
    (reference.store.clone(), reference.name.clone())
}

/// The secret, or one field of the JSON object that it is.
fn field(secret: &Secret, field: Option<&str>) -> Result<Secret, String> {
    let Some(field) = field else { return Ok(secret.clone()) };
    let Ok(Value::Object(mut object)) = serde_json::from_str(secret.reveal()) else {
        return Err(format!("it is no JSON object, and so has no field `{field}`"));
    };
    match object.remove(field) {
        Some(Value::String(text)) => Ok(Secret(text.into())),
        Some(value @ (Value::Number(_) | Value::Bool(_))) => Ok(Secret(value.to_string().into())),
        Some(_) => Err(format!("its field `{field}` is no text")),
        None => Err(format!("it has no field `{field}`")),
    }
}

/// An [`AppStore`] whose apps have their secrets at hand: for whoever executes runs, or judges their input.
pub struct AppsWithSecrets {
    apps: Arc<dyn AppStore>,
    secrets: Arc<Secrets>,
}

impl AppsWithSecrets {
    /// The apps of `apps`, with `secrets` made ready for each that is asked for.
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
    fn a_secret_is_shown_on_request_only() {
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
        for (name, why) in [("list", "its field `list` is no text"), ("kye", "it has no field `kye`")] {
            assert_eq!(of(name).unwrap_err(), why);
        }
        let plain = field(&Secret("hunter2".into()), Some("key")).unwrap_err();
        assert!(plain.contains("no JSON object") && !plain.contains("hunter2"), "{plain}");
    }
}
