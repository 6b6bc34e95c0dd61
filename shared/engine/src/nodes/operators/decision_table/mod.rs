//! `DecisionTable`: returns the outputs of the rows whose conditions match the inputs.

mod cell;

use super::{Registered, mapping};
use crate::{
    flow::{Call, Halt, Kind, NodeError},
    load::{Fields, Loading, SourcePos, Yaml},
    python_text,
};
use async_trait::async_trait;
use cell::{Cell, compare, number};
use serde_json::{Map, Number, Value, json};
use std::{cmp::Ordering, sync::Arc};

pub(super) const DECISION_TABLE: Registered = Registered {
    class: "operators.DecisionTable",
    name: Some("decision_table"),
    timeout: None,
    build: |_, fields, loading| Some(Box::new(DecisionTable::read(fields, loading)?)),
};

/// Output field with the matching rules.
const MATCHED: &str = "matched_rules";

#[derive(Debug)]
struct DecisionTable {
    name: String,
    inputs: Vec<(String, Column)>,
    outputs: Vec<Output>,
    rules: Vec<Rule>,
    policy: Policy,
}

#[derive(Debug)]
struct Output {
    name: String,
    /// Whether `sum`, `min` and `max` apply to it: all its values are numbers or null.
    folds: bool,
}

#[derive(Debug)]
struct Rule {
    id: String,
    name: String,
    when: Vec<Cell>,
    then: Vec<Value>,
}

/// Which of the matching rules are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Policy {
    First,
    Unique,
    Collect(Aggregation),
}

/// How `collect` aggregates the values of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Aggregation {
    List,
    Count,
    Sum,
    Min,
    Max,
}

/// The type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    Any,
    Text,
    Int,
    Float,
    Bool,
}

const COLUMNS: &[(&str, Column)] = &[
    ("Any", Column::Any),
    ("string", Column::Text),
    ("int", Column::Int),
    ("float", Column::Float),
    ("bool", Column::Bool),
];

impl DecisionTable {
    fn read(fields: Fields<'_>, loading: &Loading<'_>) -> Option<Self> {
        let aggregations = [
            ("list", Aggregation::List),
            ("count", Aggregation::Count),
            ("sum", Aggregation::Sum),
            ("min", Aggregation::Min),
            ("max", Aggregation::Max),
        ];
        let aggregation = fields.choice("aggregation", &aggregations).unwrap_or(Aggregation::List);
        let policies =
            [("first", Policy::First), ("unique", Policy::Unique), ("collect", Policy::Collect(aggregation))];
        let policy = fields.choice("hit_policy", &policies).unwrap_or(Policy::First);
        let inputs = columns(fields, "input_columns");
        let outputs = columns(fields, "output_columns");
        for (name, _, spot) in &outputs {
            if name == MATCHED {
                fields.mistake(
                    *spot,
                    format!("`{MATCHED}` is reserved for the matching rules: use another name"),
                );
            }
        }
        let mut rules = Vec::new();
        for rule in fields.items("rules", "a rule") {
            rule.know(&["id", "name", "when", "then"]);
            if rule.bool("enabled") != Some(false) {
                rules.push(Rule::read(rule, &inputs, &outputs, loading, rules.len())?);
            }
        }
        let folds = |(index, (name, column, _)): (usize, (String, Column, SourcePos))| {
            let numbers = |rule: &Rule| matches!(rule.then[index], Value::Number(_) | Value::Null);
            Output {
                name,
                folds: column.is_numeric() || (column == Column::Any && rules.iter().all(numbers)),
            }
        };
        Some(Self {
            name: fields.text("name").unwrap_or("decision_table").to_owned(),
            outputs: outputs.into_iter().enumerate().map(folds).collect(),
            inputs: inputs.into_iter().map(|(name, column, _)| (name, column)).collect(),
            rules,
            policy,
        })
    }

    fn matching(&self, input: &Value) -> Result<Vec<&Rule>, NodeError> {
        let values: Vec<Value> =
            self.inputs.iter().map(|(name, column)| column.coerce(&input[name.as_str()])).collect();
        let mut matching = Vec::new();
        for rule in &self.rules {
            if rule.when.iter().zip(&values).all(|(cell, value)| cell.holds(value)) {
                matching.push(rule);
                if self.policy == Policy::First {
                    break;
                }
            }
        }
        if self.policy == Policy::Unique && matching.len() > 1 {
            let names: Vec<&str> = matching
                .iter()
                .map(|rule| if rule.name.is_empty() { rule.id.as_str() } else { &rule.name })
                .collect();
            let message = format!(
                "the rules {} of the table `{}` all match, but a unique table allows one",
                names.join(", "),
                self.name
            );
            return Err(NodeError::new("ValueError", message));
        }
        Ok(matching)
    }

    fn fold(&self, column: &Output, values: Vec<Value>) -> Value {
        let Policy::Collect(aggregation) = self.policy else {
            return values.into_iter().next().unwrap_or(Value::Null);
        };
        let numbers = || values.iter().filter_map(Value::as_number);
        let chosen = |wanted: Ordering| {
            numbers().reduce(|best, other| if compare(other, best) == Some(wanted) { other } else { best })
        };
        match aggregation {
            Aggregation::Count => values.len().into(),
            Aggregation::List => values.into(),
            _ if !column.folds => values.into(),
            Aggregation::Sum => sum(numbers()).map_or(Value::Null, Value::Number),
            Aggregation::Min => chosen(Ordering::Less).cloned().map_or(Value::Null, Value::Number),
            Aggregation::Max => chosen(Ordering::Greater).cloned().map_or(Value::Null, Value::Number),
        }
    }
}

/// `None` if there are no numbers, or on overflow.
fn sum<'n>(numbers: impl Iterator<Item = &'n Number>) -> Option<Number> {
    let mut numbers = numbers.peekable();
    numbers.peek()?;
    let zero = Some(Number::from(0));
    numbers.fold(zero, |sum, number| {
        let sum = sum?;
        match (sum.as_i128(), number.as_i128()) {
            (Some(left), Some(right)) => left.checked_add(right).and_then(Number::from_i128),
            _ => Number::from_f64(sum.as_f64()? + number.as_f64()?),
        }
    })
}

fn columns(fields: Fields<'_>, key: &str) -> Vec<(String, Column, SourcePos)> {
    let mut columns: Vec<(String, Column, SourcePos)> = Vec::new();
    for column in fields.items(key, "a column") {
        column.know(&["id", "required"]);
        let Some(name) = column.text("name") else {
            if column.get("name").is_none() {
                column.mistake(column.yaml.spot, "a column lacks its `name`".into());
            }
            continue;
        };
        let spot = column.spot("name");
        if columns.iter().any(|(known, ..)| known == name) {
            column.mistake(spot, format!("duplicate column `{name}`"));
        }
        columns.push((name.to_owned(), column.choice("type", COLUMNS).unwrap_or(Column::Any), spot));
    }
    columns
}

impl Rule {
    fn read(
        fields: Fields<'_>,
        inputs: &[(String, Column, SourcePos)],
        outputs: &[(String, Column, SourcePos)],
        loading: &Loading<'_>,
        index: usize,
    ) -> Option<Self> {
        let when = fields.list("when").unwrap_or_default();
        let then = fields.list("then").unwrap_or_default();
        for (key, cells, columns) in [("when", when, inputs), ("then", then, outputs)] {
            if cells.len() != columns.len() {
                let message = format!(
                    "`{key}` has {} cells, but the table has {} columns for it",
                    cells.len(),
                    columns.len()
                );
                fields.mistake(fields.spot(key), message);
                return None;
            }
        }
        let report = |cell: &Yaml, problem: String| loading.mistakes.borrow_mut().add(cell.spot, problem);
        let mut conditions = Vec::with_capacity(when.len());
        for (cell, (_, column, _)) in when.iter().zip(inputs) {
            match Cell::read(&text(cell), *column) {
                Ok(condition) => conditions.push(condition),
                Err(problem) => report(cell, problem),
            }
        }
        let mut values = Vec::with_capacity(then.len());
        for (cell, (_, column, _)) in then.iter().zip(outputs) {
            let text = text(cell);
            match if text.trim().is_empty() { Ok(Value::Null) } else { column.literal(&text) } {
                Ok(value) => values.push(value),
                Err(problem) => report(cell, problem),
            }
        }
        Some(Self {
            id: fields.text("id").map_or_else(|| format!("rule-{}", index + 1), str::to_owned),
            name: fields.text("name").unwrap_or_default().to_owned(),
            when: conditions,
            then: values,
        })
        .filter(|rule| rule.when.len() == inputs.len() && rule.then.len() == outputs.len())
    }
}

/// The text of a cell, as an editor shows it.
fn text(cell: &Yaml) -> String {
    match cell.to_json() {
        Value::Null => String::new(),
        Value::Bool(flag) => flag.to_string(),
        value => python_text::str(&value),
    }
}

impl Column {
    fn is_numeric(self) -> bool {
        matches!(self, Self::Int | Self::Float)
    }

    /// Parses the text of a cell of this column.
    fn literal(self, text: &str) -> Result<Value, String> {
        let text = text.trim();
        let quoted = ['"', '\''].iter().find_map(|quote| text.strip_prefix(*quote)?.strip_suffix(*quote));
        match self {
            Self::Text => Ok(quoted.unwrap_or(text).into()),
            Self::Int | Self::Float => number(text)
                .map(Value::Number)
                .ok_or_else(|| format!("this column holds numbers, but `{text}` is none")),
            Self::Bool => match text.to_lowercase().as_str() {
                "true" => Ok(true.into()),
                "false" => Ok(false.into()),
                _ => Err(format!("this column holds true or false, but `{text}` is neither")),
            },
            Self::Any if text.is_empty() => Err("the cell cannot be blank".into()),
            Self::Any => Ok(match (quoted, text) {
                (Some(quoted), _) => quoted.into(),
                (_, "true") => true.into(),
                (_, "false") => false.into(),
                _ => number(text).map_or_else(|| text.into(), Value::Number),
            }),
        }
    }

    /// Converts an input to the type of this column; null if that is not possible.
    fn coerce(self, value: &Value) -> Value {
        let is_flag = |text: &str| matches!(text.trim().to_lowercase().as_str(), "true" | "false");
        match (self, value) {
            (Self::Any, _)
            | (Self::Int | Self::Float, Value::Number(_))
            | (Self::Bool, Value::Bool(_))
            | (Self::Text, Value::String(_)) => value.clone(),
            (Self::Int | Self::Float, Value::String(text)) => {
                number(text.trim()).map_or(Value::Null, Value::Number)
            }
            (Self::Bool, Value::String(text)) if is_flag(text) => {
                text.trim().eq_ignore_ascii_case("true").into()
            }
            (Self::Text, Value::Bool(flag)) => flag.to_string().into(),
            (Self::Text, Value::Number(_)) => python_text::str(value).into(),
            _ => Value::Null,
        }
    }
}

#[async_trait]
impl Kind for DecisionTable {
    async fn execute(&self, _: Call<'_>, input: &Arc<Value>) -> Result<Arc<Value>, Halt> {
        let matching = self.matching(input)?;
        let mut output = Map::new();
        for (index, column) in self.outputs.iter().enumerate() {
            let values = matching.iter().map(|rule| rule.then[index].clone()).collect();
            output.insert(column.name.clone(), self.fold(column, values));
        }
        let rules = matching.iter().map(|rule| json!({"id": rule.id, "name": rule.name})).collect();
        output.insert(MATCHED.into(), rules);
        Ok(Arc::new(Value::Object(output)))
    }

    fn admit(&self, input: Arc<Value>) -> Result<Arc<Value>, NodeError> {
        mapping(input, "a DecisionTable")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_match_like_the_reference() {
        let rows = crate::tables::table("cells");
        let values = rows[0]["values"].as_array().expect("values");
        let different = crate::tables::differences(&rows[1..], |row| {
            let (_, column) = COLUMNS.iter().find(|(name, _)| row["type"] == *name).expect("a type");
            let cell = Cell::read(row["cell"].as_str().expect("text"), *column).map_err(|_| String::new())?;
            Ok(values.iter().map(|value| cell.holds(&column.coerce(value))).collect())
        });
        assert!(
            different.is_empty(),
            "{} of {} differ:\n{}",
            different.len(),
            rows.len(),
            different.join("\n")
        );
    }

    #[test]
    fn cells_match_values() {
        for (column, text, holds, not) in [
            (Column::Any, "", vec![json!(null), json!(1)], vec![]),
            (
                Column::Float,
                "[620..680)",
                vec![json!(620), json!(679.9)],
                vec![json!(680), json!(null), json!("650")],
            ),
            (Column::Any, "( -1 .. 1e1 ]", vec![json!(0), json!(10)], vec![json!(-1), json!(true)]),
            (
                Column::Text,
                "FHA, 'a, b', O'Brien",
                vec![json!("FHA"), json!("a, b"), json!("O'Brien")],
                vec![json!("a")],
            ),
            (Column::Text, "!= FHA, VA", vec![json!("x")], vec![json!("VA"), json!(null)]),
            (Column::Any, "= true", vec![json!(true)], vec![json!(1), json!("true")]),
            (Column::Any, "\"700\"", vec![json!("700")], vec![json!(700)]),
            (Column::Int, ">= 1e2", vec![json!(100)], vec![json!(99), json!("100")]),
            (Column::Any, "< b", vec![json!("a")], vec![json!("b"), json!(1)]),
        ] {
            let cell = Cell::read(text, column).expect(text);
            for value in holds {
                assert!(cell.holds(&value), "{text}: {value}");
            }
            for value in not {
                assert!(!cell.holds(&value), "{text}: {value}");
            }
        }
        for (column, text, problem) in [
            (Column::Text, "[1..2]", "a column of type"),
            (Column::Any, "[3..2]", "wrong order"),
            (Column::Any, ">", "needs a value"),
            (Column::Any, "> 1, 2", "takes one value"),
            (Column::Any, "a,,b", "empty alternative"),
            (Column::Int, "ten", "holds numbers"),
            (Column::Bool, "yes", "true or false"),
        ] {
            let found = Cell::read(text, column).expect_err(text);
            assert!(found.contains(problem), "{text}: {found}");
        }
    }
}
