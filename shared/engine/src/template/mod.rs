//! Jinja templates as the reference renders them: values are written as Python writes them, and a variable that is
//! missing in the input is an error even if it has a default.

mod bounds;
mod filters;
mod guard;
mod methods;

use crate::{
    compute::{self, Exceeded},
    flow::NodeError,
    python_text,
};
use minijinja::{
    Environment, ErrorKind, UndefinedBehavior, Value,
    value::{Serde, ValueKind},
};
use runyard_runs::{MAX_NESTING, RunContext};
use serde_json::Map;
use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fmt,
    sync::{Arc, LazyLock},
};

/// Names that are defined in every template.
const GLOBALS: &[&str] =
    &["range", "dict", "lipsum", "cycler", "joiner", "namespace", "true", "false", "none"];

const NAME: &str = "template";

/// The filters that charge for assigned values and for members of namespaces. Inserted by [`guard`], not for authors.
const KEPT: &str = "__kept";
const MEMBER: &str = "__member";
/// The filter that checks factors.
const FACTOR: &str = "__factor";

/// Names the template in the error of an exceeded budget.
const SUBJECT: &str = "the template";

/// Bytes of a text above which compiling takes longer than a millisecond.
const LONG_TEXT_BYTES: usize = 8 << 10;

/// A compiled template.
pub(crate) struct Template {
    environment: Environment<'static>,
    required: BTreeSet<String>,
    /// All words in the text. The template cannot read a variable whose name is not among them.
    words: HashSet<Box<str>>,
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Template").field("required", &self.required).finish_non_exhaustive()
    }
}

static BASE: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Lenient);
    environment.set_fuel(Some(compute::INLINE_BUDGET.steps));
    environment.set_formatter(|out, _, value| match value.as_str() {
        Some(text) => out.write_str(text).map_err(minijinja::Error::from),
        None => out.write_str(&printed(value)?).map_err(minijinja::Error::from),
    });
    minijinja_contrib::add_to_environment(&mut environment);
    filters::add_to(&mut environment);
    environment.set_unknown_method_callback(methods::call);
    environment
});

impl Template {
    /// Compiles `text`; the error names the line.
    pub(crate) fn new(text: &str) -> Result<Self, String> {
        compute::block_if(text.len() > LONG_TEXT_BYTES, || Self::compile(text))
    }

    fn compile(text: &str) -> Result<Self, String> {
        bounds::check(text)?;
        let mut environment = BASE.clone();
        environment.add_template_owned(NAME, guard::guarded(text)).map_err(|error| describe(&error))?;
        let template = environment.get_template(NAME).map_err(|error| describe(&error))?;
        let required = template
            .undeclared_variables(false)
            .into_iter()
            .filter(|name| !GLOBALS.contains(&name.as_str()))
            .collect();
        let is_word = |character: char| character.is_alphanumeric() || character == '_';
        let words = text.split(|character| !is_word(character)).filter(|word| !word.is_empty());
        Ok(Self { required, words: words.map(Box::from).collect(), environment })
    }

    /// The variables that the template needs.
    pub(crate) fn required(&self) -> &BTreeSet<String> {
        &self.required
    }

    /// Renders the template within its budget. Does not check for missing variables.
    pub(crate) async fn render(
        self: &Arc<Self>,
        run: &RunContext,
        variables: &Map<String, serde_json::Value>,
    ) -> Result<String, NodeError> {
        let away = || {
            let template = Arc::clone(self);
            let read = variables.iter().filter(|(name, _)| self.words.contains(name.as_str()));
            let variables = read.map(|(name, value)| (name.clone(), value.clone())).collect();
            move || template.render_here(&variables)
        };
        compute::run(run, SUBJECT, || self.render_here(variables), away).await
    }

    /// Like [`Template::render`], as part of a computation that is already running.
    pub(crate) fn render_here(
        &self,
        variables: &Map<String, serde_json::Value>,
    ) -> Result<String, NodeError> {
        let read: BTreeMap<_, _> =
            variables.iter().filter(|(name, _)| self.words.contains(name.as_str())).collect();
        let fits = read.values().try_for_each(|value| compute::walk(value));
        fits.map_err(|exceeded| exceeded.error(SUBJECT))?;
        let context = Value::from(Serde(&read));
        let rendered = fueled(&self.environment, |environment| {
            let rendered = environment.get_template(NAME)?.render_captured(context)?;
            let fuel = rendered.state().fuel_levels();
            Ok((rendered.into_output(), fuel.map_or(0, |(used, _)| used)))
        });
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

/// Does `work` with as much fuel as the computation has steps left. `work` returns the fuel that it used. Fails outside
/// a computation.
fn fueled<T>(
    environment: &Environment<'static>,
    work: impl FnOnce(&Environment<'static>) -> Result<(T, u64), minijinja::Error>,
) -> Result<T, minijinja::Error> {
    let left = compute::left().ok_or_else(out_of_fuel)?.steps;
    let result = if left <= compute::INLINE_BUDGET.steps {
        work(environment)
    } else {
        let mut environment = environment.clone();
        environment.set_fuel(Some(left));
        work(&environment)
    };
    match result {
        Ok((result, used)) => {
            compute::step(used).map_err(exceeded)?;
            Ok(result)
        }
        Err(error) => {
            let causes =
                std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
            let mut causes = causes.filter_map(|error| error.downcast_ref::<minijinja::Error>());
            if causes.any(|error| error.kind() == ErrorKind::OutOfFuel) {
                compute::exceed(Exceeded::Steps);
            }
            Err(error)
        }
    }
}

fn out_of_fuel() -> minijinja::Error {
    minijinja::Error::from(ErrorKind::OutOfFuel)
}

/// The error of a filter or method that needs more than the remaining budget.
fn exceeded(_: Exceeded) -> minijinja::Error {
    out_of_fuel()
}

/// The variable that holds the value of a call that is made outside a template.
const VALUE: &str = "value";

/// Applies one of the templates' filters to a value.
pub(crate) fn filter(
    value: &serde_json::Value,
    name: &str,
    positional: &[serde_json::Value],
    named: &[(String, serde_json::Value)],
) -> Result<serde_json::Value, String> {
    applied(&format!("{VALUE}|{name}"), value, positional, named)
}

/// Calls a method of a value.
pub(crate) fn method(
    value: &serde_json::Value,
    name: &str,
    positional: &[serde_json::Value],
    named: &[(String, serde_json::Value)],
) -> Result<serde_json::Value, String> {
    applied(&format!("{VALUE}.{name}"), value, positional, named)
}

fn applied(
    what: &str,
    value: &serde_json::Value,
    positional: &[serde_json::Value],
    named: &[(String, serde_json::Value)],
) -> Result<serde_json::Value, String> {
    let mut variables = Map::from_iter([(VALUE.to_owned(), value.clone())]);
    let mut arguments = Vec::new();
    for (index, argument) in positional.iter().enumerate() {
        arguments.push(format!("a{index}"));
        variables.insert(format!("a{index}"), argument.clone());
    }
    for (name, argument) in named {
        arguments.push(format!("{name}=b_{name}"));
        variables.insert(format!("b_{name}"), argument.clone());
    }
    let text = format!("{what}({})", arguments.join(", "));
    compute::walk(value).map_err(|exceeded| exceeded.to_string())?;
    let variables = Value::from(Serde(&variables));
    let result = fueled(&BASE, |environment| {
        let compiled = environment.compile_expression(&text)?;
        // The library does not report the fuel that an expression used. Its result was charged for, and its fuel
        // limited.
        Ok((json(&compiled.eval(variables)?)?, 1))
    });
    result.map_err(|error| describe(&error))
}

fn describe(error: &minijinja::Error) -> String {
    let what = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    match error.line() {
        Some(line) => format!("{what} (line {line} of the template)"),
        None => what,
    }
}

/// Python's `str()`.
fn printed(value: &Value) -> Result<String, minijinja::Error> {
    if let Some(text) = value.as_str() {
        return Ok(text.to_owned());
    }
    Ok(match value.kind() {
        ValueKind::Undefined => String::new(),
        ValueKind::None
        | ValueKind::Bool
        | ValueKind::Number
        | ValueKind::Seq
        | ValueKind::Map
        | ValueKind::Iterable => python_text::str(&json(value)?),
        _ => value.to_string(),
    })
}

/// A value of a template as JSON. Lazy and repeated values are charged for before they are created.
fn json(value: &Value) -> Result<serde_json::Value, minijinja::Error> {
    nested_json(value, 0)
}

fn nested_json(value: &Value, depth: usize) -> Result<serde_json::Value, minijinja::Error> {
    if depth > MAX_NESTING {
        let message = format!("a value is nested deeper than {MAX_NESTING} levels");
        return Err(minijinja::Error::new(ErrorKind::InvalidOperation, message));
    }
    compute::step(1).map_err(exceeded)?;
    if let Some(text) = value.as_str() {
        compute::make(text.len()).map_err(exceeded)?;
        return Ok(text.into());
    }
    Ok(match value.kind() {
        ValueKind::Seq | ValueKind::Iterable => {
            let mut items = Vec::new();
            for item in value.try_iter()? {
                items.push(nested_json(&item, depth + 1)?);
            }
            items.into()
        }
        ValueKind::Map => {
            let mut map = Map::new();
            for key in value.try_iter()? {
                let item = nested_json(&value.get_item(&key)?, depth + 1)?;
                let key = match key.as_str() {
                    Some(key) => key.to_owned(),
                    None => python_text::str(&nested_json(&key, depth + 1)?),
                };
                compute::make(key.len()).map_err(exceeded)?;
                map.insert(key, item);
            }
            map.into()
        }
        _ => serde_json::to_value(value).unwrap_or_else(|_| value.to_string().into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn render(text: &str, variables: &Value) -> Result<String, String> {
        let template = Template::new(text)?;
        let variables = variables.as_object().expect("a mapping");
        compute::whole(SUBJECT, || template.render_here(variables)).map_err(|error| error.kind.to_string())
    }

    #[test]
    fn renders_values_as_python_does() {
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
    fn requires_variables_with_a_default_too() {
        let template =
            Template::new("{{ a|default('x') }}{% set b = c %}{{ b }}{% for i in range(2) %}{% endfor %}");
        let required = template.expect("it compiles").required;
        assert_eq!(required.into_iter().collect::<Vec<_>>(), ["a", "c"]);
    }
}
