//! The cost of checking a value against a schema, computed in advance: the validator cannot be interrupted, and schemas
//! that refer to themselves can take a number of steps that is exponential in the depth of the value.

use crate::pattern::{LACKS_GROUP, lacks_group};
use serde_json::{Map, Value};
use std::{borrow::Cow, collections::HashMap};

/// Values, and bytes of text, of a schema.
const MAX_VALUES: usize = 10_000;
const MAX_BYTES: usize = 256 << 10;
/// How deep a schema may nest.
const MAX_DEPTH: usize = 64;
/// Regular expressions of a schema, and bytes of one of them.
const MAX_PATTERNS: usize = 100;
const MAX_PATTERN_BYTES: usize = 4 << 10;
/// How many nested subschemas one check may enter.
const MAX_VISIT_DEPTH: usize = 512;
/// Steps that checking null may take: a schema that needs more refers to itself endlessly.
const MAX_NULL_STEPS: u64 = 50_000;

/// Why the cost of a check was not computed completely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exceeded {
    Steps,
    Depth,
}

/// A compiled schema, and its anchors.
#[derive(Debug)]
pub(super) struct Cost {
    schema: Value,
    anchors: HashMap<String, String>,
    /// Cost of matching a pattern, per byte of text, in sixteenths of a step.
    pub(super) price_of_patterns: u64,
}

impl Cost {
    /// The error says which limit the schema exceeds.
    pub(super) fn new(schema: Value) -> Result<Self, String> {
        let mut contents = Contents {
            values: 0,
            bytes: 0,
            patterns: 0,
            refs: Vec::new(),
            nested_id: false,
            anchors: HashMap::new(),
        };
        let is_draft_04 =
            schema.get("$schema").and_then(Value::as_str).is_some_and(|draft| draft.contains("draft-04"));
        contents.at(&schema, "", 0, if is_draft_04 { "id" } else { "$id" })?;
        let Contents { refs, nested_id, anchors, .. } = contents;
        if nested_id && !refs.is_empty() {
            return Err("a schema with references has one `$id`, at its top".into());
        }
        let cost = Self { schema, anchors, price_of_patterns: 1 };
        if let Some(reference) = refs.iter().find(|reference| cost.target(reference).is_none()) {
            let shown = &reference[..reference.floor_char_boundary(100)];
            return Err(format!(
                "`{shown}` refers to nothing in this schema; references to other documents are not followed"
            ));
        }
        if cost.of(&Value::Null, MAX_NULL_STEPS).is_err() {
            return Err("its references repeat each other without end".into());
        }
        Ok(cost)
    }

    /// Upper bound of the steps that checking `value` takes; an error if it exceeds `max`.
    pub(super) fn of(&self, value: &Value, max: u64) -> Result<u64, Exceeded> {
        let mut count = Count { cost: self, left: max };
        count.visit(&self.schema, value, 0)?;
        Ok(max - count.left)
    }

    /// The target of a reference within the schema.
    fn target(&self, reference: &str) -> Option<&Value> {
        let fragment = reference.strip_prefix('#')?;
        if fragment.is_empty() || fragment.starts_with('/') {
            return self.schema.pointer(&percent_decoded(fragment)?);
        }
        self.schema.pointer(self.anchors.get(fragment)?)
    }
}

/// Decodes the `%`-escapes of a fragment.
fn percent_decoded(fragment: &str) -> Option<Cow<'_, str>> {
    if !fragment.contains('%') {
        return Some(Cow::Borrowed(fragment));
    }
    let (mut bytes, mut rest) = (Vec::with_capacity(fragment.len()), fragment.as_bytes());
    while let Some((first, after)) = rest.split_first() {
        if *first == b'%' {
            let digits = std::str::from_utf8(after.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &after[2..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

/// The contents of a schema that its limits are about.
struct Contents {
    values: usize,
    bytes: usize,
    patterns: usize,
    refs: Vec<String>,
    nested_id: bool,
    anchors: HashMap<String, String>,
}

impl Contents {
    fn at(&mut self, value: &Value, pointer: &str, depth: usize, id: &str) -> Result<(), String> {
        if depth > MAX_DEPTH {
            return Err(format!("a schema nests at most {MAX_DEPTH} deep"));
        }
        self.values += 1;
        if let Value::String(text) = value {
            self.bytes += text.len();
        }
        if self.values > MAX_VALUES || self.bytes > MAX_BYTES {
            return Err(format!("a schema has at most {MAX_VALUES} values and {MAX_BYTES} bytes of text"));
        }
        match value {
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.at(item, &format!("{pointer}/{index}"), depth + 1, id)?;
                }
            }
            Value::Object(map) => {
                for (key, value) in map {
                    self.bytes += key.len();
                    self.word(key, value, pointer, depth, id)?;
                    let key = key.replace('~', "~0").replace('/', "~1");
                    self.at(value, &format!("{pointer}/{key}"), depth + 1, id)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn word(
        &mut self,
        key: &str,
        value: &Value,
        pointer: &str,
        depth: usize,
        id: &str,
    ) -> Result<(), String> {
        match (key, value) {
            ("$ref" | "$dynamicRef" | "$recursiveRef", Value::String(reference)) => {
                self.refs.push(reference.clone());
            }
            ("$anchor" | "$dynamicAnchor", Value::String(name)) => {
                self.anchors.insert(name.clone(), pointer.to_owned());
            }
            ("pattern", Value::String(pattern)) => self.pattern(pattern)?,
            ("patternProperties", Value::Object(patterns)) => {
                patterns.keys().try_for_each(|pattern| self.pattern(pattern))?;
            }
            (key, Value::String(_)) if key == id && depth > 0 => self.nested_id = true,
            _ => {}
        }
        Ok(())
    }

    fn pattern(&mut self, pattern: &str) -> Result<(), String> {
        self.patterns += 1;
        if self.patterns > MAX_PATTERNS || pattern.len() > MAX_PATTERN_BYTES {
            return Err(format!(
                "a schema has at most {MAX_PATTERNS} patterns of at most {MAX_PATTERN_BYTES} bytes"
            ));
        }
        if lacks_group(pattern) {
            return Err(format!("`{}`: {LACKS_GROUP}", &pattern[..pattern.floor_char_boundary(100)]));
        }
        Ok(())
    }
}

/// Keywords whose subschemas apply to the same value as the schema that contains them.
const IN_PLACE: &[&str] = &[
    "$ref",
    "$dynamicRef",
    "$recursiveRef",
    "allOf",
    "anyOf",
    "oneOf",
    "not",
    "if",
    "then",
    "else",
    "dependentSchemas",
    "dependencies",
];

struct Count<'c> {
    cost: &'c Cost,
    left: u64,
}

impl Count<'_> {
    fn take(&mut self, steps: u64) -> Result<(), Exceeded> {
        self.left = self.left.checked_sub(steps).ok_or(Exceeded::Steps)?;
        Ok(())
    }

    fn text(&mut self, text: &str, price: u64) -> Result<(), Exceeded> {
        self.take(1 + text.len() as u64 * price / 16)
    }

    /// Charges for everything that a check may visit, as if it never ended early.
    fn visit(&mut self, schema: &Value, value: &Value, depth: usize) -> Result<(), Exceeded> {
        if depth > MAX_VISIT_DEPTH {
            return Err(Exceeded::Depth);
        }
        self.take(1)?;
        let Value::Object(schema) = schema else { return Ok(()) };
        // For `unevaluated…`, the validator checks the in-place keywords once more to find out what they evaluated, and
        // again for the errors.
        let times = if schema.keys().any(|word| word.starts_with("unevaluated")) { 3 } else { 1 };
        for _ in 0..times {
            for (word, of) in schema.iter().filter(|(word, _)| IN_PLACE.contains(&word.as_str())) {
                self.in_place(word, of, value, depth + 1)?;
            }
        }
        for (word, of) in schema {
            match value {
                Value::Object(map) => self.object(word, of, map, depth + 1)?,
                Value::Array(items) => self.array(word, of, items, depth + 1)?,
                Value::String(text) => match word.as_str() {
                    "pattern" => self.text(text, self.cost.price_of_patterns)?,
                    _ => self.text(text, 1)?,
                },
                _ => self.take(1)?,
            }
            if matches!(word.as_str(), "enum" | "const") {
                self.all(of)?;
                self.all(value)?;
            }
        }
        Ok(())
    }

    fn in_place(&mut self, word: &str, of: &Value, value: &Value, depth: usize) -> Result<(), Exceeded> {
        match of {
            Value::String(reference) if word.starts_with('$') => match self.cost.target(reference) {
                Some(target) => self.visit(target, value, depth),
                None => Ok(()),
            },
            Value::Array(schemas) => schemas.iter().try_for_each(|schema| self.visit(schema, value, depth)),
            Value::Object(schemas) if word.starts_with("depend") => {
                schemas.values().try_for_each(|schema| self.visit(schema, value, depth))
            }
            schema => self.visit(schema, value, depth),
        }
    }

    fn object(
        &mut self,
        word: &str,
        of: &Value,
        map: &Map<String, Value>,
        depth: usize,
    ) -> Result<(), Exceeded> {
        match (word, of) {
            ("properties", Value::Object(schemas)) => {
                self.take(schemas.len() as u64)?;
                for (key, schema) in schemas {
                    if let Some(value) = map.get(key) {
                        self.visit(schema, value, depth)?;
                    }
                }
                Ok(())
            }
            ("patternProperties", Value::Object(schemas)) => {
                for (key, value) in map {
                    for schema in schemas.values() {
                        self.text(key, self.cost.price_of_patterns)?;
                        self.visit(schema, value, depth)?;
                    }
                }
                Ok(())
            }
            ("additionalProperties" | "unevaluatedProperties", schema) => {
                self.take(map.len() as u64)?;
                map.values().try_for_each(|value| self.visit(schema, value, depth))
            }
            ("propertyNames", schema) => {
                map.keys().try_for_each(|key| self.visit(schema, &Value::String(key.clone()), depth))
            }
            ("required" | "dependentRequired", of) => self.all(of),
            _ => self.take(1),
        }
    }

    fn array(&mut self, word: &str, of: &Value, items: &[Value], depth: usize) -> Result<(), Exceeded> {
        match (word, of) {
            ("items" | "prefixItems", Value::Array(schemas)) => {
                schemas.iter().zip(items).try_for_each(|(schema, item)| self.visit(schema, item, depth))
            }
            ("items" | "additionalItems" | "unevaluatedItems" | "contains", schema) => {
                items.iter().try_for_each(|item| self.visit(schema, item, depth))
            }
            ("uniqueItems", _) => {
                // The validator compares few items in pairs, and hashes many.
                for _ in 0..items.len().clamp(1, 16) {
                    items.iter().try_for_each(|item| self.all(item))?;
                }
                Ok(())
            }
            _ => self.take(1),
        }
    }

    /// Charges for each value, and for its text.
    fn all(&mut self, value: &Value) -> Result<(), Exceeded> {
        match value {
            Value::String(text) => self.text(text, 1),
            Value::Array(items) => {
                self.take(1)?;
                items.iter().try_for_each(|item| self.all(item))
            }
            Value::Object(map) => {
                self.take(1)?;
                map.values().try_for_each(|value| self.all(value))
            }
            _ => self.take(1),
        }
    }
}
