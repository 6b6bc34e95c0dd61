//! The connections of nodes, and the environment variables that replace their settings.

use crate::load::{Connection, Fields, Loading, Refusal, SourcePos, meant};

/// The connection that a node names or contains, of one of `classes`; `Some(None)` if it has none. The outer `None`
/// means that an error was reported.
#[expect(clippy::option_option, reason = "no connection and an invalid connection differ")]
pub(crate) fn connection(
    classes: &[&str],
    fields: Fields<'_>,
    loading: &Loading<'_>,
) -> Option<Option<Connection>> {
    let Some(given) = fields.get("connection") else { return Some(None) };
    let connection = match given.text() {
        None => Connection::read(fields.fields("connection")?, "the connection")?,
        Some(id) => {
            let Some(known) = loading.connections.get(id) else {
                let names: Vec<&str> = loading.connections.keys().map(String::as_str).collect();
                fields.mistake(given.spot, format!("there is no connection `{id}`{}", meant(id, &names)));
                return None;
            };
            known.clone()?
        }
    };
    if classes.contains(&connection.class.as_str()) {
        return Some(Some(connection));
    }
    let wanted: Vec<String> = classes.iter().map(|class| format!("`dynamiq.connections.{class}`")).collect();
    let message =
        format!("this node needs a connection of type {}, not `{}`", wanted.join(" or "), connection.class);
    fields.mistake(given.spot, message);
    None
}

/// The connection of a node that requires one.
pub(crate) fn needed(classes: &[&str], fields: Fields<'_>, loading: &Loading<'_>) -> Option<Connection> {
    let connection = connection(classes, fields, loading)?;
    if connection.is_none() {
        let message = format!("this lacks its `connection`, of type `dynamiq.connections.{}`", classes[0]);
        fields.mistake(fields.yaml.spot, message);
    }
    connection
}

/// Where a setting is found: under `key` of the connection, else in the environment variable, else the default.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    pub(crate) key: &'static str,
    pub(crate) variable: &'static str,
    pub(crate) default: Option<&'static str>,
}

impl Setting {
    /// The setting's value; if there is none, reports an error and returns `None`.
    pub(crate) fn of(
        self,
        connection: Option<&Connection>,
        fields: Fields<'_>,
        loading: &Loading<'_>,
    ) -> Option<String> {
        match connection.and_then(|connection| connection.fields.get(self.key)) {
            Some(serde_json::Value::String(text)) => Some(text.clone()),
            Some(serde_json::Value::Number(number)) => Some(number.to_string()),
            _ => self.of_env(fields.spot("connection"), fields, loading),
        }
    }

    /// The value of a setting that is a field of the node, not of a connection.
    pub(crate) fn of_node(self, fields: Fields<'_>, loading: &Loading<'_>) -> Option<String> {
        match fields.get(self.key) {
            Some(_) => fields.text(self.key).map(str::to_owned),
            None => self.of_env(fields.yaml.spot, fields, loading),
        }
    }

    fn of_env(self, spot: SourcePos, fields: Fields<'_>, loading: &Loading<'_>) -> Option<String> {
        let Self { key, variable, default } = self;
        let why = match ((loading.env)(variable), default) {
            (Ok(Some(value)), _) => return Some(value),
            (Ok(None) | Err(Refusal::Forbidden(_)), Some(default)) => return Some(default.to_owned()),
            (Ok(None), None) => format!("the environment variable `{variable}` is not set"),
            (Err(refusal), _) => refusal.to_string(),
        };
        fields.mistake(spot, format!("there is no `{key}`, and {why}"));
        None
    }
}
