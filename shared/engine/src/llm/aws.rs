//! AWS Signature Version 4, only for POST requests with a JSON body and without a query.

use aws_sigv4::sign::v4::{calculate_signature, generate_signing_key};
use sha2::{Digest, Sha256};
use std::{
    fmt::{self, Write},
    time::SystemTime,
};

const SERVICE: &str = "bedrock";

/// Credentials and region for signing requests.
#[derive(Clone)]
pub(crate) struct Keys {
    pub(crate) access_key_id: String,
    pub(crate) secret_access_key: String,
    pub(crate) session_token: Option<String>,
    pub(crate) region: String,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("region", &self.region).finish_non_exhaustive()
    }
}

impl Keys {
    /// Returns the headers that sign a request to `path` at `base`, a URL without a path.
    pub(crate) fn sign(&self, base: &str, path: &str, body: &str) -> Vec<(&'static str, String)> {
        #[expect(clippy::disallowed_methods, reason = "AWS compares it with its own clock; no run reads it")]
        let now = SystemTime::now();
        self.sign_at(now, base, path, body)
    }

    fn sign_at(&self, now: SystemTime, base: &str, path: &str, body: &str) -> Vec<(&'static str, String)> {
        let time = timestamp(now);
        let date = &time[..8];
        let host = base.split_once("://").map_or(base, |(_, host)| host);
        let mut headers = vec![("host", host.to_owned()), ("x-amz-date", time.clone())];
        if let Some(token) = &self.session_token {
            headers.push(("x-amz-security-token", token.clone()));
        }
        let mut canonical = String::new();
        for (name, value) in &headers {
            let _ = writeln!(canonical, "{name}:{value}");
        }
        let names = headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
        // The path is encoded twice in the signature, as for every service except S3.
        let path = path.split('/').map(path_segment).collect::<Vec<_>>().join("/");
        let request = format!("POST\n{path}\n\n{canonical}\n{names}\n{}", hash(body));
        let scope = format!("{date}/{}/{SERVICE}/aws4_request", self.region);
        let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hash(&request));
        let key = generate_signing_key(&self.secret_access_key, now, &self.region, SERVICE);
        let signature = calculate_signature(key, to_sign.as_bytes());
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
            self.access_key_id
        );
        // The HTTP client sets the host header.
        headers.remove(0);
        headers.push(("authorization", authorization));
        headers
    }
}

/// Percent-encodes all except unreserved characters.
pub(crate) fn path_segment(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

fn hash(text: &str) -> String {
    Sha256::digest(text).iter().fold(String::with_capacity(64), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// `20261124T150000Z`.
fn timestamp(now: SystemTime) -> String {
    jiff::Timestamp::try_from(now).unwrap_or_default().strftime("%Y%m%dT%H%M%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    /// The expected headers are those of botocore 1.44 for the same request.
    #[test]
    fn signs_like_botocore() {
        let keys = Keys {
            access_key_id: "AKIDEXAMPLE".into(),
            secret_access_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into(),
            session_token: Some("token".into()),
            region: "us-east-1".into(),
        };
        let path = format!("/model/{}/converse", path_segment("anthropic.claude-3-haiku-20240307-v1:0"));
        let now = UNIX_EPOCH + Duration::from_hours(498_759);
        let base = "https://bedrock-runtime.us-east-1.amazonaws.com";
        let headers = keys.sign_at(now, base, &path, r#"{"messages":[]}"#);
        assert_eq!(headers[0], ("x-amz-date", "20261124T150000Z".to_owned()));
        let authorization = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261124/us-east-1/bedrock/aws4_request, \
            SignedHeaders=host;x-amz-date;x-amz-security-token, \
            Signature=e5fa0651415f7db6923de007004afa0cb3814058cfd81f4398ebcedeb2b61677";
        assert_eq!(headers[2], ("authorization", authorization.to_owned()));
    }
}
