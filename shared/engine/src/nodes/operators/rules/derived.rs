//! Values that a Rules node computes from a record before it evaluates its rules.

use super::{Hold, Record};
use crate::{
    expression::{Expression, Fault, Mode, Path, RESERVED, Reads, Scope, Unreadable, Val},
    load::Fields,
    nodes::operators::expression::is_identifier,
};

/// A derived value.
#[derive(Debug)]
pub(super) struct Derived {
    pub(super) name: String,
    expression: Expression,
}

/// The computed value, and if it is missing, why no rule may skip it.
pub(super) struct Computed<'a> {
    pub(super) value: Val<'a>,
    pub(super) hold: Option<Hold>,
}

impl Derived {
    pub(super) fn read(fields: Fields<'_>, inputs: &[String]) -> Vec<Self> {
        let mut derived: Vec<Self> = Vec::new();
        for item in fields.items("derived_values", "a derived value") {
            item.know(&["id"]);
            let (name, text) = (item.text("name"), item.text("expression"));
            for (key, given) in [("name", name), ("expression", text)] {
                if given.is_none_or(|given| given.trim().is_empty()) {
                    item.mistake(item.spot(key), format!("a derived value lacks its `{key}`"));
                }
            }
            let (Some(name), Some(text)) = (name, text.filter(|text| !text.trim().is_empty())) else {
                continue;
            };
            let taken = inputs.iter().any(|input| input == name)
                || RESERVED.contains(&name)
                || derived.iter().any(|value| value.name == name);
            if !is_identifier(name) || name == "self" {
                item.mistake(item.spot("name"), format!("`{name}` is not a valid name for a derived value"));
            } else if taken {
                item.mistake(item.spot("name"), format!("the name `{name}` is already used"));
            }
            if let Some(expression) = compile(item, "expression", text, Mode::Strict) {
                derived.push(Self { name: name.to_owned(), expression });
            }
        }
        derived
    }

    /// Computes the value. `later` are this value and those computed after it. Only looks for a hold if `finds_hold`.
    pub(super) fn compute<'a>(
        &self,
        record: &Record<'_, 'a>,
        later: &[Self],
        finds_hold: bool,
    ) -> Computed<'a> {
        let scope = &record.scope;
        let reads = &self.expression.reads;
        let outcome = self.expression.evaluate(scope, record.today);
        let misread = outcome.misread;
        let (mut undefined, mut blank) = match &outcome.result {
            Ok(value) => (matches!(value, Val::Missing(_)), value.is_blank_marker()),
            Err(_) => (false, false),
        };
        let value = match outcome.result.and_then(Val::concrete) {
            Ok(value) => value,
            Err(fault @ (Fault::Undefined(_) | Fault::Missing { .. })) => {
                (undefined, blank) = (true, matches!(fault, Fault::Missing { .. }));
                unread(&reads.required, &misread, scope).map_or(Val::None, Val::Unreadable)
            }
            Err(Fault::Unreadable(unreadable)) => Val::Unreadable(unreadable),
            // A failure while a required value is missing counts as missing.
            Err(Fault::Failed(..)) if scope.missing(&reads.required).is_some() => {
                unread(&reads.required, &misread, scope).map_or(Val::None, Val::Unreadable)
            }
            Err(fault) => {
                let reason = fault.message().to_owned();
                Val::Unreadable(Unreadable { reason, value: serde_json::Value::Null })
            }
        };
        let hold = (finds_hold && matches!(value, Val::None))
            .then(|| self.why_missing(record, later, undefined, blank))
            .flatten();
        Computed { value, hold }
    }

    fn why_missing(
        &self,
        record: &Record<'_, '_>,
        later: &[Self],
        undefined: bool,
        blank: bool,
    ) -> Option<Hold> {
        let reads = &self.expression.reads;
        if let Some((path, unreadable)) = record.scope.unreadable(reads.all()) {
            let (path, reason) = (&path.text, unreadable.reason);
            return Some(Hold::new(if reason.starts_with("not a ") {
                format!("{path} is {reason}")
            } else {
                format!("{path} is unreadable: {reason}")
            }));
        }
        let pending: Vec<&str> = later.iter().map(|value| value.name.as_str()).collect();
        let hold = why_held(reads, record, &pending, &self.name);
        if hold.as_ref().is_some_and(|hold| !hold.is_lookup) {
            return hold;
        }
        let accounted = if blank {
            reads.all().any(|path| record.scope.is_blank(path))
        } else {
            !undefined || record.scope.missing(&reads.required).is_some()
        };
        if accounted {
            return hold;
        }
        let reason = format!("the lookup for {} found nothing", self.name);
        Some(Hold { reason, is_lookup: true })
    }
}

/// Compiles an expression of a rule set. If it is invalid, reports an error at the field and returns `None`.
pub(super) fn compile(fields: Fields<'_>, key: &str, text: &str, mode: Mode) -> Option<Expression> {
    let report = |problem: String| {
        fields.mistake(fields.spot(key), format!("`{key}` is no expression: {problem}"));
        None
    };
    match Expression::new(text, mode) {
        Ok(expression) => {
            let private = expression.reads.all().find(|path| path.is_private()).map(|path| path.text.clone());
            match private {
                Some(path) => report(format!("it reads a private attribute, `{path}`")),
                None => Some(expression),
            }
        }
        Err(problem) => report(problem),
    }
}

/// The first unreadable value, which takes precedence over a missing one.
pub(super) fn unread<'p>(
    paths: impl IntoIterator<Item = &'p Path>,
    misread: &[Unreadable],
    scope: &Scope<'_>,
) -> Option<Unreadable> {
    let found = scope.unreadable(paths).map(|(_, unreadable)| unreadable);
    found.or_else(|| misread.first().cloned())
}

/// Why a missing value has another cause than that the record lacks data.
pub(super) fn why_held(
    reads: &Reads,
    record: &Record<'_, '_>,
    pending: &[&str],
    reading: &str,
) -> Option<Hold> {
    let scope = &record.scope;
    if let Some(path) = scope.missing(&reads.unknown_calls) {
        return Some(Hold::new(format!("{} is not a helper", path.text)));
    }
    if let Some((kind, name, _)) = reads.unknown_names.first() {
        return Some(Hold::new(format!("{name} is not a {kind}")));
    }
    let mut lookup = None;
    for path in reads.all().filter(|path| scope.is_blank(path)) {
        let root = path.root();
        if pending.contains(&root) {
            return Some(Hold::new(format!("{root} is computed after {reading}")));
        }
        let is_known = |declared: &[String]| declared.iter().any(|name| name == root);
        if record.declared.is_some_and(|declared| !is_known(declared)) {
            return Some(Hold::new(format!("{root} is not an input or a derived value")));
        }
        let Some((_, hold)) = record.holds.iter().find(|(name, _)| name == root) else { continue };
        if !hold.is_lookup {
            return Some(hold.clone());
        }
        if lookup.is_none() && reads.required.contains(path) {
            lookup = Some(hold.clone());
        }
    }
    lookup
}
