//! The schema of an Input node: JSON Schema with the type names of workflow files.

mod cost;

use crate::compute;
use cost::{Cost, Exceeded};
use jsonschema::{
    PatternOptions, ValidationError, Validator, error::ValidationErrorKind, paths::LocationSegment,
};
use runyard_runs::FieldErrors;
use serde_json::{Map, Value, json};

/// Steps that checking one value may take.
const MAX_STEPS: u64 = 2_000_000;
/// A check of more steps takes milliseconds: it reports the first error only, and another thread takes over this one's
/// tasks.
const MANY_STEPS: u64 = 20_000;
/// Fields whose errors are reported.
const MAX_FIELDS: usize = 100;
/// Bytes of an error message.
const MAX_MESSAGE_BYTES: usize = 500;
/// Bytes of a compiled pattern, and backtracks of one with look-around or backreferences.
const MAX_PATTERN_BYTES: usize = 256 << 10;
const MAX_BACKTRACKS: usize = 5_000;
/// Cost of such a pattern per byte of text, in sixteenths of a step.
const BACKTRACKING_COST: u64 = 1_600;

/// A schema, compiled.
#[derive(Debug)]
pub(crate) struct Schema {
    validator: Validator,
    cost: Cost,
}

impl Schema {
    /// Compiles a schema of a file; the error says what is wrong with it.
    pub(crate) fn new(schema: &Value) -> Result<Self, String> {
        let mut schema = schema.clone();
        normalize(&mut schema);
        if let Value::Object(map) = &mut schema {
            map.entry("type").or_insert_with(|| "object".into());
        }
        let mut cost = Cost::new(schema.clone())?;
        let linear = PatternOptions::regex().size_limit(MAX_PATTERN_BYTES);
        let validator = if let Ok(validator) =
            jsonschema::options().offline().with_pattern_options(linear).build(&schema)
        {
            validator
        } else {
            cost.price_of_patterns = BACKTRACKING_COST;
            let fancy =
                PatternOptions::fancy_regex().backtrack_limit(MAX_BACKTRACKS).size_limit(MAX_PATTERN_BYTES);
            let built = jsonschema::options().offline().with_pattern_options(fancy).build(&schema);
            built.map_err(|error| shortened(error.to_string()))?
        };
        Ok(Self { validator, cost })
    }

    /// Validates `input`, and adds the errors by field. The first error of a field is kept.
    pub(crate) fn check(&self, input: &Value, errors: &mut FieldErrors) {
        let steps = self.cost.of(input, MAX_STEPS);
        if let Err(exceeded) = steps {
            let message = match exceeded {
                Exceeded::Steps => format!("takes more than {MAX_STEPS} steps to check against the schema"),
                Exceeded::Depth => "nests too deep for the schema".into(),
            };
            errors.entry("input".into()).or_insert(message);
            return;
        }
        if steps.is_ok_and(|steps| steps > MANY_STEPS) {
            if let Err(error) = compute::block_in_place(|| self.validator.validate(input)) {
                add(&error, errors);
            }
            return;
        }
        for error in self.validator.iter_errors(input) {
            if errors.len() >= MAX_FIELDS {
                return;
            }
            add(&error, errors);
        }
    }
}

fn add(error: &ValidationError<'_>, errors: &mut FieldErrors) {
    let mut field = location(error);
    if let ValidationErrorKind::Required { property } = error.kind() {
        let name = property.as_str().unwrap_or_default();
        field = if field.is_empty() { name.to_owned() } else { format!("{field}.{name}") };
    }
    if field.is_empty() {
        "input".clone_into(&mut field);
    }
    errors.entry(field).or_insert_with(|| shortened(message(error)));
}

/// Truncates a long message.
fn shortened(mut message: String) -> String {
    if message.len() > MAX_MESSAGE_BYTES {
        message.truncate(message.floor_char_boundary(MAX_MESSAGE_BYTES));
        message.push('…');
    }
    message
}

/// The path to the invalid value, as `a.b[0]`.
fn location(error: &ValidationError<'_>) -> String {
    let mut text = String::new();
    for segment in error.instance_path() {
        match segment {
            LocationSegment::Property(name) => {
                if !text.is_empty() {
                    text.push('.');
                }
                text.push_str(&name);
            }
            LocationSegment::Index(index) => text.extend(["[", &index.to_string(), "]"]),
        }
    }
    text
}

fn message(error: &ValidationError<'_>) -> String {
    let count = |value: &dyn std::fmt::Display, what: &str| format!("must have {what} {value}");
    match error.kind() {
        ValidationErrorKind::Required { .. } => "cannot be blank".into(),
        ValidationErrorKind::Type { .. } => type_message(error),
        ValidationErrorKind::Enum { options } => format!("must be one of {options}"),
        ValidationErrorKind::Constant { expected_value } => format!("must be {expected_value}"),
        ValidationErrorKind::MinLength { limit } => count(limit, "a length of at least"),
        ValidationErrorKind::MaxLength { limit } => count(limit, "a length of at most"),
        ValidationErrorKind::MinItems { limit } => count(limit, "a number of items of at least"),
        ValidationErrorKind::MaxItems { limit } => count(limit, "a number of items of at most"),
        ValidationErrorKind::Minimum { limit } => format!("must be at least {limit}"),
        ValidationErrorKind::Maximum { limit } => format!("must be at most {limit}"),
        ValidationErrorKind::Pattern { pattern } => format!("must match {pattern}"),
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            format!("has unknown fields: {}", unexpected.join(", "))
        }
        _ => error.masked().to_string(),
    }
}

fn type_message(error: &ValidationError<'_>) -> String {
    let text = error.masked().to_string();
    match text.split_once("is not of type") {
        Some((_, types)) => format!("must be of type{}", types.replace('"', "")),
        None => text,
    }
}

/// Replaces the type names of workflow files by those of JSON Schema, at any depth.
fn normalize(schema: &mut Value) {
    let Value::Object(map) = schema else { return };
    if let Some(Value::String(word)) = map.get("type") {
        match json_type(word) {
            Some("") => {
                map.remove("type");
            }
            Some(word) => {
                map.insert("type".into(), word.into());
            }
            None => {}
        }
    }
    // Editors of workflow files mark properties with `required: true`.
    if let Some(Value::Object(properties)) = map.get_mut("properties") {
        let required = take_required(properties);
        if !required.is_empty() {
            let list = map.entry("required").or_insert_with(|| json!([]));
            if let Value::Array(list) = list {
                list.extend(required.into_iter().map(Value::String));
                list.dedup();
            }
        }
    }
    for (key, value) in map.iter_mut() {
        match (key.as_str(), value) {
            ("properties" | "$defs" | "definitions" | "patternProperties", Value::Object(schemas)) => {
                schemas.values_mut().for_each(normalize);
            }
            ("anyOf" | "oneOf" | "allOf" | "prefixItems", Value::Array(schemas)) => {
                schemas.iter_mut().for_each(normalize);
            }
            ("items" | "additionalProperties" | "not" | "if" | "then" | "else", value) => normalize(value),
            _ => {}
        }
    }
}

fn take_required(properties: &mut Map<String, Value>) -> Vec<String> {
    let mut required = Vec::new();
    for (name, property) in properties {
        if let Value::Object(property) = property
            && let Some(Value::Bool(flag)) = property.get("required")
        {
            if *flag {
                required.push(name.clone());
            }
            property.remove("required");
        }
    }
    required
}

/// JSON Schema's name of a type: empty for any type, `None` for a name that is unchanged.
fn json_type(word: &str) -> Option<&'static str> {
    let plain = word.trim().to_ascii_lowercase();
    Some(match plain.as_str() {
        "any" => "",
        "str" | "text" => "string",
        "int" => "integer",
        "float" => "number",
        "bool" => "boolean",
        "dict" | "map" | "json" => "object",
        "list" | "files" => "array",
        _ if plain.starts_with("list[") => "array",
        _ if plain.starts_with("dict[") => "object",
        _ => return None,
    })
}
