//! URL and credentials of a provider, from the node, its connection, the environment and the provider's defaults.

use super::{
    parameters::is_o_series,
    provider::{ApiKind, BaseUrl, NON_OPENAI_CLIENT_DIALECT, Provider},
};
use crate::{
    llm::{Account, Endpoint, Keys, OPENAI_DIALECT, Protocol},
    load::{Connection, Fields, Loading, Refusal},
};
use serde_json::Value;

/// Sources of settings. A setting is looked up in the connection, then in the environment.
struct Settings<'s> {
    provider: &'s Provider,
    fields: Fields<'s>,
    loading: &'s Loading<'s>,
    connection: Option<Connection>,
}

/// The endpoint of a node's model. `None` if settings are missing or invalid; then errors are reported.
pub(super) fn endpoint(
    provider: &Provider,
    id: &str,
    fields: Fields<'_>,
    loading: &Loading<'_>,
) -> Option<Endpoint> {
    if fields.get("model").is_none() {
        fields.mistake(fields.yaml.spot, format!("the node `{id}` lacks its `model`"));
    }
    let connection = connection(provider, fields, loading)?;
    if let Some(connection) = &connection
        && connection.class != provider.connection
    {
        let message = format!(
            "this node needs a connection of type `dynamiq.connections.{}`, not `{}`",
            provider.connection, connection.class
        );
        fields.mistake(fields.spot("connection"), message);
        return None;
    }
    let model = model(provider, fields);
    let settings = Settings { provider, fields, loading, connection };
    let made = settings.endpoint(model.as_deref().unwrap_or_default());
    let mut endpoint = made?;
    endpoint.model = model?;
    for key in ["headers", "extra_headers"] {
        if let Some(Value::Object(headers)) = fields.json(key) {
            let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            endpoint.headers.extend(headers.iter().map(|(name, value)| (name.clone(), text(value))));
        }
    }
    if let Some(retries) = fields.count("max_retries") {
        endpoint.retries = retries;
    }
    Some(endpoint)
}

/// The model's name without the provider's prefix.
fn model(provider: &Provider, fields: Fields<'_>) -> Option<String> {
    let model = fields.text("model")?;
    let own = fields.text("provider_prefix").map(|prefix| format!("{prefix}/"));
    let mut prefixes = own.as_deref().into_iter().chain(provider.prefixes.iter().copied());
    let model = prefixes.find_map(|prefix| model.strip_prefix(prefix)).unwrap_or(model);
    // Files name the provider behind the router before the model (`provider/owner/model`); the router expects it after.
    if let (ApiKind::HuggingFace, Some((routed, rest))) = (provider.speaks, model.split_once('/'))
        && rest.contains('/')
    {
        return Some(format!("{rest}:{routed}"));
    }
    Some(model.to_owned())
}

impl Settings<'_> {
    fn endpoint(&self, model: &str) -> Option<Endpoint> {
        match self.provider.speaks {
            ApiKind::Vertex => return self.vertex(),
            ApiKind::Bedrock => return self.bedrock(),
            _ => {}
        }
        let (base, key) = (self.base(), self.key());
        let (base, key) = (base?, key?);
        let base = base.trim_end_matches('/');
        let bearer = |key: Option<String>| {
            key.map(|key| ("authorization".to_owned(), format!("Bearer {key}"))).into_iter().collect()
        };
        let header = |name: &str| key.clone().map(|key| (name.to_owned(), key)).into_iter().collect();
        let (protocol, url, headers): (_, _, Vec<_>) = match self.provider.speaks {
            ApiKind::OpenAi(dialect) => (Protocol::OpenAi(dialect), self.completions(base), bearer(key)),
            ApiKind::Azure => {
                // The reference uses another client for these models.
                let dialect = if is_o_series(model) { OPENAI_DIALECT } else { NON_OPENAI_CLIENT_DIALECT };
                (Protocol::OpenAi(dialect), self.azure(base, model)?, header("api-key"))
            }
            ApiKind::HuggingFace => {
                (Protocol::OpenAi(NON_OPENAI_CLIENT_DIALECT), hugging_face(base), bearer(key))
            }
            ApiKind::Anthropic => {
                (Protocol::Anthropic, with_ending(base, "/v1/messages"), header("x-api-key"))
            }
            ApiKind::Gemini => (Protocol::Gemini(None), base.to_owned(), header("x-goog-api-key")),
            ApiKind::Cohere => (Protocol::Cohere, base.to_owned(), bearer(key)),
            ApiKind::Vertex | ApiKind::Bedrock => return None,
        };
        Some(self.made(protocol, url, headers))
    }

    fn made(&self, protocol: Protocol, url: String, headers: Vec<(String, String)>) -> Endpoint {
        Endpoint { protocol, provider: self.provider.name, url, headers, ..Endpoint::default() }
    }

    /// The base URL that the node sets.
    fn node_base(&self) -> Option<&str> {
        self.fields.text("api_base").or_else(|| self.fields.text("base_url"))
    }

    fn base(&self) -> Option<String> {
        if let Some(base) = self.node_base() {
            return Some(base.to_owned());
        }
        let (variable, default) = match self.provider.place {
            BaseUrl::Fixed(url) => return Some(url.to_owned()),
            BaseUrl::Default(variable, default) => (variable, Some(default)),
            BaseUrl::Given(variable) => (variable, None),
        };
        match self.setting("url", variable) {
            Ok(Some(url)) => Some(url),
            Ok(None) => match default {
                Some(default) => Some(default.to_owned()),
                None => self.missing("url", variable, None),
            },
            Err(why) => self.missing("url", variable, Some(why)),
        }
    }

    /// The key; `Some(None)` if the provider needs none. If it is missing, reports an error and returns `None`.
    #[expect(clippy::option_option, reason = "no key needed, and a missing key, are different results")]
    fn key(&self) -> Option<Option<String>> {
        if let Some(key) = self.fields.text("api_key") {
            return Some(Some(key.to_owned()));
        }
        if let Some(key) = self.connection.as_ref().and_then(|connection| connection.api_key.clone()) {
            return Some(Some(key));
        }
        if self.provider.key.is_none() && self.provider.connection != "HttpApiKey" {
            return Some(None);
        }
        self.required("api_key", self.provider.key).map(Some)
    }

    /// A required setting.
    fn required(&self, name: &str, variable: Option<&str>) -> Option<String> {
        match self.setting(name, variable) {
            Ok(Some(value)) => Some(value),
            Ok(None) => self.missing(name, variable, None),
            Err(why) => self.missing(name, variable, Some(why)),
        }
    }

    /// A setting of the connection, or else of the environment variable. The error says why the variable cannot be
    /// read.
    fn setting(&self, name: &str, variable: Option<&str>) -> Result<Option<String>, String> {
        if let Some(value) = self.connection.as_ref().and_then(|connection| connection.text(name)) {
            return Ok(Some(value.to_owned()));
        }
        match variable.map(|variable| (self.loading.env)(variable)) {
            None => Ok(None),
            Some(Ok(value)) => Ok(value.filter(|value| !value.is_empty())),
            // A forbidden variable counts as not set for the URL: the default, or the error of a missing one, applies.
            Some(Err(Refusal::Forbidden(why))) if name != "url" => Err(why),
            Some(Err(Refusal::Forbidden(_))) => Ok(None),
            Some(Err(Refusal::Unreadable(why))) => Err(why),
        }
    }

    fn missing<T>(&self, name: &str, variable: Option<&str>, why: Option<String>) -> Option<T> {
        let message = match (why, variable) {
            (Some(why), _) => format!("there is no `{name}`, and {why}"),
            (None, Some(variable)) => {
                format!("there is no `{name}`, and the environment variable `{variable}` is not set")
            }
            (None, None) => format!("the connection lacks its `{name}`"),
        };
        self.fields.mistake(self.fields.spot("connection"), message);
        None
    }

    fn completions(&self, base: &str) -> String {
        if self.provider.connection == "Ollama" && !base.ends_with("/v1") {
            // Ollama's native API has another format; this is its chat completions API.
            return format!("{base}/v1/chat/completions");
        }
        with_ending(base, "/chat/completions")
    }

    fn azure(&self, base: &str, model: &str) -> Option<String> {
        if base.ends_with("/openai/v1") {
            return Some(format!("{base}/chat/completions"));
        }
        let version = match self.fields.text("api_version") {
            Some(version) => version.to_owned(),
            None => self.required("api_version", Some("AZURE_API_VERSION"))?,
        };
        Some(format!("{base}/openai/deployments/{model}/chat/completions?api-version={version}"))
    }

    fn vertex(&self) -> Option<Endpoint> {
        let project = self.required("vertex_project_id", Some("VERTEXAI_PROJECT_ID"));
        let location = self.required("vertex_project_location", Some("VERTEXAI_PROJECT_LOCATION"));
        let email = self.required("client_email", Some("GOOGLE_CLOUD_CLIENT_EMAIL"));
        let key = self.required("private_key", Some("GOOGLE_CLOUD_PRIVATE_KEY"));
        let token_url = match self.setting("token_uri", Some("GOOGLE_CLOUD_TOKEN_URI")) {
            Ok(Some(url)) => url,
            _ => "https://oauth2.googleapis.com/token".to_owned(),
        };
        let (project, location, email, key) = (project?, location?, email?, key?);
        let account = match Account::new(email, token_url, &key) {
            Ok(account) => account,
            Err(why) => {
                self.fields.mistake(
                    self.fields.spot("connection"),
                    format!("the service account cannot be used: {why}"),
                );
                return None;
            }
        };
        let host = match (self.node_base(), location.as_str()) {
            (Some(base), _) => base.trim_end_matches('/').to_owned(),
            (None, "global") => "https://aiplatform.googleapis.com/v1".to_owned(),
            (None, location) => format!("https://{location}-aiplatform.googleapis.com/v1"),
        };
        let url = format!("{host}/projects/{project}/locations/{location}/publishers/google");
        Some(self.made(Protocol::Gemini(Some(account)), url, Vec::new()))
    }

    fn bedrock(&self) -> Option<Endpoint> {
        if self.connection.as_ref().is_some_and(|connection| connection.text("profile").is_some()) {
            let message = "`profile` is not supported: set `access_key_id`, `secret_access_key` and `region`";
            self.fields.mistake(self.fields.spot("connection"), message.into());
            return None;
        }
        // An app cannot read the platform's `AWS_…` variables: its file refers to variables of the app.
        let access_key_id = self.required("access_key_id", Some("AWS_ACCESS_KEY_ID"));
        let secret_access_key = self.required("secret_access_key", Some("AWS_SECRET_ACCESS_KEY"));
        let region = self.required("region", Some("AWS_DEFAULT_REGION"));
        let session_token = self.setting("session_token", Some("AWS_SESSION_TOKEN")).ok().flatten();
        let keys = Keys {
            access_key_id: access_key_id?,
            secret_access_key: secret_access_key?,
            session_token,
            region: region?,
        };
        let base = self.fields.text("aws_bedrock_runtime_endpoint").or_else(|| self.node_base());
        let url = base.map_or_else(
            || format!("https://bedrock-runtime.{}.amazonaws.com", keys.region),
            |base| base.trim_end_matches('/').to_owned(),
        );
        Some(self.made(Protocol::Bedrock(keys), url, Vec::new()))
    }
}

fn with_ending(base: &str, ending: &str) -> String {
    if base.ends_with(ending) { base.to_owned() } else { format!("{base}{ending}") }
}

/// The base URL may be given with or without `/v1`.
fn hugging_face(base: &str) -> String {
    let base = base.trim_end_matches("/chat/completions");
    let version = if base.ends_with("/v1") { "" } else { "/v1" };
    format!("{base}{version}/chat/completions")
}

/// The node's connection, if it has one. If it is invalid, reports an error and returns `None`.
#[expect(clippy::option_option, reason = "no connection, and an invalid one, are different results")]
fn connection(provider: &Provider, fields: Fields<'_>, loading: &Loading<'_>) -> Option<Option<Connection>> {
    let Some(given) = fields.get("connection") else {
        if matches!(provider.place, BaseUrl::Given(None)) {
            let message = format!(
                "`connection` cannot be blank: set one of type `dynamiq.connections.{}`",
                provider.connection
            );
            fields.mistake(fields.yaml.spot, message);
            return None;
        }
        return Some(None);
    };
    let Some(id) = given.text() else {
        return Some(Some(Connection::read(fields.fields("connection")?, "the connection")?));
    };
    let Some(known) = loading.connections.get(id) else {
        let names: Vec<&str> = loading.connections.keys().map(String::as_str).collect();
        let near = crate::load::meant(id, &names);
        fields.mistake(given.spot, format!("there is no connection `{id}`{near}"));
        return None;
    };
    known.clone().map(Some)
}
