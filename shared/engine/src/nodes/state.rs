//! Keeps `docs/nodes.md` current: every node type of the reference and its state, from the registry.

use super::{known, native, out_of_scope};
use std::{collections::BTreeMap, fmt::Write as _, path::Path};

/// The expected content of the file.
fn table() -> String {
    let mut groups: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    let mut counts = [0_usize; 3];
    let mut classes: Vec<String> = known().collect();
    classes.sort_unstable_by_key(|class| class.to_lowercase());
    classes.dedup();
    for class in classes {
        let is_native = native().any(|registered| registered.class == class);
        let (state_index, state) = match out_of_scope(&class) {
            _ if is_native => (0, "native".to_owned()),
            Some(why) => (2, format!("out of scope: {why}")),
            None => (1, "not yet".to_owned()),
        };
        counts[state_index] += 1;
        let (group, name) = class.rsplit_once('.').expect("a group and a name");
        groups.entry(group.to_owned()).or_default().push((name.to_owned(), state));
    }
    let [native, later, out] = counts;
    let mut text = format!(
        "# Node types\n\nEvery node type of dynamiq 0.69.0, and whether it runs natively: {native} of {} do, {later} do not yet, {out} \
         are out of scope.\n`runyard apps check` says so for each node of a file. Keys that all nodes have: \
         [apps.md](apps.md#keys-of-every-node).\n\nGenerated from the registry of nodes:\n\n    \
         UPDATE_DOCS=1 cargo test -p runyard-engine --lib nodes::state\n\n| group | native | node types |\n| --- | --- | --- |\n",
        native + later + out,
    );
    let is_native = |state: &str| state == "native";
    for (group, nodes) in &groups {
        let native = nodes.iter().filter(|(_, state)| is_native(state)).count();
        let names: Vec<&str> = nodes.iter().map(|(name, _)| name.as_str()).collect();
        let _ = writeln!(text, "| `{group}` | {native} of {} | {} |", nodes.len(), names.join(", "));
    }
    text.push_str("\n| type | state |\n| --- | --- |\n");
    for (group, nodes) in &groups {
        for (name, state) in nodes {
            let _ = writeln!(text, "| `dynamiq.nodes.{group}.{name}` | {state} |");
        }
    }
    text + CALLS
}

/// What all nodes that call the outside have in common.
const CALLS: &str = "
## Calls outside

What a connection holds goes to its own origin (scheme, host and port) and nowhere else.

**HttpApiCall.**

- The `headers`, `params` and `data` of its connection go to the origin of the connection's `url` only. Its own go to
  the origin of its own `url`, or of the connection's `url` if it has none.
- A `url` that comes from the input or from a model and has another origin is called with what the input says and
  nothing else.
- Without a `url` in the file there is no origin: nothing of the above is sent.

**Redirects.** At most 5 are followed.

- On the same origin they are followed as usual.
- To another origin they are followed without any header of the caller, without a `Referer`, and only as a request
  without a body. A redirect that would take a body there (307 or 308 of a POST), or whose address repeats a secret of
  the app, fails the call.
- A change from `https` to `http`, or back, is another origin.

**Masking.**

- Errors, events, logs and traces show scheme and host of a URL. Values of environment variables and of connections are
  `***` there.
- In outputs, answers of servers and texts of models, values are masked that are secret by their place or name: the
  headers of a connection; anything called a key, token, secret, password or the like, in a connection or among the
  variables; variables within a connection.
- A node that needs a secret gets it from its connection: in the output of another node it would be masked.
- Values shorter than 6 bytes are never masked. Words of less than 12 lower-case letters are masked only in errors and
  logs.
";

#[test]
fn the_table_in_the_docs_is_current() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/nodes.md");
    let table = table();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&file, &table).expect("the docs can be written");
    }
    let found = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        found == table,
        "docs/nodes.md is not current: UPDATE_DOCS=1 cargo test -p runyard-engine --lib nodes::state"
    );
}
