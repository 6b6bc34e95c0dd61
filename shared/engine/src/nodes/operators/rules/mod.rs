//! Rules: evaluates every rule against a record, and returns one finding for each.

mod derived;
mod rule;

use super::{Registered, mapping};
use crate::{
    compute,
    expression::{Scope, Val, date, quoted},
    flow::{Call, Halt, Kind, NodeError},
    load::Fields,
};
use async_trait::async_trait;
use derived::Derived;
use jiff::civil::Date;
use rule::{Policy, Rule, Status};
use serde_json::{Map, Value, json};
use std::sync::Arc;

pub(super) const RULES: Registered = Registered {
    class: "operators.Rules",
    name: Some("rules"),
    timeout: None,
    build: |_, fields, _| Some(Box::new(Node(Arc::new(Rules::read(fields))))),
};

/// The input with the date for which the rules are evaluated.
const AS_OF: &str = "as_of";

#[derive(Debug)]
struct Rules {
    derived: Vec<Derived>,
    all: Vec<Rule>,
    /// How rules without their own policy treat a missing value.
    policy: Policy,
    /// The declared names of inputs and derived values, if there are any.
    declared: Option<Vec<String>>,
}

#[derive(Debug)]
struct Node(Arc<Rules>);

/// Why no rule may be skipped because of a missing value.
#[derive(Clone, Debug)]
struct Hold {
    reason: String,
    /// Whether a lookup found nothing. Such a hold only applies to rules that require the value.
    is_lookup: bool,
}

impl Hold {
    fn new(reason: String) -> Self {
        Self { reason, is_lookup: false }
    }
}

impl Rules {
    fn read(fields: Fields<'_>) -> Self {
        let mut inputs = Vec::new();
        for field in fields.items("input_fields", "a field") {
            field.know(&["id", "type", "required"]);
            inputs.extend(field.text("name").map(str::to_owned));
        }
        let derived = Derived::read(fields, &inputs);
        let mut declared = inputs;
        if let Some(selector) = fields.fields("input_transformer").and_then(|it| it.fields("selector")) {
            declared
                .extend(selector.yaml.entries().unwrap_or_default().iter().map(|entry| entry.key.clone()));
        }
        let declared = (!declared.is_empty()).then(|| {
            declared.extend(derived.iter().map(|value| value.name.clone()));
            declared.push(AS_OF.to_owned());
            declared
        });
        let mut rules: Vec<Rule> = Vec::new();
        for (index, item) in fields.items("rules", "a rule").into_iter().enumerate() {
            let id = item.text("id").map_or_else(|| format!("rule-{}", index + 1), str::to_owned);
            if rules.iter().any(|rule| rule.id == id) {
                item.mistake(item.spot("id"), format!("duplicate rule `{id}`"));
            }
            rules.extend(Rule::read(id, item));
        }
        let policy = fields.choice("on_missing", Policy::WORDS).unwrap_or(Policy::Hold);
        Self { derived, all: rules, policy, declared }
    }

    fn output(&self, input: &Value, today: Date) -> Result<Arc<Value>, NodeError> {
        let empty = Map::new();
        Ok(Arc::new(self.evaluate(input.as_object().unwrap_or(&empty), today)?))
    }

    /// Evaluates the rules. Must be called within a [computation](compute).
    fn evaluate(&self, input: &Map<String, Value>, today: Date) -> Result<Value, NodeError> {
        let as_of = as_of(input, today)?;
        let skips = self.all.iter().any(|rule| rule.policy.unwrap_or(self.policy) == Policy::Skip);
        let mut record = Record {
            scope: Scope { input, values: Vec::new() },
            declared: self.declared.as_deref(),
            holds: Vec::new(),
            today,
            as_of,
        };
        let (mut derived, mut errors) = (Map::new(), Map::new());
        for (index, value) in self.derived.iter().enumerate() {
            let later = if skips { &self.derived[index..] } else { &[] };
            match value.compute(&record, later, skips) {
                derived::Computed { value: Val::Unreadable(unreadable), .. } => {
                    derived.insert(value.name.clone(), Value::Null);
                    errors.insert(value.name.clone(), unreadable.reason.clone().into());
                    record.scope.values.push((value.name.clone(), Val::Unreadable(unreadable)));
                }
                derived::Computed { value: computed, hold } => {
                    derived.insert(value.name.clone(), computed.json().unwrap_or_default());
                    record.scope.values.push((value.name.clone(), computed));
                    record.holds.extend(hold.map(|hold| (value.name.clone(), hold)));
                }
            }
        }
        let mut findings = Vec::with_capacity(self.all.len());
        let mut counts = Status::ALL.map(|status| (status, 0_u64));
        let mut all_ran = true;
        for rule in self.all.iter().filter(|rule| rule.is_on) {
            let (finding, status, ran) = rule.finding(&record, self.policy);
            all_ran &= ran;
            for (known, count) in &mut counts {
                *count += u64::from(*known == status);
            }
            findings.push(finding);
        }
        let any = |wanted: Status| counts.iter().any(|(status, count)| *status == wanted && *count > 0);
        let status = if any(Status::Fail) {
            Status::Fail
        } else if any(Status::Warn) {
            Status::Warn
        } else if any(Status::NotEvaluated) || !all_ran {
            Status::NotEvaluated
        } else {
            Status::Pass
        };
        let summary: Map<String, Value> =
            counts.iter().map(|(status, count)| (status.name().to_owned(), (*count).into())).collect();
        Ok(json!({
            "status": status.name(), "summary": summary, "findings": findings, "derived": derived,
            "derived_errors": errors,
        }))
    }
}

/// The values that the rules are evaluated against.
struct Record<'r, 'a> {
    scope: Scope<'a>,
    declared: Option<&'r [String]>,
    /// Values that are missing for another reason than that the record lacks data.
    holds: Vec<(String, Hold)>,
    today: Date,
    as_of: Date,
}

/// The date for which the rules are evaluated.
fn as_of(input: &Map<String, Value>, today: Date) -> Result<Date, NodeError> {
    let given = input.get(AS_OF).map_or(Val::None, Val::from);
    if given.is_missing() || matches!(&given, Val::Text(text) if text.is_empty()) {
        return Ok(today);
    }
    date(&given, None).map_err(|_| {
        NodeError::new("ValueError", format!("Rules: '{AS_OF}' is not a date: {}", quoted(&given)))
    })
}

#[async_trait]
impl Kind for Node {
    async fn execute(&self, call: Call<'_>, input: &Arc<Value>) -> Result<Arc<Value>, Halt> {
        let today = super::today(call);
        let detached = || {
            let (rules, input) = (Arc::clone(&self.0), Arc::clone(input));
            move || rules.output(&input, today)
        };
        Ok(compute::run(call.run, "the rules", || self.0.output(input, today), detached).await?)
    }

    fn admit(&self, input: Arc<Value>) -> Result<Arc<Value>, NodeError> {
        mapping(input, "a Rules node")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        load::{Mistakes, read_yaml},
        tables::{differences, table},
    };
    use std::cell::RefCell;

    fn rules(file: &Value) -> Rules {
        let mistakes = RefCell::new(Mistakes::default());
        let yaml = read_yaml(&file.to_string(), &mut mistakes.borrow_mut()).expect("JSON is YAML");
        let rules = Rules::read(Fields::new(&yaml, "rules", &mistakes).expect("a mapping"));
        let mistakes = mistakes.borrow_mut().clone().into_sorted();
        assert_eq!(mistakes, [], "{file}");
        rules
    }

    #[test]
    fn findings_match_the_reference() {
        let rows = table("rules");
        let record = rows[0]["all"].as_object().expect("a record");
        let inputs: Vec<Value> =
            record.keys().filter(|key| *key != AS_OF).map(|key| json!({"name": key})).collect();
        let message = "a={{ app.a }} zz={{ app.zz }}{% if has(ratio) %} r{% else %} none{% endif %}";
        let today = jiff::civil::date(2020, 1, 1);
        let found = |check: &Value, policy: &Value, more: &Value| {
            let mut rule = json!({"id": "r", "check": check, "message": message});
            if let Some(more) = more.as_object() {
                rule.as_object_mut().expect("a rule").extend(more.clone());
            }
            let file = json!({
                "input_fields": inputs, "derived_values": rows[0]["derived"], "on_missing": policy,
                "rules": [rule],
            });
            let rules = rules(&file);
            let found = compute::whole("the rules", || rules.evaluate(record, today));
            found.map_err(|error| error.kind.to_string())
        };
        let all = found(&json!("true"), &json!("not_applicable"), &Value::Null).expect("findings");
        for (key, value) in rows[1]["derives"].as_object().expect("derived values") {
            assert_eq!(&all[key], value);
        }
        let different = differences(&rows[2..], |row| {
            let found = found(&row["check"], &row["policy"], &row["more"])?;
            let finding = &found["findings"][0];
            Ok(json!({"status": found["status"], "finding": {
                "status": finding["status"], "message": finding["message"], "evaluated": finding["evaluated"],
            }}))
        });
        assert!(
            different.is_empty(),
            "{} of {} differ:\n{}",
            different.len(),
            rows.len(),
            different.join("\n")
        );
    }
}
