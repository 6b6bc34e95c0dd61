//! References to secrets.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// Where the value of an app's environment variable is kept: `STORE:NAME`, or `STORE:NAME#FIELD` for one field of a
/// secret that is a JSON object.
///
/// The stores and the form of their names depend on the platform.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SecretReference {
    /// The secret store.
    pub store: String,
    /// The secret's name in the store.
    pub name: String,
    /// The field, if the secret is a JSON object.
    pub field: Option<String>,
}

/// The text is not a [`SecretReference`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must have the form STORE:NAME or STORE:NAME#FIELD")]
pub struct BadSecretReference;

impl FromStr for SecretReference {
    type Err = BadSecretReference;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (store, name) = text.split_once(':').ok_or(BadSecretReference)?;
        let (name, field) = match name.split_once('#') {
            Some((name, field)) => (name, Some(field.to_owned())),
            None => (name, None),
        };
        let is_printed = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_graphic());
        let is_valid =
            is_printed(store) && is_printed(name) && field.as_deref().is_none_or(|f| !f.is_empty());
        is_valid
            .then(|| Self { store: store.to_owned(), name: name.to_owned(), field })
            .ok_or(BadSecretReference)
    }
}

impl fmt::Display for SecretReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.store, self.name)?;
        self.field.as_ref().map_or(Ok(()), |field| write!(f, "#{field}"))
    }
}

impl TryFrom<String> for SecretReference {
    type Error = BadSecretReference;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<SecretReference> for String {
    fn from(reference: SecretReference) -> Self {
        reference.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_parsed_and_printed_unchanged() {
        for (text, store, name, field) in [
            ("ssm:/runyard/openai", "ssm", "/runyard/openai", None),
            ("secretsmanager:prod/openai#api_key", "secretsmanager", "prod/openai", Some("api_key")),
            (
                "secretsmanager:arn:aws:secretsmanager:eu-west-1:123456789012:secret:openai-AbCdEf",
                "secretsmanager",
                "arn:aws:secretsmanager:eu-west-1:123456789012:secret:openai-AbCdEf",
                None,
            ),
            ("ssm:/a:3", "ssm", "/a:3", None),
        ] {
            let reference: SecretReference = text.parse().expect(text);
            assert_eq!(
                (reference.store.as_str(), reference.name.as_str(), reference.field.as_deref()),
                (store, name, field)
            );
            assert_eq!(reference.to_string(), text);
            let json = serde_json::to_string(&reference).expect("it is a string");
            assert_eq!(serde_json::from_str::<SecretReference>(&json).expect(text), reference);
        }
        for wrong in ["", "ssm", "ssm:", ":name", "ssm:a b", "ssm:a#", "ssm:\n", "ssm:#field"] {
            assert_eq!(wrong.parse::<SecretReference>(), Err(BadSecretReference), "{wrong}");
        }
    }
}
