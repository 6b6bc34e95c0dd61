//! Filters: comparisons of documents' metadata, joined by AND, OR and NOT.

use super::{StoreError, VectorStore};
use crate::python_text;
use serde_json::{Map, Value, json};

/// A valid filter.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Filter {
    All(Vec<Filter>),
    Any(Vec<Filter>),
    /// None of them holds. Only for stores that [negate](VectorStore::negates).
    Neither(Vec<Filter>),
    Field {
        field: String,
        operator: Operator,
        value: Value,
    },
}

/// The comparison of a field with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    /// Compared to null: the field is absent or null.
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
    In,
    NotIn,
    /// The field is a list that contains one of the values, compared as text.
    ContainsAny,
}

const OPERATORS: &[(&str, Operator)] = &[
    ("==", Operator::Equal),
    ("!=", Operator::NotEqual),
    (">", Operator::Greater),
    (">=", Operator::GreaterOrEqual),
    ("<", Operator::Less),
    ("<=", Operator::LessOrEqual),
    ("in", Operator::In),
    ("not in", Operator::NotIn),
    ("contains_any", Operator::ContainsAny),
];

impl Operator {
    pub(super) fn is_order(self) -> bool {
        matches!(self, Self::Greater | Self::GreaterOrEqual | Self::Less | Self::LessOrEqual)
    }
}

/// Limit on the nesting of conditions.
const MAX_DEPTH: usize = 32;

impl Filter {
    /// Reads a filter for a store; fails if the filter is invalid, or the store does not support it.
    pub(crate) fn read_for(
        store: &dyn VectorStore,
        given: &Map<String, Value>,
    ) -> Result<Option<Self>, StoreError> {
        let filter = Self::read(given)?;
        if !store.negates() && filter.as_ref().is_some_and(Self::has_not) {
            return Err(no_not());
        }
        Ok(filter)
    }

    fn has_not(&self) -> bool {
        match self {
            Self::All(filters) | Self::Any(filters) => filters.iter().any(Self::has_not),
            Self::Neither(_) => true,
            Self::Field { .. } => false,
        }
    }

    /// Reads `{operator: AND, conditions: […]}`, `{field, operator, value}`, or plain `{field: value}` and
    /// `{field: [one, of, these]}`. `None` for an empty mapping, which matches all documents.
    pub(super) fn read(given: &Map<String, Value>) -> Result<Option<Self>, StoreError> {
        if given.is_empty() {
            return Ok(None);
        }
        let has = |key: &str| given.contains_key(key);
        if (has("operator") && has("conditions")) || (has("field") && has("operator") && has("value")) {
            return condition(given, 0).map(Some);
        }
        let all = given.iter().map(|(field, value)| {
            let operator = if value.is_array() { Operator::In } else { Operator::Equal };
            field_condition(field, operator, value)
        });
        all.collect::<Result<Vec<_>, _>>().map(|all| Some(Self::All(all)))
    }
}

/// The error of a filter with NOT for a store that does not support it.
pub(super) fn no_not() -> StoreError {
    StoreError::filter("this store does not support NOT of conditions: use `!=` or `not in` on one field")
}

/// Translates a filter into the syntax that several stores share: `{year: {$gte: 2020}}`, joined by `$and` and `$or`.
pub(super) fn dollar_words(store: &str, filter: &Filter) -> Result<Value, StoreError> {
    let (word, filters) = match filter {
        Filter::All(filters) => ("$and", filters),
        Filter::Any(filters) => ("$or", filters),
        Filter::Neither(_) => return Err(no_not()),
        Filter::Field { field, operator, value } => {
            let word = match operator {
                Operator::Equal => "$eq",
                Operator::NotEqual => "$ne",
                Operator::Greater => "$gt",
                Operator::GreaterOrEqual => "$gte",
                Operator::Less => "$lt",
                Operator::LessOrEqual => "$lte",
                // For a field that is a list, it means the same.
                Operator::In | Operator::ContainsAny => "$in",
                Operator::NotIn => "$nin",
            };
            if value.is_null() {
                return Err(StoreError::filter(format!("{store} cannot compare `{field}` to null")));
            }
            if operator.is_order() && value.is_string() {
                let given = python_text::repr(value);
                return Err(StoreError::filter(format!(
                    "{store} orders numbers only: `{field}` cannot be compared to {given}"
                )));
            }
            return Ok(json!({metadata_key(field): {word: value}}));
        }
    };
    let filters = filters.iter().map(|filter| dollar_words(store, filter)).collect::<Result<Vec<_>, _>>()?;
    Ok(joined(word, filters).unwrap_or_default())
}

/// Joins filters by `word`. A single filter is not joined, because some stores refuse that.
pub(super) fn joined(word: &str, mut filters: Vec<Value>) -> Option<Value> {
    if filters.len() > 1 { Some(json!({word: filters})) } else { filters.pop() }
}

/// The name of a field within the metadata: workflow files have `metadata.year` or `year`.
pub(super) fn metadata_key(field: &str) -> &str {
    field.strip_prefix("metadata.").unwrap_or(field)
}

fn condition(given: &Map<String, Value>, depth: usize) -> Result<Filter, StoreError> {
    if depth > MAX_DEPTH {
        return Err(StoreError::filter(format!("conditions nest deeper than {MAX_DEPTH}")));
    }
    let missing = |key: &str| StoreError::filter(format!("a condition of the filter lacks its `{key}`"));
    let operator = given.get("operator").ok_or_else(|| missing("operator"))?;
    let operator = operator.as_str().unwrap_or_default();
    if let Some(field) = given.get("field") {
        let known = OPERATORS.iter().find(|(known, _)| *known == operator);
        let Some((_, operator)) = known else {
            let known: Vec<&str> = OPERATORS.iter().map(|(known, _)| *known).collect();
            let message =
                format!("`{operator}` is not an operator of filters: use one of {}", known.join(", "));
            return Err(StoreError::filter(message));
        };
        let value = given.get("value").ok_or_else(|| missing("value"))?;
        return field_condition(field.as_str().unwrap_or_default(), *operator, value);
    }
    let conditions = given.get("conditions").ok_or_else(|| missing("conditions"))?;
    let conditions = conditions.as_array().map(Vec::as_slice).unwrap_or_default();
    if conditions.is_empty() {
        return Err(StoreError::filter("`conditions` of the filter must be a list that is not empty"));
    }
    let inner = conditions.iter().map(|inner| match inner {
        Value::Object(inner) => condition(inner, depth + 1),
        other => {
            let given = python_text::type_name(other);
            Err(StoreError::filter(format!("a condition of the filter must be a mapping, not {given}")))
        }
    });
    let inner = inner.collect::<Result<Vec<_>, _>>()?;
    match operator.to_ascii_uppercase().as_str() {
        "AND" => Ok(Filter::All(inner)),
        "OR" => Ok(Filter::Any(inner)),
        "NOT" => Ok(Filter::Neither(inner)),
        _ => Err(StoreError::filter(format!("`{operator}` cannot join conditions: use AND, OR or NOT"))),
    }
}

fn field_condition(field: &str, operator: Operator, value: &Value) -> Result<Filter, StoreError> {
    if field.is_empty() {
        return Err(StoreError::filter("`field` of a filter's condition must be text"));
    }
    let is_comparable = match operator {
        Operator::Equal => !value.is_array() && !value.is_object(),
        Operator::NotEqual => value.is_string() || value.is_number() || value.is_boolean(),
        Operator::In | Operator::NotIn | Operator::ContainsAny => value.as_array().is_some_and(|items| {
            items.iter().all(|item| !item.is_null() && !item.is_array() && !item.is_object())
        }),
        Operator::Greater | Operator::GreaterOrEqual | Operator::Less | Operator::LessOrEqual => {
            match value {
                Value::Number(_) | Value::Bool(_) => true,
                Value::String(text) => is_date(text),
                _ => false,
            }
        }
    };
    if !is_comparable {
        let (name, _) = OPERATORS.iter().find(|(_, known)| *known == operator).unwrap_or(&OPERATORS[0]);
        let given = python_text::repr(value);
        return Err(StoreError::filter(format!("`{field}` cannot be compared by `{name}` to {given}")));
    }
    Ok(Filter::Field { field: field.to_owned(), operator, value: value.clone() })
}

/// Whether a text is an ISO 8601 date or time: other texts cannot be ordered.
fn is_date(text: &str) -> bool {
    let digits = |range: std::ops::Range<usize>| {
        text.get(range).is_some_and(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let extended = digits(0..4) && digits(5..7) && digits(8..10) && text.get(4..5) == Some("-");
    let separator = text.get(10..11);
    let compact = digits(0..8) && text.len() == 8;
    compact || (extended && text.get(7..8) == Some("-") && matches!(separator, None | Some("T" | " ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(filter: &Value) -> Result<Option<Filter>, StoreError> {
        Filter::read(filter.as_object().expect("a mapping"))
    }

    #[test]
    fn reads_plain_and_structured_filters() {
        let field = |field: &str, operator, value| Filter::Field { field: field.into(), operator, value };
        assert_eq!(read(&json!({})), Ok(None));
        assert_eq!(
            read(&json!({"a": 1, "b": ["x"]})),
            Ok(Some(Filter::All(vec![
                field("a", Operator::Equal, json!(1)),
                field("b", Operator::In, json!(["x"])),
            ])))
        );
        let one = json!({"field": "metadata.a", "operator": ">=", "value": "2024-01-31"});
        assert_eq!(read(&one), Ok(Some(field("metadata.a", Operator::GreaterOrEqual, json!("2024-01-31")))));
        assert_eq!(
            read(&json!({"operator": "OR", "conditions": [one, {"operator": "and", "conditions": [one]}]})),
            Ok(Some(Filter::Any(vec![
                field("metadata.a", Operator::GreaterOrEqual, json!("2024-01-31")),
                Filter::All(vec![field("metadata.a", Operator::GreaterOrEqual, json!("2024-01-31"))]),
            ])))
        );
    }

    #[test]
    fn refuses_invalid_filters() {
        for (filter, problem) in [
            (
                json!({"operator": "XOR", "conditions": [{"field": "a", "operator": "==", "value": 1}]}),
                "cannot join",
            ),
            (json!({"operator": "AND", "conditions": []}), "not empty"),
            (json!({"operator": "AND", "conditions": [{"field": "a", "value": 1}]}), "lacks its `operator`"),
            (
                json!({"operator": "AND", "conditions": [{"field": "a", "operator": "=="}]}),
                "lacks its `value`",
            ),
            (json!({"field": "a", "operator": "~", "value": 1}), "not an operator"),
            (json!({"field": "a", "operator": ">", "value": "big"}), "cannot be compared"),
            (json!({"field": "a", "operator": "in", "value": 1}), "cannot be compared"),
            (json!({"a": {"b": 1}}), "cannot be compared"),
        ] {
            let error = read(&filter).expect_err("it is refused");
            assert!(error.message.contains(problem), "{filter}: {}", error.message);
            assert_eq!(error.kind, "VectorStoreFilterException");
        }
    }
}
