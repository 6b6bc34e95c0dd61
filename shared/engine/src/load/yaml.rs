//! Reads YAML as the reference does (`PyYAML` under `OmegaConf`), keeping where everything stands.

use super::{Mistakes, Spot, scalar};
use saphyr_parser::{Event, Parser, ScalarStyle, Tag};
use serde_json::{Map, Number, Value};
use std::{
    cell::{Cell, RefCell},
    collections::{BTreeSet, HashMap},
};

/// Values that one file may hold once its aliases are expanded: a few lines of aliases can otherwise ask for any
/// amount of memory.
pub(super) const MAX_VALUES: usize = 500_000;
/// How deep values may nest.
const MAX_DEPTH: usize = 64;

/// A value and where it begins.
#[derive(Clone, Debug)]
pub(crate) struct Yaml {
    pub(crate) spot: Spot,
    pub(crate) value: YamlValue,
    asked: Asked,
}

/// Which keys of a mapping somebody asked for, whether it has them or not: what nobody asked for has no effect.
#[derive(Clone, Debug, Default)]
struct Asked {
    all: Cell<bool>,
    /// Whether it is unknown what else would have been asked for, here and deeper.
    hushed: Cell<bool>,
    keys: RefCell<BTreeSet<String>>,
}

#[derive(Clone, Debug)]
pub(crate) enum YamlValue {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Yaml>),
    Map(Vec<Entry>),
}

/// One entry of a mapping.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_spot: Spot,
    pub(crate) value: Yaml,
}

impl Yaml {
    pub(crate) fn new(spot: Spot, value: YamlValue) -> Self {
        Self { spot, value, asked: Asked::default() }
    }

    /// The same as JSON has it, all of it standing at one spot.
    pub(crate) fn from_json(spot: Spot, value: &Value) -> Self {
        let value = match value {
            Value::Null => YamlValue::Null,
            Value::Bool(flag) => YamlValue::Bool(*flag),
            Value::Number(number) => YamlValue::Number(number.clone()),
            Value::String(text) => YamlValue::Text(text.clone()),
            Value::Array(items) => {
                YamlValue::List(items.iter().map(|item| Self::from_json(spot, item)).collect())
            }
            Value::Object(map) => {
                let entry = |(key, value): (&String, &Value)| Entry {
                    key: key.clone(),
                    key_spot: spot,
                    value: Self::from_json(spot, value),
                };
                YamlValue::Map(map.iter().map(entry).collect())
            }
        };
        Self::new(spot, value)
    }

    pub(crate) fn is_map(&self) -> bool {
        matches!(self.value, YamlValue::Map(_))
    }

    /// The entries, for somebody who looks at each of them.
    pub(crate) fn entries(&self) -> Option<&[Entry]> {
        self.asked.all.set(true);
        match &self.value {
            YamlValue::Map(entries) => Some(entries),
            _ => None,
        }
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        self.ask(key);
        self.peek(key)
    }

    /// A value, for somebody who has no use for it.
    pub(crate) fn peek(&self, key: &str) -> Option<&Self> {
        self.keys().iter().find(|entry| entry.key == key).map(|entry| &entry.value)
    }

    /// The entries, for somebody who looks at their keys alone.
    pub(crate) fn keys(&self) -> &[Entry] {
        match &self.value {
            YamlValue::Map(entries) => entries,
            _ => &[],
        }
    }

    /// Takes a key as known, whatever it holds.
    pub(crate) fn ask(&self, key: &str) {
        if self.is_map() && !self.asked.keys.borrow().contains(key) {
            self.asked.keys.borrow_mut().insert(key.to_owned());
        }
    }

    /// Has nothing in it count as unasked.
    pub(crate) fn hush(&self) {
        self.asked.hushed.set(true);
    }

    /// The entries that nobody asked for, each with the keys that were asked for beside it; at any depth, but not within
    /// an entry that nobody asked for.
    pub(crate) fn unasked<'y>(&'y self, found: &mut impl FnMut(&'y Entry, &BTreeSet<String>)) {
        match &self.value {
            _ if self.asked.hushed.get() => {}
            YamlValue::Map(entries) => {
                let keys = self.asked.keys.borrow();
                for entry in entries {
                    if self.asked.all.get() || keys.contains(&entry.key) {
                        entry.value.unasked(found);
                    } else {
                        found(entry, &keys);
                    }
                }
            }
            YamlValue::List(items) => items.iter().for_each(|item| item.unasked(found)),
            _ => {}
        }
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            YamlValue::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self.value, YamlValue::Null)
    }

    /// Whether it says nothing, or no.
    pub(crate) fn is_off(&self) -> bool {
        match &self.value {
            YamlValue::Null | YamlValue::Bool(false) => true,
            YamlValue::Text(text) => text.is_empty(),
            YamlValue::List(items) => items.is_empty(),
            YamlValue::Map(entries) => entries.iter().all(|entry| entry.value.is_off()),
            _ => false,
        }
    }

    /// What it is, for a message.
    pub(crate) fn kind(&self) -> &'static str {
        match self.value {
            YamlValue::Null => "nothing",
            YamlValue::Bool(_) => "true or false",
            YamlValue::Number(_) => "a number",
            YamlValue::Text(_) => "text",
            YamlValue::List(_) => "a list",
            YamlValue::Map(_) => "a mapping",
        }
    }

    /// All of it, for somebody who takes it as it is.
    pub(crate) fn to_json(&self) -> Value {
        self.asked.all.set(true);
        match &self.value {
            YamlValue::Null => Value::Null,
            YamlValue::Bool(flag) => Value::Bool(*flag),
            YamlValue::Number(number) => Value::Number(number.clone()),
            YamlValue::Text(text) => Value::String(text.clone()),
            YamlValue::List(items) => items.iter().map(Self::to_json).collect(),
            YamlValue::Map(entries) => Value::Object(
                entries.iter().map(|entry| (entry.key.clone(), entry.value.to_json())).collect::<Map<_, _>>(),
            ),
        }
    }
}

/// Reads the one document of `text`. `None` if it is not YAML at all; then a mistake says why.
pub(crate) fn read(text: &str, mistakes: &mut Mistakes) -> Option<Yaml> {
    Reader { mistakes, open: Vec::new(), anchors: HashMap::new(), values: 0, root: None, documents: 0 }
        .read(text)
}

struct Reader<'m> {
    mistakes: &'m mut Mistakes,
    open: Vec<Open>,
    anchors: HashMap<usize, Yaml>,
    values: usize,
    root: Option<Yaml>,
    documents: usize,
}

/// A list or mapping whose end has not been read.
struct Open {
    spot: Spot,
    anchor: usize,
    content: Content,
}

enum Content {
    List(Vec<Yaml>),
    Map { own: Vec<Entry>, merged: Vec<Entry>, key: Option<(Key, Spot)> },
}

enum Key {
    Text(String),
    Merge,
    /// Reported already; its value is read and dropped.
    Bad,
}

impl Reader<'_> {
    fn read(mut self, text: &str) -> Option<Yaml> {
        let mut parser = Parser::new_from_str(text);
        while let Some(event) = parser.next_event() {
            let (event, span) = match event {
                Ok(event) => event,
                Err(error) => {
                    let spot = Spot::of(*error.marker());
                    self.mistakes.add(spot, format!("this is not YAML: {}", error.info()));
                    return None;
                }
            };
            let spot = Spot::of(span.start);
            if !self.take(event, spot) {
                return None;
            }
        }
        self.root
    }

    /// Takes in one event; gives whether reading goes on.
    fn take(&mut self, event: Event<'_>, spot: Spot) -> bool {
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    self.mistakes
                        .add(spot, "a workflow file holds one YAML document; remove the `---`".into());
                    return false;
                }
            }
            Event::Scalar(text, style, anchor, tag) => {
                return self.scalar(&text, style, anchor, tag.as_deref(), spot);
            }
            Event::SequenceStart(anchor, _) => return self.begin(spot, anchor, Content::List(Vec::new())),
            Event::MappingStart(anchor, _) => {
                let content = Content::Map { own: Vec::new(), merged: Vec::new(), key: None };
                return self.begin(spot, anchor, content);
            }
            Event::SequenceEnd | Event::MappingEnd => return self.end(),
            Event::Alias(anchor) => {
                let Some(value) = self.anchors.get(&anchor).cloned() else {
                    self.mistakes.add(spot, "this alias names an anchor that does not exist yet".into());
                    return false;
                };
                return self.place(Yaml::new(spot, value.value), None);
            }
            _ => {}
        }
        true
    }

    fn begin(&mut self, spot: Spot, anchor: usize, content: Content) -> bool {
        if self.open.len() >= MAX_DEPTH {
            self.mistakes.add(spot, format!("values nest deeper than {MAX_DEPTH}"));
            return false;
        }
        if let Some(Open { content: Content::Map { key: None, .. }, .. }) = self.open.last() {
            self.mistakes.add(spot, "a key must be text".into());
            return false;
        }
        self.open.push(Open { spot, anchor, content });
        true
    }

    fn end(&mut self) -> bool {
        let Some(Open { spot, anchor, content }) = self.open.pop() else { return false };
        let value = match content {
            Content::List(items) => YamlValue::List(items),
            Content::Map { own, merged, .. } => YamlValue::Map(combine(merged, own)),
        };
        let yaml = Yaml::new(spot, value);
        if anchor > 0 {
            self.anchors.insert(anchor, yaml.clone());
        }
        self.place(yaml, None)
    }

    fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        anchor: usize,
        tag: Option<&Tag>,
        spot: Spot,
    ) -> bool {
        let plain = style == ScalarStyle::Plain && tag.is_none();
        let value = match tag {
            None if plain => scalar::resolve(text),
            None => Ok(YamlValue::Text(text.to_string())),
            Some(tag) => scalar::tagged(tag, text),
        };
        let value = value.unwrap_or_else(|problem| {
            self.mistakes.add(spot, problem);
            YamlValue::Null
        });
        let yaml = Yaml::new(spot, value);
        if anchor > 0 {
            self.anchors.insert(anchor, yaml.clone());
        }
        self.place(yaml, plain.then_some(text))
    }

    /// Puts a finished value where it belongs. `plain` is its text if it was written without quotes.
    fn place(&mut self, yaml: Yaml, plain: Option<&str>) -> bool {
        self.values += count(&yaml);
        if self.values > MAX_VALUES {
            self.mistakes.add(yaml.spot, format!("the file holds more than {MAX_VALUES} values"));
            return false;
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(yaml);
            return true;
        };
        match &mut open.content {
            Content::List(items) => items.push(yaml),
            Content::Map { own, merged, key } => match key.take() {
                None => *key = Some((as_key(&yaml, plain, self.mistakes), yaml.spot)),
                Some((Key::Bad, _)) => {}
                Some((Key::Merge, spot)) => merge(yaml, merged, spot, self.mistakes),
                Some((Key::Text(name), key_spot)) => {
                    if own.iter().any(|entry| entry.key == name) {
                        self.mistakes
                            .add(key_spot, format!("the key `{name}` stands here twice; remove one"));
                    } else {
                        own.push(Entry { key: name, key_spot, value: yaml });
                    }
                }
            },
        }
        true
    }
}

pub(super) fn count(yaml: &Yaml) -> usize {
    match &yaml.value {
        YamlValue::List(items) => 1 + items.iter().map(count).sum::<usize>(),
        YamlValue::Map(entries) => 1 + entries.iter().map(|entry| count(&entry.value)).sum::<usize>(),
        _ => 1,
    }
}

fn as_key(yaml: &Yaml, plain: Option<&str>, mistakes: &mut Mistakes) -> Key {
    if plain == Some("<<") {
        return Key::Merge;
    }
    if let YamlValue::Text(text) = &yaml.value {
        return Key::Text(text.clone());
    }
    let written = plain.unwrap_or_default();
    mistakes.add(
        yaml.spot,
        format!(
            "the key `{written}` is {} in YAML 1.1; quote it (\"{written}\") to mean the text",
            yaml.kind()
        ),
    );
    Key::Bad
}

/// `<<: *base` or `<<: [*a, *b]`; of several, the earlier wins.
fn merge(yaml: Yaml, merged: &mut Vec<Entry>, spot: Spot, mistakes: &mut Mistakes) {
    let sources = match yaml.value {
        YamlValue::Map(entries) => vec![entries],
        YamlValue::List(items) => {
            let mut sources = Vec::new();
            for item in items {
                match item.value {
                    YamlValue::Map(entries) => sources.push(entries),
                    _ => mistakes.add(item.spot, "only mappings can be merged with `<<`".into()),
                }
            }
            sources.reverse();
            sources
        }
        _ => return mistakes.add(spot, "only mappings can be merged with `<<`".into()),
    };
    for entries in sources {
        *merged = combine(std::mem::take(merged), entries);
    }
}

/// The entries of `base`, then those of `over`; a key in both keeps its place and takes the value of `over`.
fn combine(mut base: Vec<Entry>, over: Vec<Entry>) -> Vec<Entry> {
    if base.is_empty() {
        return over;
    }
    for entry in over {
        match base.iter_mut().find(|known| known.key == entry.key) {
            Some(known) => *known = entry,
            None => base.push(entry),
        }
    }
    base
}
