//! `${oc.env:NAME}`, `${oc.env:NAME,default}`, and `${a.b}` for a value elsewhere in the file.

use super::{
    Env, Mistakes, Refusal,
    yaml::{MAX_DEPTH, Size, Yaml, YamlValue, size, too_much},
};
use crate::python_text;
use std::collections::BTreeSet;

/// How many references may follow each other, and how deep `${…}` may nest.
const MAX_REFERENCES: usize = 32;

/// Replaces every interpolation in the values of `root`.
pub(crate) fn interpolate(root: &mut Yaml, env: &Env<'_>, mistakes: &mut Mistakes) {
    if !has_any(root) {
        return;
    }
    let original = root.clone();
    let mut resolver = Resolver::new(&original, env);
    resolver.resolve(root, &mut Vec::new(), 0, mistakes);
    for key in resolver.used {
        root.ask(&key);
    }
}

/// Like [`interpolate`], for a value of another file: it can refer to variables only.
pub(crate) fn interpolate_alone(yaml: &mut Yaml, env: &Env<'_>, mistakes: &mut Mistakes) {
    if has_any(yaml) {
        let nothing = Yaml::new(yaml.spot, YamlValue::Null);
        let mut resolver = Resolver::new(&nothing, env);
        resolver.resolve(yaml, &mut Vec::new(), 0, mistakes);
    }
}

fn has_any(yaml: &Yaml) -> bool {
    match &yaml.value {
        YamlValue::Text(text) => text.contains("${"),
        YamlValue::List(items) => items.iter().any(has_any),
        YamlValue::Map(entries) => entries.iter().any(|entry| has_any(&entry.value)),
        _ => false,
    }
}

/// Whether the variable is never resolved: the platform's credentials and Runyard's own settings.
pub(crate) fn is_reserved(name: &str) -> bool {
    name.starts_with("AWS_") || name.starts_with("RUNYARD_")
}

/// A step of the path to a value: a key or a list index.
#[derive(Clone, Debug, PartialEq, Eq)]
enum PathStep {
    Key(String),
    At(usize),
}

struct Resolver<'r> {
    /// The file before interpolation.
    root: &'r Yaml,
    env: &'r Env<'r>,
    /// The sections that are referred to.
    used: BTreeSet<String>,
    /// How much more may be inserted for references.
    left: Size,
    /// The nesting depth in the result.
    level: usize,
}

impl<'r> Resolver<'r> {
    fn new(root: &'r Yaml, env: &'r Env<'r>) -> Self {
        Self { root, env, used: BTreeSet::new(), left: Size::OF_A_FILE, level: 0 }
    }

    /// `here` is the path to `yaml`, `depth` the number of references that led there.
    fn resolve(&mut self, yaml: &mut Yaml, here: &mut Vec<PathStep>, depth: usize, mistakes: &mut Mistakes) {
        match &mut yaml.value {
            YamlValue::Text(text) if text.contains("${") => match self.expand(text, here, depth) {
                Ok(value) => yaml.value = value,
                Err(problem) => mistakes.add(yaml.spot, problem),
            },
            YamlValue::List(_) | YamlValue::Map(_) if self.level >= MAX_DEPTH => {
                let problem =
                    format!("values nest deeper than {MAX_DEPTH} levels once references are resolved");
                mistakes.add(yaml.spot, problem);
                yaml.value = YamlValue::Null;
            }
            YamlValue::List(items) => {
                self.level += 1;
                for (index, item) in items.iter_mut().enumerate() {
                    here.push(PathStep::At(index));
                    self.resolve(item, here, depth, mistakes);
                    here.pop();
                }
                self.level -= 1;
            }
            YamlValue::Map(entries) => {
                self.level += 1;
                for entry in entries {
                    here.push(PathStep::Key(entry.key.clone()));
                    self.resolve(&mut entry.value, here, depth, mistakes);
                    here.pop();
                }
                self.level -= 1;
            }
            _ => {}
        }
    }

    /// Charges for what is inserted for a reference or variable.
    fn charge(&mut self, size: Size) -> Result<(), String> {
        self.left.take(size).map_err(too_much)
    }

    fn expand(&mut self, text: &str, here: &[PathStep], depth: usize) -> Result<YamlValue, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        let mut literal = String::new();
        while let Some(start) = rest.find("${") {
            let before = &rest[..start];
            let slashes = before.len() - before.trim_end_matches('\\').len();
            literal.push_str(&before[..before.len() - slashes]);
            literal.push_str(&"\\".repeat(slashes / 2));
            rest = &rest[start..];
            if slashes % 2 == 1 {
                literal.push_str("${");
                rest = &rest[2..];
                continue;
            }
            let end = closing(rest).ok_or_else(|| format!("`{}` lacks its closing brace", excerpt(rest)))?;
            pieces.push(std::mem::take(&mut literal));
            let body = &rest[2..end];
            let value = self.lookup(body, here, depth)?;
            rest = &rest[end + 1..];
            if rest.is_empty() && pieces.iter().all(String::is_empty) {
                return Ok(value);
            }
            let piece = match value {
                YamlValue::List(_) | YamlValue::Map(_) => {
                    return Err(format!(
                        "`${{{body}}}` is not a plain value, so it cannot be part of a text"
                    ));
                }
                plain => python_text::str(&Yaml::new(self.root.spot, plain).to_json()),
            };
            self.charge(Size { values: 0, bytes: piece.len() })?;
            pieces.push(piece);
        }
        pieces.push(literal);
        pieces.push(rest.to_owned());
        Ok(YamlValue::Text(pieces.concat()))
    }

    fn lookup(&mut self, body: &str, here: &[PathStep], depth: usize) -> Result<YamlValue, String> {
        if depth >= MAX_REFERENCES {
            return Err(format!(
                "`${{{}}}` refers to itself, or follows more than {MAX_REFERENCES} references",
                excerpt(body)
            ));
        }
        let body = body.trim();
        if let Some(arguments) = body.strip_prefix("oc.env:") {
            return self.variable(arguments, here, depth);
        }
        if let Some((resolver, _)) = body.split_once(':')
            && !resolver.contains("${")
        {
            return Err(format!(
                "`${{{body}}}` is not supported; only `${{oc.env:NAME}}`, `${{oc.env:NAME,default}}` and references \
                 to other values of the file are"
            ));
        }
        let YamlValue::Text(path) = self.expand(body, here, depth + 1)? else {
            return Err(format!("`${{{body}}}` is not a reference"));
        };
        let path_steps =
            path_steps(&path, here).ok_or_else(|| format!("`${{{path}}}` is not a reference"))?;
        let found = follow(self.root, &path_steps)
            .ok_or_else(|| format!("`${{{path}}}` refers to a value that the file does not have"))?;
        if let Some(PathStep::Key(section)) = path_steps.first() {
            self.used.insert(section.clone());
        }
        self.charge(size(found))?;
        let mut found = found.clone();
        let mut mistakes = Mistakes::default();
        self.resolve(&mut found, &mut path_steps.clone(), depth + 1, &mut mistakes);
        match mistakes.into_sorted().into_iter().next() {
            Some(mistake) => Err(mistake.message),
            None => Ok(found.value),
        }
    }

    fn variable(&mut self, arguments: &str, here: &[PathStep], depth: usize) -> Result<YamlValue, String> {
        let (name, default) = match arguments.split_once(',') {
            Some((name, default)) => (name.trim(), Some(default.trim())),
            None => (arguments.trim(), None),
        };
        if name.is_empty() {
            return Err("`${oc.env:…}` lacks the name of the variable".into());
        }
        match ((self.env)(name), default) {
            (Ok(Some(value)), _) => {
                self.charge(Size { values: 1, bytes: value.len() })?;
                Ok(YamlValue::Text(value))
            }
            (Ok(None), None) => {
                Err(format!("the environment variable `{name}` is not set and has no default"))
            }
            (Err(Refusal::Unreadable(why)), _) | (Err(Refusal::Forbidden(why)), None) => Err(why),
            (Ok(None) | Err(Refusal::Forbidden(_)), Some(default)) => self.fallback(default, here, depth),
        }
    }

    fn fallback(&mut self, default: &str, here: &[PathStep], depth: usize) -> Result<YamlValue, String> {
        if matches!(default, "null" | "Null" | "NULL") {
            return Ok(YamlValue::Null);
        }
        let quoted = ['"', '\''].iter().find_map(|quote| default.strip_prefix(*quote)?.strip_suffix(*quote));
        if let Some(quoted) = quoted {
            return Ok(YamlValue::Text(quoted.to_owned()));
        }
        if default.contains("${") {
            return self.expand(default, here, depth + 1);
        }
        Ok(YamlValue::Text(default.to_owned()))
    }
}

/// The steps of the path `a.b[0].c`; `.a` and `..a` begin at the mapping that contains the reference, or further out.
fn path_steps(path: &str, here: &[PathStep]) -> Option<Vec<PathStep>> {
    let dots = path.len() - path.trim_start_matches('.').len();
    let mut path_steps = match dots {
        0 => Vec::new(),
        dots => here.get(..here.len().checked_sub(dots)?)?.to_vec(),
    };
    for part in path[dots..].split('.') {
        let (name, indexes) = part.split_once('[').map_or((part, None), |(name, rest)| (name, Some(rest)));
        if !name.is_empty() {
            path_steps.push(name.parse().map_or_else(|_| PathStep::Key(name.to_owned()), PathStep::At));
        } else if indexes.is_none() {
            return None;
        }
        for index in indexes.into_iter().flat_map(|indexes| indexes.split('[')) {
            let index = index.strip_suffix(']')?;
            path_steps.push(index.parse().map_or_else(|_| PathStep::Key(index.to_owned()), PathStep::At));
        }
    }
    Some(path_steps)
}

fn follow<'y>(root: &'y Yaml, path_steps: &[PathStep]) -> Option<&'y Yaml> {
    path_steps.iter().try_fold(root, |here, step| match (step, &here.value) {
        (PathStep::Key(key), _) => here.get(key),
        (PathStep::At(index), YamlValue::List(items)) => items.get(*index),
        (PathStep::At(index), _) => here.get(&index.to_string()),
    })
}

/// The first 100 bytes of a reference, for error messages.
fn excerpt(text: &str) -> &str {
    &text[..text.floor_char_boundary(100)]
}

/// The index of the brace that closes `${…`.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0;
    for (index, character) in text.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => {
                depth -= 1;
                if depth == 0 {
                    return Some(index);
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::yaml::read;
    use serde_json::{Value, json};

    fn env(name: &str) -> Result<Option<String>, Refusal> {
        match name {
            "URL" => Ok(Some("http://x".into())),
            "SECRET" => Err(Refusal::Unreadable("the store is unavailable".into())),
            name if is_reserved(name) => Err(Refusal::Forbidden(format!("`{name}` may not be read"))),
            _ => Ok(None),
        }
    }

    /// The key `v` of a file, with its interpolations resolved.
    fn expanded(text: &str) -> Result<Value, String> {
        let quoted = text.replace('\'', "''");
        let file =
            format!("a: {{b: 1, c: [x, {{d: '${{a.b}}'}}], n: null, t: true}}\nl: '${{l}}'\nv: '{quoted}'\n");
        let mut mistakes = Mistakes::default();
        let mut root = read(&file, &mut mistakes).expect("YAML");
        let YamlValue::Map(entries) = &mut root.value else { unreachable!("a mapping") };
        if text != "${l}" {
            entries.retain(|entry| entry.key != "l");
        }
        interpolate(&mut root, &env, &mut mistakes);
        match mistakes.into_sorted().into_iter().next() {
            Some(mistake) => Err(mistake.message),
            None => Ok(root.get("v").expect("v").to_json()),
        }
    }

    #[test]
    fn resolves_interpolations() {
        for (text, meaning) in [
            ("${oc.env:URL}", json!("http://x")),
            ("${oc.env:URL}/v1", json!("http://x/v1")),
            ("a ${oc.env:URL} b ${oc.env:NOPE,c}", json!("a http://x b c")),
            ("${oc.env:NOPE,https://api.openai.com/v1}", json!("https://api.openai.com/v1")),
            ("${oc.env:NOPE,'a, b'}", json!("a, b")),
            ("${oc.env:NOPE,}", json!("")),
            ("${oc.env:NOPE,null}", json!(null)),
            ("${oc.env:NOPE,${oc.env:URL}}", json!("http://x")),
            ("${oc.env:AWS_SECRET_ACCESS_KEY,none}", json!("none")),
            (r"\${oc.env:URL}", json!("${oc.env:URL}")),
            ("${a.b}", json!(1)),
            ("${.a.b}", json!(1)),
            ("${a}", json!({"b": 1, "c": ["x", {"d": 1}], "n": null, "t": true})),
            ("${a.c[1].d} ${a.c.0} ${a.n} ${a.t}", json!("1 x None True")),
            ("${oc.env:NOPE,${a.b}}", json!(1)),
        ] {
            assert_eq!(expanded(text), Ok(meaning), "{text}");
        }
        for (text, problem) in [
            ("${oc.env:NOPE}", "not set"),
            ("${oc.env:AWS_SECRET_ACCESS_KEY}", "may not be read"),
            ("${oc.env:SECRET}", "is unavailable"),
            ("${oc.env:SECRET,none}", "is unavailable"),
            ("${oc.decode:a}", "not supported"),
            ("${nodes.a}", "refers to a value that the file does not have"),
            ("x ${a}", "not a plain value"),
            ("${l}", "refers to itself"),
            ("${v}", "refers to itself"),
            ("${oc.env:URL", "closing brace"),
        ] {
            let refusal = expanded(text).expect_err(text);
            assert!(refusal.contains(problem), "{text}: {refusal}");
        }
    }
}
