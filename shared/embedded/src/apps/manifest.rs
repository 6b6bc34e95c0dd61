//! The keys and values of `app.yaml`.

use super::{
    problem::Complaint,
    yaml::{self, Node, Position, Value},
};
use runyard_runs::{AppId, Limits, OrganizationId, OutputCache, Price, ProjectId, SecretReference};
use std::{
    collections::BTreeMap,
    ops::RangeInclusive,
    path::{Component, Path},
};
use uuid::Uuid;

/// The content of `app.yaml`.
#[derive(Debug, PartialEq)]
pub(super) struct Manifest {
    pub(super) id: AppId,
    pub(super) project: ProjectId,
    pub(super) organization: OrganizationId,
    pub(super) name: String,
    pub(super) public: bool,
    pub(super) hosts: Vec<String>,
    pub(super) workflow_file: String,
    pub(super) workflow_id: Option<String>,
    pub(super) limits: Limits,
    pub(super) retention_days: u32,
    pub(super) env: Vec<String>,
    pub(super) secrets: BTreeMap<String, SecretReference>,
    pub(super) allow_hosts: Vec<String>,
    pub(super) requirements: BTreeMap<String, serde_json::Value>,
    pub(super) prices: BTreeMap<String, Price>,
    pub(super) cache: Option<OutputCache>,
}

const KEYS: [&str; 14] = [
    "id",
    "project",
    "organization",
    "name",
    "public",
    "hosts",
    "workflow",
    "limits",
    "retention_days",
    "env",
    "allow_hosts",
    "requirements",
    "prices",
    "cache",
];
const CACHE_KEYS: [&str; 2] = ["seconds", "entries"];
/// Default number of outputs that a cache keeps.
const DEFAULT_CACHE_ENTRIES: u32 = 1_000;
const WORKFLOW_KEYS: [&str; 2] = ["file", "id"];
/// From where a deployment to AWS can take the value of a variable.
const SECRET_STORES: [&str; 2] = ["secretsmanager", "ssm"];
const PRICE_KEYS: [&str; 3] = ["input", "output", "cached"];
const LIMIT_KEYS: [&str; 7] =
    ["run_seconds", "input_bytes", "concurrent_runs", "run_bytes", "stored_bytes", "tokens", "cost_usd"];

/// Parses `app.yaml`; returns all errors at once.
pub(super) fn read(text: &str, folder: &str) -> Result<Manifest, Vec<Complaint>> {
    let root = yaml::parse(text).map_err(|complaint| vec![complaint])?;
    let Some(root) = root.filter(|root| !root.is_null()) else {
        return Err(vec![Complaint::of_file(format!("the file is empty: its keys are {}", KEYS.join(", ")))]);
    };
    let mut reader = Reader::default();
    let manifest = reader.manifest(&root, folder);
    match manifest {
        Some(manifest) if reader.complaints.is_empty() => Ok(manifest),
        _ => Err(reader.complaints),
    }
}

#[derive(Default)]
struct Reader {
    complaints: Vec<Complaint>,
}

impl Reader {
    fn manifest(&mut self, root: &Node, folder: &str) -> Option<Manifest> {
        let fields = self.fields(root, "", &KEYS)?;
        let id = self.required(&fields, root.at, "id").map(AppId);
        let project = self.required(&fields, root.at, "project").map(ProjectId);
        let organization = self.required(&fields, root.at, "organization").map(OrganizationId);
        let name = match fields.get("name") {
            Some(node) => self.name(node),
            None if is_name(folder) => Some(folder.to_owned()),
            None => self.complain(root.at, format!(
                "the folder name \"{folder}\" is not a valid app name: set `name`, from letters, digits, `-` and `_`"
            )),
        };
        let public = fields.get("public").map_or(Some(false), |node| self.boolean(node));
        let hosts = self.list(fields.get("hosts"), "hosts", Self::host);
        let (env, secrets) = self.env(fields.get("env"));
        let allow_hosts = self.list(fields.get("allow_hosts"), "allow_hosts", Self::text);
        let requirements = self.requirements(fields.get("requirements"));
        let prices = self.prices(fields.get("prices"));
        let cache = fields.get("cache").map_or(Some(None), |node| self.cache(node).map(Some));
        let (workflow_file, workflow_id) = match fields.get("workflow") {
            Some(node) => self.workflow(node)?,
            None => ("workflow.yaml".to_owned(), None),
        };
        let limits = fields.get("limits").map_or_else(|| Some(Limits::default()), |node| self.limits(node));
        let retention_days =
            fields.get("retention_days").map_or(Some(30), |node| self.integer(node, 1..=3650));
        Some(Manifest {
            id: id?,
            project: project?,
            organization: organization?,
            name: name?,
            public: public?,
            hosts,
            workflow_file,
            workflow_id,
            limits: limits?,
            retention_days: u32::try_from(retention_days?).ok()?,
            env,
            secrets,
            allow_hosts,
            requirements: requirements?,
            prices: prices?,
            cache: cache?,
        })
    }

    /// Prices by model: `{input, output, cached}`, in US dollars per million tokens.
    fn prices(&mut self, node: Option<&Node>) -> Option<BTreeMap<String, Price>> {
        let mut prices = BTreeMap::new();
        let Some(node) = node else { return Some(prices) };
        let Value::Map(pairs) = &node.value else {
            return self.complain(
                node.at,
                "`prices` must be US dollars per million tokens by model, as in `gpt-4o: {input: 2.5, output: 10, cached: 1.25}`",
            );
        };
        for (key, value) in pairs {
            let Some(model) = self.text(key) else { continue };
            let Some(fields) = self.fields(value, &format!("prices.{model}."), &PRICE_KEYS) else { continue };
            let mut dollars = |name: &str| fields.get(name).map(|node| self.dollars(node));
            let (input, output, cached) = (dollars("input"), dollars("output"), dollars("cached"));
            let (Some(input), Some(output)) = (input, output) else {
                self.complain::<()>(value.at, format!("`prices.{model}` must have `input` and `output`"));
                continue;
            };
            let (Some(input), Some(output)) = (input, output) else { continue };
            prices.insert(model, Price { input, output, cached: cached.flatten() });
        }
        Some(prices)
    }

    /// Values for the requirements of the workflow file, by `$id`.
    fn requirements(&mut self, node: Option<&Node>) -> Option<BTreeMap<String, serde_json::Value>> {
        let Some(node) = node else { return Some(BTreeMap::new()) };
        let Value::Map(pairs) = &node.value else {
            return self.complain(
                node.at,
                "`requirements` must have a value for each `$id`, as in `my-connection: {…}`",
            );
        };
        let mut requirements = BTreeMap::new();
        for (id, value) in pairs {
            let at = id.at;
            let value = self.json(value);
            let Some(id) = self.text(id) else { continue };
            if requirements.insert(id.clone(), value).is_some() {
                self.complain::<()>(at, format!("`requirements.{id}` is given twice: keep one"));
            }
        }
        Some(requirements)
    }

    fn json(&mut self, node: &Node) -> serde_json::Value {
        match &node.value {
            Value::Scalar { text, is_plain: true } => match text.as_str() {
                "" | "~" | "null" => serde_json::Value::Null,
                "true" => true.into(),
                "false" => false.into(),
                _ => match text.parse::<serde_json::Number>() {
                    Ok(number) => number.into(),
                    Err(_) => text.as_str().into(),
                },
            },
            Value::Scalar { text, .. } => text.as_str().into(),
            Value::List(items) => items.iter().map(|item| self.json(item)).collect(),
            Value::Map(pairs) => {
                let mut map = serde_json::Map::new();
                for (key, value) in pairs {
                    let value = self.json(value);
                    if let Some(key) = self.text(key) {
                        map.insert(key, value);
                    }
                }
                map.into()
            }
        }
    }

    fn cache(&mut self, node: &Node) -> Option<OutputCache> {
        let fields = self.fields(node, "cache.", &CACHE_KEYS)?;
        let Some(seconds) = fields.get("seconds") else {
            return self.complain(node.at, "`cache.seconds` cannot be blank: set how long an output is kept");
        };
        let seconds = self.integer(seconds, 1..=30 * 86_400)?;
        let entries = match fields.get("entries") {
            Some(node) => u32::try_from(self.integer(node, 1..=100_000)?).ok()?,
            None => DEFAULT_CACHE_ENTRIES,
        };
        Some(OutputCache { seconds, entries })
    }

    /// The variables that an app may read, and where the values of some of them are kept.
    fn env(&mut self, node: Option<&Node>) -> (Vec<String>, BTreeMap<String, SecretReference>) {
        let (mut names, mut secrets) = (Vec::new(), BTreeMap::new());
        for node in self.items(node, "env") {
            let (name, reference) = match &node.value {
                Value::Map(pairs) if pairs.len() == 1 => (&pairs[0].0, Some(&pairs[0].1)),
                Value::Map(_) => {
                    self.complain::<()>(node.at, "write one item per name: `- NAME: ssm:/name`");
                    continue;
                }
                _ => (node, None),
            };
            let at = name.at;
            let Some(name) = self.env_name(name) else { continue };
            if names.contains(&name) {
                self.complain::<()>(at, format!("`{name}` is given twice: keep one"));
                continue;
            }
            if let Some(reference) = reference {
                let Some(reference) = self.secret(reference) else { continue };
                secrets.insert(name.clone(), reference);
            }
            names.push(name);
        }
        (names, secrets)
    }

    fn secret(&mut self, node: &Node) -> Option<SecretReference> {
        let text = self.text(node)?;
        match text.parse::<SecretReference>() {
            Ok(reference) if SECRET_STORES.contains(&reference.store.as_str()) => Some(reference),
            // Do not show the text: it may be the secret itself.
            _ => self.complain(
                node.at,
                "name the place where the value is kept, not the value itself: `secretsmanager:NAME`, `secretsmanager:NAME#FIELD` for one \
                 field of a JSON secret, or `ssm:/NAME`",
            ),
        }
    }

    fn workflow(&mut self, node: &Node) -> Option<(String, Option<String>)> {
        let fields = self.fields(node, "workflow.", &WORKFLOW_KEYS)?;
        let file = match fields.get("file") {
            Some(node) => {
                let file = self.text(node)?;
                let is_inside =
                    Path::new(&file).components().all(|part| matches!(part, Component::Normal(_)));
                if !is_inside || file.is_empty() {
                    let message = format!("\"{file}\" is not in the app's folder: name a file in it");
                    return self.complain(node.at, message);
                }
                file
            }
            None => "workflow.yaml".to_owned(),
        };
        let id = fields.get("id").map(|node| self.text(node));
        Some((file, id.flatten()))
    }

    fn limits(&mut self, node: &Node) -> Option<Limits> {
        let fields = self.fields(node, "limits.", &LIMIT_KEYS)?;
        let mut limits = Limits::default();
        if let Some(node) = fields.get("run_seconds") {
            limits.run_seconds = self.integer(node, 1..=86_400)?;
        }
        if let Some(node) = fields.get("input_bytes") {
            limits.input_bytes = self.integer(node, 1..=4 << 20)?;
        }
        if let Some(node) = fields.get("concurrent_runs") {
            limits.concurrent_runs = u32::try_from(self.integer(node, 1..=100_000)?).ok()?;
        }
        if let Some(node) = fields.get("run_bytes") {
            limits.run_bytes = self.integer(node, 1..=1 << 30)?;
        }
        if let Some(node) = fields.get("stored_bytes") {
            limits.stored_bytes = self.integer(node, 1 << 20..=1 << 50)?;
        }
        if let Some(node) = fields.get("tokens") {
            limits.tokens = Some(self.integer(node, 1..=u64::from(u32::MAX) * 1000)?);
        }
        if let Some(node) = fields.get("cost_usd") {
            limits.cost_usd = Some(self.dollars(node)?);
        }
        Some(limits)
    }

    /// The fields of a map that are not null; a key that is not in `known` is an error.
    fn fields<'n>(&mut self, node: &'n Node, path: &str, known: &[&'static str]) -> Option<Fields<'n>> {
        let Value::Map(pairs) = &node.value else {
            let what = if path.is_empty() { "the file" } else { path.trim_end_matches('.') };
            return self.complain(node.at, format!("{what} must be a map with keys of {}", known.join(", ")));
        };
        let mut fields = Fields::default();
        for (key, value) in pairs {
            let Value::Scalar { text, .. } = &key.value else {
                self.complain::<()>(key.at, "a key must be a plain word");
                continue;
            };
            let Some(name) = known.iter().find(|name| *name == text) else {
                self.complain::<()>(key.at, unknown_key(path, text, known));
                continue;
            };
            if fields.get(name).is_some() {
                self.complain::<()>(key.at, format!("`{path}{name}` is given twice: keep one"));
            } else if !value.is_null() {
                fields.0.push((name, value));
            }
        }
        Some(fields)
    }

    fn required(&mut self, fields: &Fields<'_>, at: Position, name: &str) -> Option<Uuid> {
        let Some(node) = fields.get(name) else {
            return self.complain(at, format!("`{name}` cannot be blank: make a UUID with `uuidgen`"));
        };
        let text = self.text(node)?;
        match text.parse() {
            Ok(id) => Some(id),
            Err(_) => self.complain(node.at, format!("`{name}` is not a UUID: make one with `uuidgen`")),
        }
    }

    fn name(&mut self, node: &Node) -> Option<String> {
        let name = self.text(node)?;
        if is_name(&name) {
            return Some(name);
        }
        self.complain(
            node.at,
            "`name` must be 1 to 63 letters, digits, `-` and `_`: it is also the first label of a host",
        )
    }

    fn host(&mut self, node: &Node) -> Option<String> {
        let host = self.text(node)?.to_lowercase();
        let is_host = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        if !host.is_empty() && host.bytes().all(is_host) {
            return Some(host);
        }
        self.complain(
            node.at,
            format!("\"{host}\" is not a host: write its name only, without scheme, port or path"),
        )
    }

    fn env_name(&mut self, node: &Node) -> Option<String> {
        let name = self.text(node)?;
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if name.is_empty() || !name.bytes().all(is_word) || name.as_bytes()[0].is_ascii_digit() {
            return self.complain(node.at, format!("\"{name}\" is not a valid environment variable: use letters, digits and `_`, no digit first"));
        }
        let upper = name.to_uppercase();
        if upper.starts_with("AWS_") || upper.starts_with("RUNYARD_") {
            return self.complain(
                node.at,
                format!(
                    "`{name}` is not available to apps: names that begin with AWS_ or RUNYARD_ belong to the server"
                ),
            );
        }
        Some(name)
    }

    fn list(
        &mut self,
        node: Option<&Node>,
        name: &str,
        item: fn(&mut Self, &Node) -> Option<String>,
    ) -> Vec<String> {
        self.items(node, name).iter().filter_map(|node| item(self, node)).collect()
    }

    fn items<'n>(&mut self, node: Option<&'n Node>, name: &str) -> &'n [Node] {
        match node.map(|node| (&node.value, node.at)) {
            None => &[],
            Some((Value::List(items), _)) => items,
            Some((_, at)) => {
                self.complain::<()>(at, format!("`{name}` must be a list, as in `{name}: [a, b]`"));
                &[]
            }
        }
    }

    fn text(&mut self, node: &Node) -> Option<String> {
        match &node.value {
            Value::Scalar { text, .. } => Some(text.clone()),
            _ => self.complain(node.at, "must be a string"),
        }
    }

    fn boolean(&mut self, node: &Node) -> Option<bool> {
        match self.text(node)?.as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => self.complain(node.at, "must be `true` or `false`"),
        }
    }

    fn integer(&mut self, node: &Node, range: RangeInclusive<u64>) -> Option<u64> {
        let number = self.text(node)?.parse().ok().filter(|number| range.contains(number));
        if number.is_some() {
            return number;
        }
        self.complain(node.at, format!("must be an integer from {} to {}", range.start(), range.end()))
    }

    fn dollars(&mut self, node: &Node) -> Option<f64> {
        let number = self.text(node)?.parse().ok().filter(|number| (0.0..=1e6).contains(number));
        if number.is_some() {
            return number;
        }
        self.complain(node.at, "must be an amount in US dollars from 0 to 1000000, as in `2.5`")
    }

    fn complain<T>(&mut self, at: Position, message: impl Into<String>) -> Option<T> {
        self.complaints.push(Complaint::at(at, message));
        None
    }
}

#[derive(Default)]
struct Fields<'n>(Vec<(&'static str, &'n Node)>);

impl<'n> Fields<'n> {
    fn get(&self, name: &str) -> Option<&'n Node> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, node)| *node)
    }
}

fn is_name(name: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=63).contains(&name.len()) && name.bytes().all(is_letter)
}

fn unknown_key(path: &str, key: &str, known: &[&str]) -> String {
    let nearest = known.iter().map(|name| (distance(key, name), name)).min();
    match nearest {
        Some((distance, name)) if distance <= 1 + key.chars().count() / 4 => {
            format!("there is no key `{path}{key}`: did you mean `{name}`?")
        }
        _ => format!("there is no key `{path}{key}`: known keys are {}", known.join(", ")),
    }
}

/// The edit distance of two words: how many letters must be inserted, removed or replaced.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (line, letter) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, wanted) in other.iter().enumerate() {
            let change = diagonal + usize::from(letter != *wanted);
            diagonal = row[column + 1];
            row[column + 1] = change.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDS: &str = "id: 00000000-0000-0000-0000-000000000001\n\
        project: 00000000-0000-0000-0000-000000000002\n\
        organization: 00000000-0000-0000-0000-000000000003\n";

    fn complaints(rest: &str) -> Vec<String> {
        let complaints = read(&format!("{IDS}{rest}"), "echo").expect_err(rest);
        complaints.into_iter().map(|complaint| complaint.about(Path::new("f")).to_string()).collect()
    }

    #[test]
    fn every_key_is_read() {
        let text = format!(
            "{IDS}name: Echo-2\npublic: true\nhosts: [Echo.Example.com]\nworkflow: {{file: flows/w.yaml, id: main}}\n\
             limits:\n  run_seconds: 60\n  run_bytes: 1000000\n  stored_bytes: 2000000\n  tokens: 500\n  cost_usd: 0.25\nprices: {{'m:1': {{input: 2.5, output: 10}}}}\nretention_days: 7\nenv:\n  - OPENAI_API_KEY\n\
             allow_hosts: [localhost]\n\
             requirements:\n  conn: {{type: dynamiq.connections.OpenAI, n: 1.5, on: true, t: \"7\", l: [~]}}\n\
             cache: {{seconds: 60}}\n"
        );
        let manifest = read(&text, "echo").unwrap();
        assert_eq!(manifest.name, "Echo-2");
        assert!(manifest.public);
        assert_eq!(manifest.hosts, ["echo.example.com"]);
        assert_eq!(
            (manifest.workflow_file.as_str(), manifest.workflow_id.as_deref()),
            ("flows/w.yaml", Some("main"))
        );
        assert_eq!(
            manifest.limits,
            Limits {
                run_seconds: 60,
                run_bytes: 1_000_000,
                stored_bytes: 2_000_000,
                tokens: Some(500),
                cost_usd: Some(0.25),
                ..Limits::default()
            }
        );
        assert_eq!(manifest.prices["m:1"], Price { input: 2.5, output: 10.0, cached: None });
        assert_eq!((manifest.retention_days, manifest.env.len(), manifest.allow_hosts.len()), (7, 1, 1));
        assert_eq!(
            manifest.requirements["conn"],
            serde_json::json!({"type": "dynamiq.connections.OpenAI", "n": 1.5, "on": true, "t": "7", "l": [null]})
        );
        assert_eq!(manifest.cache, Some(OutputCache { seconds: 60, entries: 1_000 }));
        assert_eq!(read(IDS, "echo").unwrap().name, "echo");
    }

    #[test]
    fn a_variable_can_name_where_its_value_is_kept() {
        let text = format!(
            "{IDS}env:\n  - MODEL\n  - OPENAI_API_KEY: secretsmanager:prod/openai#api_key\n  - TOKEN: ssm:/prod/token\n"
        );
        let manifest = read(&text, "echo").unwrap();
        assert_eq!(manifest.env, ["MODEL", "OPENAI_API_KEY", "TOKEN"]);
        let secrets: Vec<_> =
            manifest.secrets.iter().map(|(name, reference)| (name.as_str(), reference.to_string())).collect();
        assert_eq!(
            secrets,
            [
                ("OPENAI_API_KEY", "secretsmanager:prod/openai#api_key".to_owned()),
                ("TOKEN", "ssm:/prod/token".to_owned())
            ]
        );
    }

    #[test]
    fn errors_have_a_position_and_advice() {
        assert_eq!(
            complaints("retension_days: 3\nlimits:\n  run_seconds: 86401\n  tokns: 5\npublic: yes\n"),
            [
                "f:4:1: there is no key `retension_days`: did you mean `retention_days`?",
                "f:8:9: must be `true` or `false`",
                "f:7:3: there is no key `limits.tokns`: did you mean `tokens`?",
                "f:6:16: must be an integer from 1 to 86400",
            ]
        );
        assert_eq!(
            complaints("colour: red\n"),
            [format!("f:4:1: there is no key `colour`: known keys are {}", KEYS.join(", "))]
        );
        assert_eq!(complaints("env: [aws_secret_access_key, RUNYARD_KEY, 1A, FINE]\n").len(), 3);
        for wrong in [
            "[A, A]",
            "[{A: hunter2}]",
            "[{A: 'vault:x'}]",
            "[{A: [x]}]",
            "[{A: 'ssm:/a', B: 'ssm:/b'}]",
            "A",
        ] {
            let complaints = complaints(&format!("env: {wrong}\n"));
            assert_eq!(complaints.len(), 1, "{wrong}");
            assert!(!complaints[0].contains("hunter2"), "{complaints:?}");
        }
        assert_eq!(complaints("workflow: {file: ../other/workflow.yaml}\n").len(), 1);
        assert_eq!(complaints("workflow: {file: /etc/passwd}\n").len(), 1);
        assert_eq!(complaints("hosts: ['http://a', 'a:80', 'a/b']\n").len(), 3);
        assert_eq!(complaints("id: 00000000-0000-0000-0000-000000000009\n").len(), 1);
        assert_eq!(complaints("limits: {input_bytes: 4194305}\n").len(), 1);
        assert_eq!(complaints("limits: {cost_usd: -1}\n").len(), 1);
        assert_eq!(complaints("prices: {m: {input: 1}}\n").len(), 1);
        assert_eq!(complaints("prices: {m: {input: 1, output: x, cahced: 1}}\n").len(), 2);
        assert_eq!(complaints("prices: [m]\n").len(), 1);
        assert_eq!(complaints("requirements: [a]\n").len(), 1);
        assert_eq!(complaints("requirements: {a: 1, a: 2}\n").len(), 1);
        assert_eq!(complaints("cache: {entries: 5}\n").len(), 1);
        assert_eq!(complaints("hosts: [a\n").len(), 1);
        assert_eq!(read("name: x\n", "x").expect_err("ids are missing").len(), 3);
    }
}
