//! Adapts the arguments that a model wrote to a tool's schema, where only their form is wrong.

use serde_json::{Map, Number, Value};

/// Removes nulls that the schema does not allow, and parses objects, lists, numbers and booleans that are written as
/// text.
pub(super) fn fit(input: &mut Map<String, Value>, schema: &Value) {
    let Some(properties) = schema["properties"].as_object() else { return };
    input.retain(|name, value| !value.is_null() || properties.get(name).is_none_or(takes_null));
    for (name, value) in input.iter_mut() {
        if let Some(schema) = properties.get(name) {
            fit_value(value, schema);
        }
    }
}

fn fit_value(value: &mut Value, schema: &Value) {
    match value {
        Value::String(text) if !takes(schema, "string") => {
            if let Some(read) = read(text.trim(), schema) {
                *value = read;
            }
        }
        Value::Object(map) => fit(map, schema),
        Value::Array(items) => items.iter_mut().for_each(|item| fit_value(item, &schema["items"])),
        _ => {}
    }
}

fn read(text: &str, schema: &Value) -> Option<Value> {
    if (takes(schema, "object") && text.starts_with('{')) || (takes(schema, "array") && text.starts_with('['))
    {
        return serde_json::from_str(text).ok();
    }
    if takes(schema, "integer") {
        return text.parse::<i64>().ok().map(Value::from);
    }
    if takes(schema, "number") {
        return text.parse::<f64>().ok().and_then(Number::from_f64).map(Value::Number);
    }
    if takes(schema, "boolean") {
        return match text.to_ascii_lowercase().as_str() {
            "true" => Some(true.into()),
            "false" => Some(false.into()),
            _ => None,
        };
    }
    None
}

fn takes_null(schema: &Value) -> bool {
    is_any(schema) || takes(schema, "null")
}

/// Whether the schema does not restrict the type.
fn is_any(schema: &Value) -> bool {
    ["type", "anyOf", "oneOf", "allOf", "$ref", "enum", "const"].iter().all(|key| schema.get(key).is_none())
}

/// Whether the schema accepts, or may accept, values of this type.
fn takes(schema: &Value, kind: &str) -> bool {
    if let Some(types) = schema.get("type") {
        return types == kind
            || types.as_array().is_some_and(|types| types.iter().any(|known| known == kind));
    }
    for key in ["anyOf", "oneOf"] {
        if let Some(Value::Array(schemas)) = schema.get(key) {
            return schemas.iter().any(|schema| takes(schema, kind));
        }
    }
    is_any(schema) && kind == "string"
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn corrects_the_form_only() {
        let schema = json!({"properties": {
            "n": {"type": "integer"}, "o": {"type": "object"}, "s": {"type": "string"}, "maybe": {"type": ["string", "null"]},
            "l": {"type": "array", "items": {"properties": {"n": {"type": "number"}}}}, "any": {}, "b": {"type": "boolean"},
        }});
        let Value::Object(mut input) = json!({
            "n": "4", "o": "{\"a\": 1}", "s": "5", "maybe": null, "l": [{"n": "1.5"}, {"n": null}], "any": "6",
            "b": "True", "more": null,
        }) else {
            unreachable!()
        };
        fit(&mut input, &schema);
        let fitted = json!({
            "n": 4, "o": {"a": 1}, "s": "5", "maybe": null, "l": [{"n": 1.5}, {}], "any": "6", "b": true,
            "more": null,
        });
        assert_eq!(Value::Object(input), fitted);
        let Value::Object(mut input) = json!({"s": null, "n": "four"}) else { unreachable!() };
        fit(&mut input, &schema);
        assert_eq!(Value::Object(input), json!({"n": "four"}));
    }
}
