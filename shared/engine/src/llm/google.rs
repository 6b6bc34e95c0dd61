//! Service accounts of Google Cloud: exchanges a signed claim for an access token, which is valid for an hour.

use super::{Endpoint, LlmError};
use crate::egress::Http;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rustls::{
    SignatureScheme,
    crypto::ring::sign::any_supported_type,
    pki_types::{PrivateKeyDer, pem::PemObject},
    sign::SigningKey,
};
use serde_json::json;
use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
/// A token is not used within this time before its expiry.
const EXPIRY_MARGIN: Duration = Duration::from_mins(1);
/// The longest lifetime of a token in seconds, whatever the service reports.
const MAX_LIFETIME_SECONDS: u64 = 86_400;

/// A service account, and its token while it is valid.
pub(crate) struct Account {
    email: String,
    token_url: String,
    key: Arc<dyn SigningKey>,
    token: Mutex<Option<(String, Instant)>>,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account").field("email", &self.email).finish_non_exhaustive()
    }
}

impl Account {
    /// An account with a private key in PEM. The error says what is wrong with the key, but does not contain it.
    pub(crate) fn new(email: String, token_url: String, private_key: &str) -> Result<Self, String> {
        // A key from an environment variable may have `\n` in place of line breaks.
        let pem = private_key.replace("\\n", "\n");
        let key = PrivateKeyDer::from_pem_slice(pem.as_bytes())
            .map_err(|_| "the private key is not in PEM".to_owned())?;
        let key =
            any_supported_type(&key).map_err(|error| format!("the private key cannot be used: {error}"))?;
        Ok(Self { email, token_url, key, token: Mutex::default() })
    }

    /// Returns a valid token, which is requested if there is none.
    pub(super) async fn token(&self, endpoint: &Endpoint, http: &Http) -> Result<String, LlmError> {
        let known = self.token.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((token, until)) = known
            && Instant::now() < until
        {
            return Ok(token);
        }
        let form = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer".to_owned()),
            ("assertion", self.claim().map_err(LlmError::refused)?),
        ];
        let form = form.map(|(name, value)| format!("{name}={}", value.replace(':', "%3A"))).join("&");
        let response = endpoint
            .post(http, &self.token_url, |post| {
                post.header("content-type", "application/x-www-form-urlencoded").body(form)
            })
            .await?;
        let answer = endpoint.json(response).await?;
        let Some(token) = answer["access_token"].as_str() else {
            return Err(LlmError::connection("the token service returned no token".into()));
        };
        let seconds = answer["expires_in"].as_u64().unwrap_or(3600).min(MAX_LIFETIME_SECONDS);
        let lifetime = Duration::from_secs(seconds).saturating_sub(EXPIRY_MARGIN);
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((token.to_owned(), Instant::now() + lifetime));
        Ok(token.to_owned())
    }

    /// A signed JSON Web Token that identifies the account.
    fn claim(&self) -> Result<String, String> {
        #[expect(
            clippy::disallowed_methods,
            reason = "the token service compares it with its own clock; no run reads it"
        )]
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let claims = json!({
            "iss": self.email,
            "scope": SCOPE,
            "aud": self.token_url,
            "iat": now,
            "exp": now + 3600,
        });
        let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let head = encode(&json!({"alg": "RS256", "typ": "JWT"}).to_string());
        let signed = format!("{head}.{}", encode(&claims.to_string()));
        let signer = self.key.choose_scheme(&[SignatureScheme::RSA_PKCS1_SHA256]);
        let signer = signer.ok_or("the private key is not an RSA key")?;
        let signature = signer.sign(signed.as_bytes()).map_err(|error| error.to_string())?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}
