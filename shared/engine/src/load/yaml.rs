//! Reads YAML as the reference does (`PyYAML` under `OmegaConf`), and keeps the positions of all values.

use super::{Mistakes, SourcePos, scalar};
use saphyr_parser::{Event, Parser, ScalarStyle, Tag};
use serde_json::{Map, Number, Value};
use std::{
    cell::{Cell, OnceCell, RefCell},
    collections::{BTreeSet, HashMap},
};

/// Bytes of a workflow file.
pub(super) const MAX_FILE_BYTES: usize = 4 << 20;
/// Values of one file with its aliases expanded. Without a limit, a few lines of aliases could use any amount of
/// memory.
pub(super) const MAX_VALUES: usize = 200_000;
/// Bytes of text of one file, including keys, with its aliases expanded.
pub(super) const MAX_BYTES: usize = 16 << 20;
/// How deep values may nest.
pub(super) const MAX_DEPTH: usize = 64;
/// Bytes of a key of a mapping.
pub(super) const MAX_KEY_BYTES: usize = 1_024;
/// Mappings with more keys are searched through an index.
const INDEX_THRESHOLD: usize = 16;

/// The size of a value, itself included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) values: usize,
    pub(super) bytes: usize,
}

impl Size {
    /// The limit of one file.
    pub(super) const OF_A_FILE: Self = Self { values: MAX_VALUES, bytes: MAX_BYTES };

    fn add(&mut self, other: Self) {
        self.values += other.values;
        self.bytes += other.bytes;
    }

    /// Subtracts `other`; the error names the limit that is exceeded.
    pub(super) fn take(&mut self, other: Self) -> Result<(), &'static str> {
        self.values = self.values.checked_sub(other.values).ok_or("values")?;
        self.bytes = self.bytes.checked_sub(other.bytes).ok_or("bytes of text")?;
        Ok(())
    }
}

/// The error message for a limit that [`Size::take`] found exceeded.
pub(super) fn too_much(what: &str) -> String {
    let max = if what == "values" { MAX_VALUES } else { MAX_BYTES };
    format!("the file holds more than {max} {what}, with each alias and reference replaced by its value")
}

/// A value and the position where it begins.
#[derive(Clone, Debug)]
pub(crate) struct Yaml {
    pub(crate) spot: SourcePos,
    pub(crate) value: YamlValue,
    read_keys: ReadKeys,
    /// Indexes of a large mapping's entries, sorted by key. The keys never change.
    order: OnceCell<Box<[u32]>>,
}

/// The keys of a mapping that the loader has read, whether they exist or not. Other keys have no effect.
#[derive(Clone, Debug, Default)]
struct ReadKeys {
    all: Cell<bool>,
    /// Whether it is unknown which other keys would have been read, here and deeper.
    suppressed: Cell<bool>,
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
    pub(crate) key_spot: SourcePos,
    pub(crate) value: Yaml,
}

impl Yaml {
    pub(crate) fn new(spot: SourcePos, value: YamlValue) -> Self {
        Self { spot, value, read_keys: ReadKeys::default(), order: OnceCell::new() }
    }

    /// Converts from JSON; all values get the same position.
    pub(crate) fn from_json(spot: SourcePos, value: &Value) -> Self {
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

    /// The entries, all of which then count as read.
    pub(crate) fn entries(&self) -> Option<&[Entry]> {
        self.read_keys.all.set(true);
        match &self.value {
            YamlValue::Map(entries) => Some(entries),
            _ => None,
        }
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        self.ask(key);
        self.peek(key)
    }

    /// A value, which does not count as read.
    pub(crate) fn peek(&self, key: &str) -> Option<&Self> {
        let entries = self.keys();
        if entries.len() <= INDEX_THRESHOLD {
            return entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value);
        }
        let order = self.order.get_or_init(|| {
            let mut order: Box<[u32]> = (0..).take(entries.len()).collect();
            order.sort_by_key(|index| &entries[*index as usize].key);
            order
        });
        let found = order.binary_search_by_key(&key, |index| &entries[*index as usize].key).ok()?;
        Some(&entries[order[found] as usize].value)
    }

    /// The entries, which do not count as read.
    pub(crate) fn keys(&self) -> &[Entry] {
        match &self.value {
            YamlValue::Map(entries) => entries,
            _ => &[],
        }
    }

    /// Counts a key as read.
    pub(crate) fn ask(&self, key: &str) {
        if self.is_map() && !self.read_keys.keys.borrow().contains(key) {
            self.read_keys.keys.borrow_mut().insert(key.to_owned());
        }
    }

    /// Suppresses warnings about keys that are not read, here and deeper.
    pub(crate) fn hush(&self) {
        self.read_keys.suppressed.set(true);
    }

    /// Calls `found` for each entry that was not read, with the keys of the same mapping that were read; at any depth,
    /// but not within an entry that was not read.
    pub(crate) fn unasked<'y>(&'y self, found: &mut impl FnMut(&'y Entry, &BTreeSet<String>)) {
        match &self.value {
            _ if self.read_keys.suppressed.get() => {}
            YamlValue::Map(entries) => {
                let keys = self.read_keys.keys.borrow();
                for entry in entries {
                    if self.read_keys.all.get() || keys.contains(&entry.key) {
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

    /// Whether the value is empty or false.
    pub(crate) fn is_off(&self) -> bool {
        match &self.value {
            YamlValue::Null | YamlValue::Bool(false) => true,
            YamlValue::Text(text) => text.is_empty(),
            YamlValue::List(items) => items.is_empty(),
            YamlValue::Map(entries) => entries.iter().all(|entry| entry.value.is_off()),
            _ => false,
        }
    }

    /// The type of the value, for error messages.
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

    /// Converts to JSON; all entries then count as read.
    pub(crate) fn to_json(&self) -> Value {
        self.read_keys.all.set(true);
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

/// Reads the only document of `text`. `None`, with a reported error, if it is not YAML or exceeds a limit.
pub(crate) fn read(text: &str, mistakes: &mut Mistakes) -> Option<Yaml> {
    if text.len() > MAX_FILE_BYTES {
        let message = format!("the file has {} bytes, more than {MAX_FILE_BYTES}", text.len());
        mistakes.add(SourcePos { line: 1, column: 1 }, message);
        return None;
    }
    Reader {
        mistakes,
        open: Vec::new(),
        anchors: HashMap::new(),
        left: Size::OF_A_FILE,
        root: None,
        documents: 0,
    }
    .read(text)
}

struct Reader<'m> {
    mistakes: &'m mut Mistakes,
    open: Vec<Open>,
    /// Values with an anchor, and their sizes: an alias is charged for before it is copied.
    anchors: HashMap<usize, (Yaml, Size)>,
    /// How much the file may still hold.
    left: Size,
    root: Option<Yaml>,
    documents: usize,
}

/// A list or mapping whose end has not been read.
struct Open {
    spot: SourcePos,
    anchor: usize,
    /// Its size so far.
    size: Size,
    content: Content,
}

enum Content {
    List(Vec<Yaml>),
    Map { own: Entries, merged: Entries, key: Option<(Key, SourcePos)> },
}

enum Key {
    Text(String),
    Merge,
    /// Invalid and already reported; its value is read and dropped.
    Bad,
}

/// The entries of a mapping, in their order.
#[derive(Default)]
struct Entries {
    list: Vec<Entry>,
    /// Their indexes by key, once there are many.
    index: HashMap<String, usize>,
}

impl Entries {
    fn index_of(&self, key: &str) -> Option<usize> {
        if self.list.len() <= INDEX_THRESHOLD {
            return self.list.iter().position(|entry| entry.key == key);
        }
        self.index.get(key).copied()
    }

    /// Adds an entry with a new key.
    fn push(&mut self, entry: Entry) {
        self.list.push(entry);
        if self.list.len() > INDEX_THRESHOLD {
            let unindexed = self.list.iter().enumerate().skip(self.index.len());
            self.index.extend(unindexed.map(|(index, entry)| (entry.key.clone(), index)));
        }
    }

    /// Adds an entry, or replaces the one with the same key in place.
    fn put(&mut self, entry: Entry) {
        match self.index_of(&entry.key) {
            Some(index) => self.list[index] = entry,
            None => self.push(entry),
        }
    }
}

impl Reader<'_> {
    fn read(mut self, text: &str) -> Option<Yaml> {
        let mut parser = Parser::new_from_str(text);
        while let Some(event) = parser.next_event() {
            let (event, span) = match event {
                Ok(event) => event,
                Err(error) => {
                    let spot = SourcePos::of(*error.marker());
                    self.mistakes.add(spot, format!("this is not YAML: {}", error.info()));
                    return None;
                }
            };
            let spot = SourcePos::of(span.start);
            if !self.take(event, spot) {
                return None;
            }
        }
        self.root
    }

    /// Processes one event; returns whether to continue.
    fn take(&mut self, event: Event<'_>, spot: SourcePos) -> bool {
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
                let content = Content::Map { own: Entries::default(), merged: Entries::default(), key: None };
                return self.begin(spot, anchor, content);
            }
            Event::SequenceEnd | Event::MappingEnd => return self.end(),
            Event::Alias(anchor) => {
                let Some(size) = self.anchors.get(&anchor).map(|(_, size)| *size) else {
                    self.mistakes.add(spot, "this alias names an anchor that does not exist yet".into());
                    return false;
                };
                if !self.charge(spot, size) {
                    return false;
                }
                let Some((value, _)) = self.anchors.get(&anchor) else { return false };
                let value = value.value.clone();
                return self.insert_value(Yaml::new(spot, value), size, None);
            }
            _ => {}
        }
        true
    }

    /// Charges for a value before it is created; reports an error if the file holds too much.
    fn charge(&mut self, spot: SourcePos, size: Size) -> bool {
        match self.left.take(size) {
            Ok(()) => true,
            Err(what) => {
                self.mistakes.add(spot, too_much(what));
                false
            }
        }
    }

    fn begin(&mut self, spot: SourcePos, anchor: usize, content: Content) -> bool {
        if self.open.len() >= MAX_DEPTH {
            self.mistakes.add(spot, format!("values nest deeper than {MAX_DEPTH} levels"));
            return false;
        }
        if let Some(Open { content: Content::Map { key: None, .. }, .. }) = self.open.last() {
            self.mistakes.add(spot, "a key must be text".into());
            return false;
        }
        let size = Size { values: 1, bytes: 0 };
        if !self.charge(spot, size) {
            return false;
        }
        self.open.push(Open { spot, anchor, size, content });
        true
    }

    fn end(&mut self) -> bool {
        let Some(Open { spot, anchor, size, content }) = self.open.pop() else { return false };
        let value = match content {
            Content::List(items) => YamlValue::List(items),
            Content::Map { own, merged, .. } if merged.list.is_empty() => YamlValue::Map(own.list),
            Content::Map { own, mut merged, .. } => {
                own.list.into_iter().for_each(|entry| merged.put(entry));
                YamlValue::Map(merged.list)
            }
        };
        let yaml = Yaml::new(spot, value);
        self.keep(anchor, &yaml, size) && self.insert_value(yaml, size, None)
    }

    /// Keeps a value for its aliases, if it has an anchor.
    fn keep(&mut self, anchor: usize, yaml: &Yaml, size: Size) -> bool {
        if anchor == 0 {
            return true;
        }
        if !self.charge(yaml.spot, size) {
            return false;
        }
        self.anchors.insert(anchor, (yaml.clone(), size));
        true
    }

    fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        anchor: usize,
        tag: Option<&Tag>,
        spot: SourcePos,
    ) -> bool {
        let size = Size { values: 1, bytes: text.len() };
        if !self.charge(spot, size) {
            return false;
        }
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
        self.keep(anchor, &yaml, size) && self.insert_value(yaml, size, plain.then_some(text))
    }

    /// Adds a finished value to the innermost open list or mapping. `plain` is its text if it was not quoted.
    fn insert_value(&mut self, yaml: Yaml, size: Size, plain: Option<&str>) -> bool {
        let Some(open) = self.open.last_mut() else {
            self.root = Some(yaml);
            return true;
        };
        open.size.add(size);
        match &mut open.content {
            Content::List(items) => items.push(yaml),
            Content::Map { own, merged, key } => match key.take() {
                None => *key = Some((as_key(&yaml, plain, self.mistakes), yaml.spot)),
                Some((Key::Bad, _)) => {}
                Some((Key::Merge, spot)) => merge(yaml, merged, spot, self.mistakes),
                Some((Key::Text(name), key_spot)) => {
                    if own.index_of(&name).is_some() {
                        self.mistakes.add(key_spot, format!("the key `{name}` appears twice; remove one"));
                    } else {
                        own.push(Entry { key: name, key_spot, value: yaml });
                    }
                }
            },
        }
        true
    }
}

/// The size of a value.
pub(super) fn size(yaml: &Yaml) -> Size {
    let mut all = Size { values: 1, bytes: 0 };
    match &yaml.value {
        YamlValue::Text(text) => all.bytes = text.len(),
        YamlValue::List(items) => items.iter().for_each(|item| all.add(size(item))),
        YamlValue::Map(entries) => {
            for entry in entries {
                all.add(Size { values: 1, bytes: entry.key.len() });
                all.add(size(&entry.value));
            }
        }
        _ => {}
    }
    all
}

fn as_key(yaml: &Yaml, plain: Option<&str>, mistakes: &mut Mistakes) -> Key {
    if plain == Some("<<") {
        return Key::Merge;
    }
    if let YamlValue::Text(text) = &yaml.value {
        if text.len() > MAX_KEY_BYTES {
            mistakes.add(yaml.spot, format!("a key has at most {MAX_KEY_BYTES} bytes"));
            return Key::Bad;
        }
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

/// Merges `<<: *base` or `<<: [*a, *b]`; earlier mappings take precedence.
fn merge(yaml: Yaml, merged: &mut Entries, spot: SourcePos, mistakes: &mut Mistakes) {
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
    sources.into_iter().flatten().for_each(|entry| merged.put(entry));
}
