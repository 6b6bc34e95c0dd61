//! Access keys: who may call which apps.

use crate::{App, Ids, OrganizationId, ProjectId, StoreError, Timestamp};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;
use subtle::ConstantTimeEq;

/// An access key as it is stored: without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessKey {
    /// Its public part: 16 hex digits.
    pub id: String,
    /// SHA-256 of its secret.
    pub hash: [u8; 32],
    /// The apps that it gives access to.
    pub scope: Scope,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it expires: from then on it is refused. `None` if it does not expire.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked, if it was: since then it is refused.
    pub revoked_at: Option<Timestamp>,
}

impl AccessKey {
    /// Whether it is neither revoked nor expired.
    pub fn is_valid(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|expires| now < expires)
    }
}

/// The apps that an access key gives access to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// The organization whose apps it covers.
    pub organization: OrganizationId,
    /// Restricts it to the apps of this project of the organization.
    pub project: Option<ProjectId>,
}

impl Scope {
    /// Whether it covers the app.
    pub fn covers(&self, app: &App) -> bool {
        self.organization == app.organization && self.project.is_none_or(|project| project == app.project)
    }
}

/// An access key as a caller sends it: `ry_<16 hex digits>_<64 hex digits>`; the second part is a 256-bit random
/// secret.
///
/// Its `Debug` shows the public part only.
#[derive(Clone)]
pub struct Credential {
    id: String,
    secret: [u8; 32],
}

impl Credential {
    /// Returns a new key and its stored form.
    pub fn generate(
        ids: &dyn Ids,
        scope: Scope,
        created_at: Timestamp,
        expires_at: Option<Timestamp>,
    ) -> (Self, AccessKey) {
        let id = hex(&ids.secret()[..8]);
        let credential = Self { id, secret: ids.secret() };
        let key = AccessKey { expires_at, ..credential.key(scope, created_at) };
        (credential, key)
    }

    /// Returns its stored form, which does not expire.
    pub fn key(&self, scope: Scope, created_at: Timestamp) -> AccessKey {
        let (id, hash) = (self.id.clone(), self.hash());
        AccessKey { id, hash, scope, created_at, expires_at: None, revoked_at: None }
    }

    /// Parses a key; `None` if it does not have the form above.
    pub fn parse(text: &str) -> Option<Self> {
        let (id, secret) = text.strip_prefix("ry_")?.split_once('_')?;
        let is_hex = |part: &str| part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if id.len() != 16 || secret.len() != 64 || !is_hex(id) || !is_hex(secret) {
            return None;
        }
        let mut bytes = [0; 32];
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&secret[index * 2..index * 2 + 2], 16).ok()?;
        }
        Some(Self { id: id.to_owned(), secret: bytes })
    }

    /// Returns the whole key, to be shown once.
    pub fn reveal(&self) -> String {
        format!("ry_{}_{}", self.id, hex(&self.secret))
    }

    /// The public part.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether this is `key`, and `key` is valid at `now`. The hashes are compared in constant time.
    pub fn opens(&self, key: &AccessKey, now: Timestamp) -> bool {
        bool::from(self.hash().ct_eq(&key.hash)) && key.is_valid(now)
    }

    fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.secret).into()
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ry_{}_…", self.id)
    }
}

fn hex(bytes: &[u8]) -> String {
    use fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Keeps access keys. Results may be cached for up to 15 s: a caller that checks a key every 10 s notices within 30 s
/// that it was revoked.
#[async_trait]
pub trait KeyStore: Send + Sync + 'static {
    /// Returns the key with this public part.
    async fn find(&self, id: &str) -> Result<Option<AccessKey>, StoreError>;
}
