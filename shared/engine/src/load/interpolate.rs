//! `${oc.env:NAME}`, `${oc.env:NAME,default}`, and `${a.b}` for what stands elsewhere in the file.

use super::{
    Env, Mistakes, Refusal,
    yaml::{MAX_DEPTH, Size, Yaml, YamlValue, size, too_much},
};
use crate::python_text;
use std::collections::BTreeSet;

/// How far a reference may lead to others, and how deep `${…}` may stand in `${…}`.
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

/// The same for a value that stands in another file: only variables are resolved.
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

/// Whether a variable of that name may never be resolved: the platform's credentials and Runyard's own settings.
pub(crate) fn is_reserved(name: &str) -> bool {
    name.starts_with("AWS_") || name.starts_with("RUNYARD_")
}

/// A step on the way to a value: a key or a place in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Key(String),
    At(usize),
}

struct Resolver<'r> {
    /// The file as it was written.
    root: &'r Yaml,
    env: &'r Env<'r>,
    /// The sections that are referred to.
    used: BTreeSet<String>,
    /// How much more may be put in the places of references.
    left: Size,
    /// How deep what is resolved stands in what comes out.
    level: usize,
}

impl<'r> Resolver<'r> {
    fn new(root: &'r Yaml, env: &'r Env<'r>) -> Self {
        Self { root, env, used: BTreeSet::new(), left: Size::OF_A_FILE, level: 0 }
    }

    /// `here` is the way to `yaml`; `depth` says how many references led there.
    fn resolve(&mut self, yaml: &mut Yaml, here: &mut Vec<Step>, depth: usize, mistakes: &mut Mistakes) {
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
                for (place, item) in items.iter_mut().enumerate() {
                    here.push(Step::At(place));
                    self.resolve(item, here, depth, mistakes);
                    here.pop();
                }
                self.level -= 1;
            }
            YamlValue::Map(entries) => {
                self.level += 1;
                for entry in entries {
                    here.push(Step::Key(entry.key.clone()));
                    self.resolve(&mut entry.value, here, depth, mistakes);
                    here.pop();
                }
                self.level -= 1;
            }
            _ => {}
        }
    }

    /// Counts what a reference or variable gives.
    fn charge(&mut self, size: Size) -> Result<(), String> {
        self.left.take(size).map_err(too_much)
    }

    fn expand(&mut self, text: &str, here: &[Step], depth: usize) -> Result<YamlValue, String> {
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
            let end = closing(rest).ok_or_else(|| format!("`{rest}` lacks its closing brace"))?;
            pieces.push(std::mem::take(&mut literal));
            let body = &rest[2..end];
            let value = self.lookup(body, here, depth)?;
            rest = &rest[end + 1..];
            if rest.is_empty() && pieces.iter().all(String::is_empty) {
                return Ok(value);
            }
            let piece = match value {
                YamlValue::List(_) | YamlValue::Map(_) => {
                    return Err(format!("`${{{body}}}` is no plain value, so it cannot stand within text"));
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

    fn lookup(&mut self, body: &str, here: &[Step], depth: usize) -> Result<YamlValue, String> {
        if depth >= MAX_REFERENCES {
            return Err(format!(
                "`${{{body}}}` refers to itself, or leads over more than {MAX_REFERENCES} references"
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
            return Err(format!("`${{{body}}}` is no reference"));
        };
        let way = way(&path, here).ok_or_else(|| format!("`${{{path}}}` is no reference"))?;
        let found = follow(self.root, &way)
            .ok_or_else(|| format!("`${{{path}}}` refers to a value that the file does not have"))?;
        if let Some(Step::Key(section)) = way.first() {
            self.used.insert(section.clone());
        }
        self.charge(size(found))?;
        let mut found = found.clone();
        let mut mistakes = Mistakes::default();
        self.resolve(&mut found, &mut way.clone(), depth + 1, &mut mistakes);
        match mistakes.into_sorted().into_iter().next() {
            Some(mistake) => Err(mistake.message),
            None => Ok(found.value),
        }
    }

    fn variable(&mut self, arguments: &str, here: &[Step], depth: usize) -> Result<YamlValue, String> {
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

    fn fallback(&mut self, default: &str, here: &[Step], depth: usize) -> Result<YamlValue, String> {
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

/// The way that `a.b[0].c` names; `.a` and `..a` begin at the mapping that holds the reference, or further out.
fn way(path: &str, here: &[Step]) -> Option<Vec<Step>> {
    let dots = path.len() - path.trim_start_matches('.').len();
    let mut way = match dots {
        0 => Vec::new(),
        dots => here.get(..here.len().checked_sub(dots)?)?.to_vec(),
    };
    for part in path[dots..].split('.') {
        let (name, places) = part.split_once('[').map_or((part, None), |(name, rest)| (name, Some(rest)));
        if !name.is_empty() {
            way.push(name.parse().map_or_else(|_| Step::Key(name.to_owned()), Step::At));
        } else if places.is_none() {
            return None;
        }
        for place in places.into_iter().flat_map(|places| places.split('[')) {
            let place = place.strip_suffix(']')?;
            way.push(place.parse().map_or_else(|_| Step::Key(place.to_owned()), Step::At));
        }
    }
    Some(way)
}

fn follow<'y>(root: &'y Yaml, way: &[Step]) -> Option<&'y Yaml> {
    way.iter().try_fold(root, |here, step| match (step, &here.value) {
        (Step::Key(key), _) => here.get(key),
        (Step::At(place), YamlValue::List(items)) => items.get(*place),
        (Step::At(place), _) => here.get(&place.to_string()),
    })
}

/// Where the brace that closes `${…` stands.
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
            "SECRET" => Err(Refusal::Unreadable("the store is away".into())),
            name if is_reserved(name) => Err(Refusal::Forbidden(format!("`{name}` may not be read"))),
            _ => Ok(None),
        }
    }

    /// What the key `v` of a file holds, with its interpolations resolved.
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
    fn interpolations() {
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
            ("${oc.env:SECRET}", "is away"),
            ("${oc.env:SECRET,none}", "is away"),
            ("${oc.decode:a}", "not supported"),
            ("${nodes.a}", "refers to a value that the file does not have"),
            ("x ${a}", "no plain value"),
            ("${l}", "refers to itself"),
            ("${v}", "refers to itself"),
            ("${oc.env:URL", "closing brace"),
        ] {
            let refusal = expanded(text).expect_err(text);
            assert!(refusal.contains(problem), "{text}: {refusal}");
        }
    }
}
