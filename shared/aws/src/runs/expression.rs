//! DynamoDB's expressions, and the names and values that they refer to.

use super::item::{bytes, number, text};
use aws_sdk_dynamodb::types::AttributeValue;
use runyard_runs::{Field, Guard, RecordChange, Sequence, Timestamp};
use std::collections::HashMap;

/// Collects the names and values that the expressions of one request refer to. Expressions use placeholders for all
/// attributes, because many of their names are reserved words.
#[derive(Default)]
pub(super) struct Terms {
    pub(super) names: HashMap<String, String>,
    pub(super) values: HashMap<String, AttributeValue>,
}

impl Terms {
    /// Returns the placeholder of an attribute.
    pub(super) fn name(&mut self, name: &str) -> String {
        let placeholder = format!("#{name}");
        self.names.insert(placeholder.clone(), name.to_owned());
        placeholder
    }

    /// Returns the placeholder of a value.
    pub(super) fn value(&mut self, value: AttributeValue) -> String {
        let placeholder = format!(":{}", self.values.len());
        self.values.insert(placeholder.clone(), value);
        placeholder
    }

    /// Returns `name operator value`, with placeholders.
    pub(super) fn compare(&mut self, name: &str, operator: &str, value: AttributeValue) -> String {
        format!("{} {operator} {}", self.name(name), self.value(value))
    }

    /// Returns the condition that the record exists and the guard allows the write.
    pub(super) fn guard(&mut self, guard: &Guard) -> String {
        let exists = format!("attribute_exists({})", self.name("rev"));
        match *guard {
            Guard::Always => exists,
            Guard::LeaseFree { claim, now } => {
                let no_owner = format!("attribute_not_exists({})", self.name("owner"));
                let is_owner = self.compare("owner", "=", text(claim.to_string()));
                let has_expired = self.compare("due", "<=", number(now.0));
                format!("{exists} AND ({no_owner} OR {is_owner} OR {has_expired})")
            }
            Guard::Owner(claim) => self.compare("owner", "=", text(claim.to_string())),
            Guard::Rev(rev) => self.compare("rev", "=", number(rev)),
        }
    }

    /// Returns the update for a change. `entry` is the first sequence of the entry in the same transaction; `token`
    /// identifies the write.
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
