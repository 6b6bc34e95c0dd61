//! The names and values that DynamoDB's expressions refer to.

use super::item::{bytes, number, text};
use aws_sdk_dynamodb::types::AttributeValue;
use runyard_runs::{Field, Guard, RecordChange, Sequence, Timestamp};
use std::collections::HashMap;

/// Collects what the expressions of one request refer to. No attribute is named in an expression itself: many are
/// reserved words.
#[derive(Default)]
pub(super) struct Terms {
    pub(super) names: HashMap<String, String>,
    pub(super) values: HashMap<String, AttributeValue>,
}

impl Terms {
    /// The placeholder of an attribute.
    pub(super) fn name(&mut self, name: &str) -> String {
        let placeholder = format!("#{name}");
        self.names.insert(placeholder.clone(), name.to_owned());
        placeholder
    }

    /// The placeholder of a value.
    pub(super) fn value(&mut self, value: AttributeValue) -> String {
        let placeholder = format!(":{}", self.values.len());
        self.values.insert(placeholder.clone(), value);
        placeholder
    }

    /// `name operator value`.
    pub(super) fn compare(&mut self, name: &str, operator: &str, value: AttributeValue) -> String {
        format!("{} {operator} {}", self.name(name), self.value(value))
    }

    /// The condition that there is a record which the guard lets through.
    pub(super) fn guard(&mut self, guard: &Guard) -> String {
        let exists = format!("attribute_exists({})", self.name("rev"));
        match *guard {
            Guard::Always => exists,
            Guard::LeaseFree { claim, now } => {
                let nobody = format!("attribute_not_exists({})", self.name("owner"));
                let own = self.compare("owner", "=", text(claim.to_string()));
                let over = self.compare("due", "<=", number(now.0));
                format!("{exists} AND ({nobody} OR {own} OR {over})")
            }
            Guard::Owner(claim) => self.compare("owner", "=", text(claim.to_string())),
            Guard::Rev(rev) => self.compare("rev", "=", number(rev)),
        }
    }

    /// The update that makes the change; `entry` is the place of the entry that rides with it, `token` names the write.
    pub(super) fn change(
        &mut self,
        change: &RecordChange,
        entry: Option<Sequence>,
        token: &[u8; 16],
    ) -> String {
        let mut set = Vec::new();
        let mut remove = Vec::new();
        let rev = self.name("rev");
        let one = self.value(number(1));
        set.push(format!("{rev} = {rev} + {one}"));
        set.push(self.compare("token", "=", bytes(token)));
        if let Some(first) = entry {
            set.push(self.compare("tail", "=", number(first)));
        }
        if let Some(upto) = change.upto {
            set.push(self.compare("upto", "=", number(upto)));
        }
        if let Some(status) = change.status {
            set.push(self.compare("st", "=", number(super::item::status_code(status))));
        }
        match change.unanswered {
            Some(true) => set.push(self.compare("un", "=", AttributeValue::Bool(true))),
            Some(false) => remove.push(self.name("un")),
            None => {}
        }
        if let Some(Timestamp(at)) = change.ended_at {
            set.push(self.compare("ended_at", "=", number(at)));
        }
        match change.owner {
            Field::Keep => {}
            Field::Set(claim) => set.push(self.compare("owner", "=", text(claim.to_string()))),
            Field::Clear => remove.push(self.name("owner")),
        }
        match change.due {
            Field::Keep => {}
            Field::Set(Timestamp(due)) => set.push(self.compare("due", "=", number(due))),
            Field::Clear => remove.push(self.name("due")),
        }
        if let Some((attempts, at)) = change.attempts {
            set.push(self.compare("attempts", "=", number(attempts)));
            set.push(self.compare("attempts_at", "=", number(at)));
        }
        let mut update = format!("SET {}", set.join(", "));
        if !remove.is_empty() {
            update += " REMOVE ";
            update += &remove.join(", ");
        }
        update
    }
}
