//! Where a provider is, and how to be let in: what the connection, the environment and the provider's defaults say.

use super::provider::Provider;
use crate::{
    llm::Endpoint,
    load::{Connection, Fields, Loading, Refusal},
};

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
    let (url, key) = connection.map_or((None, None), |connection| (connection.url, connection.api_key));
    let variable = |name: &str| (loading.env)(name);
    let url = match (url, provider.url) {
        (Some(url), _) => url,
        (None, Some((name, default))) => match variable(name) {
            Ok(Some(url)) => url,
            Ok(None) | Err(Refusal::Forbidden(_)) => default.to_owned(),
            Err(Refusal::Unreadable(why)) => {
                fields.mistake(fields.spot("connection"), format!("there is no `url`: {why}"));
                return None;
            }
        },
        (None, None) => {
            fields.mistake(fields.spot("connection"), "the connection lacks its `url`".into());
            return None;
        }
    };
    let api_key = match (key, provider.key) {
        (Some(key), _) => key,
        (None, Some(name)) => match variable(name) {
            Ok(Some(key)) => key,
            refused => {
                let why = match refused {
                    Err(refusal) => refusal.to_string(),
                    Ok(_) => format!("the environment variable `{name}` is not set"),
                };
                fields.mistake(fields.spot("connection"), format!("there is no `api_key`, and {why}"));
                return None;
            }
        },
        (None, None) => {
            fields.mistake(fields.spot("connection"), "the connection lacks its `api_key`".into());
            return None;
        }
    };
    let model = fields.text("model")?;
    let prefix =
        fields.text("provider_prefix").map_or_else(|| provider.prefix.to_owned(), |p| format!("{p}/"));
    Some(Endpoint {
        protocol: provider.protocol,
        provider: provider.name,
        url,
        api_key,
        model: model.strip_prefix(prefix.as_str()).unwrap_or(model).to_owned(),
    })
}

/// The node's connection, if it has one; `None` with a mistake if it is not what it should be.
#[expect(clippy::option_option, reason = "no connection, and one with a mistake, are different things")]
fn connection(provider: &Provider, fields: Fields<'_>, loading: &Loading<'_>) -> Option<Option<Connection>> {
    let Some(given) = fields.get("connection") else {
        if provider.key.is_none() {
            let message =
                format!("this lacks its `connection`, of type `dynamiq.connections.{}`", provider.connection);
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
