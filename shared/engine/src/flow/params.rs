//! Validates a person's changes to the params of a question.

use crate::schema::Schema;
use runyard_runs::{FieldErrors, InputRequest};
use serde_json::{Map, Value};
use std::mem::discriminant;

/// Validates the `changed` params against the question's schema; returns the errors by field. If a param's schema
/// refuses even the shown value, or is invalid, the new value must have the type of the shown one instead.
pub(crate) fn check(question: &InputRequest, changed: &Map<String, Value>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let known = question.schema.get("properties").and_then(Value::as_object);
    for (name, to) in changed {
        let Some(property) = known.and_then(|known| known.get(name)) else { continue };
        let shown = question.params.get(name);
        let schema = of_one(&question.schema, name, property);
        let applies =
            |schema: &Schema| shown.is_none_or(|shown| schema_errors(schema, name, shown).is_empty());
        match schema {
            Some(schema) if applies(&schema) => errors.extend(schema_errors(&schema, name, to)),
            _ => {
                let shown = shown.filter(|shown| !shown.is_null());
                if shown.is_some_and(|shown| discriminant(shown) != discriminant(to)) {
                    errors.insert(format!("params.{name}"), "must be of the type that was shown".to_owned());
                }
            }
        }
    }
    errors
}

/// The schema of an object with only this property, and with the definitions that it may refer to.
fn of_one(whole: &Map<String, Value>, name: &str, property: &Value) -> Option<Schema> {
    let properties = Map::from_iter([(name.to_owned(), property.clone())]);
    let mut schema = Map::from_iter([("properties".to_owned(), Value::Object(properties))]);
    let definitions = whole.iter().filter(|(key, _)| *key != "properties");
    schema.extend(definitions.map(|(key, value)| (key.clone(), value.clone())));
    Schema::new(&Value::Object(schema)).ok()
}

fn schema_errors(schema: &Schema, name: &str, value: &Value) -> FieldErrors {
    let mut errors = FieldErrors::new();
    schema.check(&Value::Object(Map::from_iter([(name.to_owned(), value.clone())])), &mut errors);
    errors.into_iter().map(|(field, problem)| (format!("params.{field}"), problem)).collect()
}

#[cfg(test)]
mod tests {
    use super::check;
    use runyard_runs::{FieldErrors, InputRequest, InputRequestKind, RequestId};
    use serde_json::{Value, json};

    #[test]
    fn reports_changes_that_the_schema_refuses() {
        let object = |value: Value| value.as_object().expect("an object").clone();
        let question = InputRequest {
            id: RequestId(uuid::Uuid::nil()),
            kind: InputRequestKind::ApprovalRequest,
            prompt: String::new(),
            params: object(json!({"amount": 500, "to": {"iban": "x"}, "odd": "text", "free": 1})),
            editable_params: Vec::new(),
            schema: object(json!({
                "properties": {
                    "amount": {"type": "integer", "minimum": 1, "maximum": 1000},
                    "to": {"$ref": "#/$defs/account"},
                    "note": {"type": ["string", "null"], "maxLength": 3},
                    "odd": {"type": "object"},
                },
                "$defs": {"account": {"type": "object", "required": ["iban"], "properties": {"iban": {"type": "string"}}}},
            })),
            accept_pattern: None,
            expires_at: None,
        };
        for (name, good, bad) in [
            ("amount", json!(450), json!("450")),
            ("amount", json!(1000), json!(1001)),
            ("amount", json!(1), json!(0.5)),
            ("amount", json!(2), json!(null)),
            ("to", json!({"iban": "y"}), json!({"iban": 1})),
            ("to", json!({"iban": "y", "more": 1}), json!({})),
            ("note", json!("abc"), json!("abcd")),
            ("note", json!(null), json!(1)),
            ("odd", json!("other"), json!({})),
        ] {
            let changed = |value: &Value| object(json!({name: value}));
            assert_eq!(check(&question, &changed(&good)), FieldErrors::new(), "{name} {good}");
            let errors = check(&question, &changed(&bad));
            assert!(errors.keys().all(|field| field.starts_with(&format!("params.{name}"))), "{errors:?}");
            assert_eq!(errors.len(), 1, "{name} {bad}: {errors:?}");
        }
        assert!(check(&question, &object(json!({"free": "not for a schema to say"}))).is_empty());
    }
}
