//! Jinja templates as the reference renders them: values print as Python writes them, and a variable that the input
//! lacks is an error even where it has a default.

mod bounds;
mod filters;
mod methods;

use crate::{flow::NodeError, python_text};
use minijinja::{
    Environment, ErrorKind, UndefinedBehavior, Value,
    value::{Serde, ValueKind},
};
use serde_json::Map;
use std::{collections::BTreeSet, fmt, sync::LazyLock};

/// Names that every template knows.
const GLOBALS: &[&str] =
    &["range", "dict", "lipsum", "cycler", "joiner", "namespace", "true", "false", "none"];

const NAME: &str = "template";

/// A compiled template.
pub(crate) struct Template {
    environment: Environment<'static>,
    required: BTreeSet<String>,
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Template").field("required", &self.required).finish_non_exhaustive()
    }
}

static BASE: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Lenient);
    environment.set_formatter(|out, _, value| out.write_str(&printed(value)).map_err(minijinja::Error::from));
    minijinja_contrib::add_to_environment(&mut environment);
    filters::add_to(&mut environment);
    environment.set_unknown_method_callback(methods::call);
    environment
});

impl Template {
    /// Compiles `text`; the error says what is wrong with it, and in which of its lines.
    pub(crate) fn new(text: &str) -> Result<Self, String> {
        bounds::check(text)?;
        let mut environment = BASE.clone();
        environment.add_template_owned(NAME, text.to_owned()).map_err(|error| describe(&error))?;
        let template = environment.get_template(NAME).map_err(|error| describe(&error))?;
        let required = template
            .undeclared_variables(false)
            .into_iter()
            .filter(|name| !GLOBALS.contains(&name.as_str()))
            .collect();
        Ok(Self { environment, required })
    }

    /// The variables that it needs.
    pub(crate) fn required(&self) -> &BTreeSet<String> {
        &self.required
    }

    /// Renders it. Does not look whether all that it needs is there.
    pub(crate) fn render(&self, variables: &Map<String, serde_json::Value>) -> Result<String, NodeError> {
        let rendered =
            self.environment.get_template(NAME).and_then(|template| template.render(Serde(variables)));
        rendered.map_err(|error| {
            let kind = match error.kind() {
                ErrorKind::UndefinedError => "UndefinedError",
                ErrorKind::UnknownFilter | ErrorKind::UnknownTest => "TemplateAssertionError",
                _ => "TypeError",
            };
            NodeError::new(kind, describe(&error))
        })
    }
}

/// Names of the value and the arguments of a call that is made outside a template.
const VALUE: &str = "value";

/// What a filter of the templates makes of a value.
pub(crate) fn filter(
    value: &serde_json::Value,
    name: &str,
    placed: &[serde_json::Value],
    named: &[(String, serde_json::Value)],
) -> Result<serde_json::Value, String> {
    applied(&format!("{VALUE}|{name}"), value, placed, named)
}

/// What a method of a value gives.
pub(crate) fn method(
    value: &serde_json::Value,
    name: &str,
    placed: &[serde_json::Value],
    named: &[(String, serde_json::Value)],
) -> Result<serde_json::Value, String> {
    applied(&format!("{VALUE}.{name}"), value, placed, named)
}

fn applied(
    what: &str,
    value: &serde_json::Value,
    placed: &[serde_json::Value],
    named: &[(String, serde_json::Value)],
) -> Result<serde_json::Value, String> {
    let mut variables = Map::from_iter([(VALUE.to_owned(), value.clone())]);
    let mut arguments = Vec::new();
    for (place, argument) in placed.iter().enumerate() {
        arguments.push(format!("a{place}"));
        variables.insert(format!("a{place}"), argument.clone());
    }
    for (name, argument) in named {
        arguments.push(format!("{name}=b_{name}"));
        variables.insert(format!("b_{name}"), argument.clone());
    }
    let text = format!("{what}({})", arguments.join(", "));
    let made = BASE.compile_expression(&text).and_then(|compiled| compiled.eval(Serde(&variables)));
    let made = made.map_err(|error| describe(&error))?;
    serde_json::to_value(&made).map_err(|error| error.to_string())
}

fn describe(error: &minijinja::Error) -> String {
    let what = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    match error.line() {
        Some(line) => format!("{what} (line {line} of the template)"),
        None => what,
    }
}

/// Python's `str()`.
fn printed(value: &Value) -> String {
    if let Some(text) = value.as_str() {
        return text.to_owned();
    }
    match value.kind() {
        ValueKind::Undefined => String::new(),
        ValueKind::None
        | ValueKind::Bool
        | ValueKind::Number
        | ValueKind::Seq
        | ValueKind::Map
        | ValueKind::Iterable => match serde_json::to_value(value) {
            Ok(json) => python_text::str(&json),
            Err(_) => value.to_string(),
        },
        _ => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn render(text: &str, variables: &Value) -> Result<String, String> {
        let template = Template::new(text)?;
        template.render(variables.as_object().expect("a mapping")).map_err(|error| error.kind.to_string())
    }

    #[test]
    fn prints_as_python_does() {
        for (text, rendered) in [
            ("{{ n }} {{ f }} {{ t }} {{ l }} {{ d }}", "None 2.0 True [1, 'a', None] {'k': 'v'}"),
            ("{% for i in l %}{{ loop.index }}{{ i }} {% endfor %}", "11 2a 3None "),
            ("{{ s|upper }}{{ s.title() }}{{ s.split('t') }}", "TEXTText['', 'ex', '']"),
            ("{{ d.missing }}|{{ d['k'] }}", "|v"),
            ("{% if not d.missing %}no{% endif %}\n", "no"),
            ("<b>{{ h }}</b>", "<b><i></b>"),
            ("{{ {'a': 1}|tojson }}", "{\"a\": 1}"),
        ] {
            let variables = json!({
                "n": null, "f": 2.0, "t": true, "l": [1, "a", null], "d": {"k": "v"}, "s": "text", "h": "<i>",
            });
            assert_eq!(render(text, &variables).as_deref(), Ok(rendered), "{text}");
        }
        assert_eq!(render("{{ d.a.b }}", &json!({"d": {}})), Err("UndefinedError".into()));
        assert!(render("{% if %}", &json!({})).is_err());
    }

    #[test]
    fn requires_what_has_a_default_too() {
        let template =
            Template::new("{{ a|default('x') }}{% set b = c %}{{ b }}{% for i in range(2) %}{% endfor %}");
        let required = template.expect("it compiles").required;
        assert_eq!(required.into_iter().collect::<Vec<_>>(), ["a", "c"]);
    }
}
