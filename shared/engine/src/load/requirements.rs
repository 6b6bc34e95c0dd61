//! Requirements, `{$type, $id, value_path}`: values that a file takes from the app's configuration.

use super::{
    Mistakes, SourcePos, meant,
    yaml::{Size, Yaml, YamlValue, size, too_much},
};
use crate::transform::{CompiledPath, Data};
use serde_json::Value;
use std::collections::BTreeMap;

/// Keys whose values are not searched for requirements: `$type` and `$id` are part of a prompt or a schema there.
const OPAQUE: &[&str] = &["prompt", "schema", "response_format"];

/// Replaces each requirement by the app's value for its `$id`.
pub(super) fn resolve(yaml: &mut Yaml, known: &BTreeMap<String, Value>, mistakes: &mut Mistakes) {
    replace(yaml, known, &mut Size::OF_A_FILE.clone(), mistakes);
}

/// `left` is how much may still be inserted for requirements.
fn replace(yaml: &mut Yaml, known: &BTreeMap<String, Value>, left: &mut Size, mistakes: &mut Mistakes) {
    if let Some(requirement) = Requirement::of(yaml) {
        let value = requirement.value(known).and_then(|value| {
            let value = Yaml::from_json(yaml.spot, &value);
            left.take(size(&value)).map_err(too_much)?;
            Ok(value)
        });
        match value {
            Ok(value) => *yaml = value,
            Err(problem) => {
                mistakes.add(requirement.spot, problem);
                yaml.value = YamlValue::Null;
            }
        }
        return;
    }
    match &mut yaml.value {
        YamlValue::List(items) => items.iter_mut().for_each(|item| replace(item, known, left, mistakes)),
        YamlValue::Map(entries) => {
            for entry in entries.iter_mut().filter(|entry| !OPAQUE.contains(&entry.key.as_str())) {
                replace(&mut entry.value, known, left, mistakes);
            }
        }
        _ => {}
    }
}

struct Requirement {
    spot: SourcePos,
    kind: String,
    id: String,
    path: Option<String>,
}

impl Requirement {
    fn of(yaml: &Yaml) -> Option<Self> {
        if !yaml.is_map() {
            return None;
        }
        let text = |key: &str| Some(yaml.peek(key)?.text()?.to_owned());
        let (kind, id) = (text("$type")?, text("$id")?);
        let spot = yaml.peek("$id").map_or(yaml.spot, |id| id.spot);
        Some(Self { spot, kind, id, path: text("value_path").filter(|path| !path.is_empty()) })
    }

    fn value(&self, known: &BTreeMap<String, Value>) -> Result<Value, String> {
        let Self { kind, id, path, .. } = self;
        let Some(value) = known.get(id) else {
            let ids: Vec<&str> = known.keys().map(String::as_str).collect();
            let near = meant(id, &ids);
            return Err(format!(
                "the requirement `{id}` of type `{kind}` is not among the `requirements` of app.yaml{near}"
            ));
        };
        let Some(path) = path else { return Ok(value.clone()) };
        if !value.is_object() && !value.is_array() {
            return Err(format!("`{path}` selects nothing, since the requirement `{id}` is a plain value"));
        }
        let pointer = CompiledPath::new(path);
        let mut found = match pointer.filter_all(Data::Json(value)) {
            Ok(found) => found,
            Err(error) => return Err(format!("`{path}` is not a path: {}", error.message)),
        };
        match found.len() {
            1 => Ok(found.swap_remove(0).into_owned()),
            count => {
                Err(format!("`{path}` selects {count} values of the requirement `{id}`; it must select one"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::yaml::read;
    use serde_json::json;

    fn resolved(text: &str) -> (Value, Vec<String>) {
        let known = BTreeMap::from([
            (
                "conn".to_owned(),
                json!({"type": "dynamiq.connections.OpenAI", "key": {"id": "k1"}, "l": [1, 2]}),
            ),
            ("word".to_owned(), json!("plain")),
        ]);
        let mut mistakes = Mistakes::default();
        let mut yaml = read(text, &mut mistakes).expect("YAML");
        resolve(&mut yaml, &known, &mut mistakes);
        let mistakes = mistakes.into_sorted();
        (yaml.to_json(), mistakes.into_iter().map(|mistake| mistake.message).collect())
    }

    #[test]
    fn requirements_are_replaced_by_the_values_of_the_app() {
        let (value, mistakes) = resolved(
            "a: {$type: T, $id: word}\nb: [{$type: T, $id: conn, value_path: $.key.id}]\n\
             schema: {x: {$type: T, $id: word}}\nc: {$id: word}\n",
        );
        assert_eq!(mistakes, [""; 0]);
        assert_eq!(
            value,
            json!({
                "a": "plain", "b": ["k1"], "c": {"$id": "word"},
                "schema": {"x": {"$type": "T", "$id": "word"}},
            })
        );
        let (_, mistakes) = resolved(
            "a: {$type: T, $id: wrd}\nb: {$type: T, $id: conn, value_path: '$.l[*]'}\n\
             c: {$type: T, $id: word, value_path: $.x}\nd: {$type: T, $id: conn, value_path: '$.[?'}\n",
        );
        for (mistake, expected) in mistakes.iter().zip([
            "the requirement `wrd` of type `T` is not among the `requirements` of app.yaml; did you mean `word`?",
            "`$.l[*]` selects 2 values of the requirement `conn`; it must select one",
            "`$.x` selects nothing, since the requirement `word` is a plain value",
            "`$.[?` is not a path: ",
        ]) {
            assert!(mistake.starts_with(expected), "{mistake}");
        }
        assert_eq!(mistakes.len(), 4);
    }
}
