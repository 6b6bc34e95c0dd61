//! `${oc.env:NAME}` and `${oc.env:NAME,default}`: the one interpolation that workflow files use.

use super::{
    Env, Mistakes, Refusal,
    yaml::{Yaml, YamlValue},
};

/// Replaces every interpolation in the values of `yaml`.
pub(crate) fn interpolate(yaml: &mut Yaml, env: &Env<'_>, mistakes: &mut Mistakes) {
    match &mut yaml.value {
        YamlValue::Text(text) if text.contains("${") => match expand(text, env) {
            Ok(value) => yaml.value = value,
            Err(problem) => mistakes.add(yaml.spot, problem),
        },
        YamlValue::List(items) => {
            for item in items {
                interpolate(item, env, mistakes);
            }
        }
        YamlValue::Map(entries) => {
            for entry in entries {
                interpolate(&mut entry.value, env, mistakes);
            }
        }
        _ => {}
    }
}

/// Whether a variable of that name may never be resolved: the platform's credentials and Runyard's own settings.
pub(crate) fn is_reserved(name: &str) -> bool {
    name.starts_with("AWS_") || name.starts_with("RUNYARD_")
}

fn expand(text: &str, env: &Env<'_>) -> Result<YamlValue, String> {
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
        let value = lookup(&rest[2..end], env)?;
        rest = &rest[end + 1..];
        match value {
            None if pieces.iter().all(String::is_empty) && rest.is_empty() => return Ok(YamlValue::Null),
            None => pieces.push("None".to_owned()),
            Some(value) => pieces.push(value),
        }
    }
    pieces.push(literal);
    pieces.push(rest.to_owned());
    Ok(YamlValue::Text(pieces.concat()))
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

fn lookup(body: &str, env: &Env<'_>) -> Result<Option<String>, String> {
    let Some(arguments) = body.trim().strip_prefix("oc.env:") else {
        return Err(format!(
            "`${{{body}}}` is not supported; only `${{oc.env:NAME}}` and `${{oc.env:NAME,default}}` are"
        ));
    };
    let (name, default) = match arguments.split_once(',') {
        Some((name, default)) => (name.trim(), Some(default.trim())),
        None => (arguments.trim(), None),
    };
    if name.is_empty() {
        return Err("`${oc.env:…}` lacks the name of the variable".into());
    }
    match (env(name), default) {
        (Ok(Some(value)), _) => Ok(Some(value)),
        (Ok(None), None) => Err(format!("the environment variable `{name}` is not set and has no default")),
        (Err(Refusal::Unreadable(why)), _) | (Err(Refusal::Forbidden(why)), None) => Err(why),
        (Ok(None) | Err(Refusal::Forbidden(_)), Some(default)) => fallback(default, env),
    }
}

fn fallback(default: &str, env: &Env<'_>) -> Result<Option<String>, String> {
    if matches!(default, "null" | "Null" | "NULL") {
        return Ok(None);
    }
    let quoted = ['"', '\''].iter().find_map(|quote| default.strip_prefix(*quote)?.strip_suffix(*quote));
    if let Some(quoted) = quoted {
        return Ok(Some(quoted.to_owned()));
    }
    if default.contains("${") {
        return match expand(default, env)? {
            YamlValue::Text(text) => Ok(Some(text)),
            _ => Ok(None),
        };
    }
    Ok(Some(default.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Result<Option<String>, Refusal> {
        match name {
            "URL" => Ok(Some("http://x".into())),
            "SECRET" => Err(Refusal::Unreadable("the store is away".into())),
            name if is_reserved(name) => Err(Refusal::Forbidden(format!("`{name}` may not be read"))),
            _ => Ok(None),
        }
    }

    fn expanded(text: &str) -> Result<String, String> {
        match expand(text, &env)? {
            YamlValue::Text(text) => Ok(text),
            YamlValue::Null => Ok("<null>".into()),
            _ => unreachable!("interpolation gives text"),
        }
    }

    #[test]
    fn interpolations() {
        for (text, meaning) in [
            ("${oc.env:URL}", "http://x"),
            ("${oc.env:URL}/v1", "http://x/v1"),
            ("a ${oc.env:URL} b ${oc.env:NOPE,c}", "a http://x b c"),
            ("${oc.env:NOPE,https://api.openai.com/v1}", "https://api.openai.com/v1"),
            ("${oc.env:NOPE,'a, b'}", "a, b"),
            ("${oc.env:NOPE,}", ""),
            ("${oc.env:NOPE,null}", "<null>"),
            ("${oc.env:NOPE,${oc.env:URL}}", "http://x"),
            ("${oc.env:AWS_SECRET_ACCESS_KEY,none}", "none"),
            (r"\${oc.env:URL}", "${oc.env:URL}"),
        ] {
            assert_eq!(expanded(text).as_deref(), Ok(meaning), "{text}");
        }
        for (text, problem) in [
            ("${oc.env:NOPE}", "not set"),
            ("${oc.env:AWS_SECRET_ACCESS_KEY}", "may not be read"),
            ("${oc.env:SECRET}", "is away"),
            ("${oc.env:SECRET,none}", "is away"),
            ("${nodes.a}", "not supported"),
            ("${oc.env:URL", "closing brace"),
        ] {
            let refusal = expanded(text).expect_err(text);
            assert!(refusal.contains(problem), "{text}: {refusal}");
        }
    }
}
