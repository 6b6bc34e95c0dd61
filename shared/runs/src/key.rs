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
    /// What it opens.
    pub scope: Scope,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on it is refused.
    pub expires_at: Option<Timestamp>,
    /// Since when it is refused.
    pub revoked_at: Option<Timestamp>,
}

impl AccessKey {
    /// Whether it is neither revoked nor expired.
    pub fn is_good(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|expires| now < expires)
    }
}

/// What an access key opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// The apps of this organization,
    pub organization: OrganizationId,
    /// or only those of this project.
    pub project: Option<ProjectId>,
}

impl Scope {
    /// Whether it covers the app.
    pub fn covers(&self, app: &App) -> bool {
        self.organization == app.organization && self.project.is_none_or(|project| project == app.project)
    }
}

/// An access key as its holder has it: `ry_<16 hex digits>_<64 hex digits>`, 256 random bits of secret.
///
/// Its `Debug` shows the public part only.
#[derive(Clone)]
pub struct Credential {
    id: String,
    secret: [u8; 32],
}

impl Credential {
    /// A new key and what is stored of it.
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

    /// What is stored of it.
    pub fn key(&self, scope: Scope, created_at: Timestamp) -> AccessKey {
        let (id, hash) = (self.id.clone(), self.hash());
        AccessKey { id, hash, scope, created_at, expires_at: None, revoked_at: None }
    }

    /// Reads a key; `None` if it is not of the form above.
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

    /// The whole key, to be shown once.
    pub fn reveal(&self) -> String {
        format!("ry_{}_{}", self.id, hex(&self.secret))
    }

    /// The public part.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether this is `key`, and `key` is good at `now`. Takes the same time wherever the hashes differ.
    pub fn opens(&self, key: &AccessKey, now: Timestamp) -> bool {
        bool::from(self.hash().ct_eq(&key.hash)) && key.is_good(now)
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

/// Keeps access keys. Answers from memory for up to 15 s: who looks each 10 s knows within 30 s that a key was revoked.
#[async_trait]
pub trait KeyStore: Send + Sync + 'static {
    /// The key with this public part.
    async fn find(&self, id: &str) -> Result<Option<AccessKey>, StoreError>;
}
