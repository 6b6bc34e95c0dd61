//! The file as a whole: connections, prompts, nodes, flows and workflows, and the references between them.

use super::{
    Connection, Env, Fields, LoadErrors, Loading, Mistake, Mistakes, Yaml, build_node,
    built::{MAX_CONNECTIONS, MAX_DEPENDS},
    depends::{self, DependSpec},
    interpolate::{interpolate, interpolate_alone},
    meant, nearest, requirements, warnings,
    yaml::{self, MAX_KEY_BYTES},
};
use crate::{
    compute,
    flow::{Branches, Depend, Flow, FlowNodes, Node, NodeSpec, Role},
    nodes::{self, Lookup},
    workflow::Workflow,
};
use runyard_runs::{NodeRef, WorkflowSource};
use serde_json::Value;
use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

const SECTIONS: &[&str] = &["connections", "prompts", "nodes", "flows", "workflows"];

/// A workflow of a file, and the file's warnings.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) workflow: Workflow,
    pub(crate) warnings: Vec<Mistake>,
    /// The file, with its references resolved.
    pub(crate) root: Yaml,
}

/// Loads one workflow of a file, with the app's values for its requirements.
pub(crate) fn load(
    source: &WorkflowSource,
    requirements: &BTreeMap<String, Value>,
    env: &Env<'_>,
) -> Result<Loaded, LoadErrors> {
    let mut mistakes = Mistakes::default();
    let Some(mut root) = yaml::read(&source.text, &mut mistakes) else {
        if mistakes.is_empty() {
            mistakes.add(START, "the file is empty".into());
        }
        return Err(mistakes.into_errors(&source.file));
    };
    interpolate(&mut root, env, &mut mistakes);
    let known = resolved(requirements, env, &mut mistakes);
    // Their paths share the budget of one computation.
    let resolved = compute::whole("the requirements", || {
        requirements::resolve(&mut root, &known, &mut mistakes);
        Ok(())
    });
    if let Err(error) = resolved {
        mistakes.add(START, error.message);
    }
    let mistakes = RefCell::new(mistakes);
    let workflow = Document::read(&root, &mistakes)
        .and_then(|document| document.workflow(source.id.as_deref(), &mistakes, env));
    let mut mistakes = mistakes.into_inner();
    match workflow {
        Some(workflow) if mistakes.is_empty() => {
            warnings::ignored(&root, &mut mistakes);
            Ok(Loaded { workflow, warnings: mistakes.into_warnings(), root })
        }
        _ => {
            // Elsewhere it is unknown which keys would have been read.
            if let Some(nodes) = root.peek("nodes") {
                warnings::ignored(nodes, &mut mistakes);
            }
            Err(mistakes.into_errors(&source.file))
        }
    }
}

/// The ids of the workflows of a file; empty if it is not a workflow file.
pub fn workflow_ids(text: &str) -> Vec<String> {
    let root = yaml::read(text, &mut Mistakes::default());
    let section = root.as_ref().and_then(|root| root.get("workflows")?.entries());
    section.unwrap_or_default().iter().map(|entry| entry.key.clone()).collect()
}

/// The app's values for requirements, with the variables in them resolved.
fn resolved(
    requirements: &BTreeMap<String, Value>,
    env: &Env<'_>,
    mistakes: &mut Mistakes,
) -> BTreeMap<String, Value> {
    let one = |(id, value): (&String, &Value)| {
        let mut yaml = Yaml::from_json(START, value);
        let mut own = Mistakes::default();
        interpolate_alone(&mut yaml, env, &mut own);
        for mistake in own.into_sorted() {
            mistakes.add(START, format!("the requirement `{id}` of app.yaml: {}", mistake.message));
        }
        (id.clone(), yaml.to_json())
    };
    requirements.iter().map(one).collect()
}

/// How deep flows may nest.
const MAX_NESTED_FLOWS: usize = 16;

const START: super::SourcePos = super::SourcePos { line: 1, column: 1 };

/// The sections of a file, by id.
pub(crate) struct Document<'y> {
    root: Fields<'y>,
    connections: HashMap<String, Option<Connection>>,
    prompts: HashMap<String, &'y Yaml>,
    nodes: HashMap<&'y str, &'y Yaml>,
    flows: HashMap<&'y str, Fields<'y>>,
    workflows: Vec<(&'y str, Fields<'y>)>,
    /// The compiled flows, by id; `None` for an invalid one.
    built: RefCell<HashMap<String, Option<Arc<Flow>>>>,
}

/// The flows that are being compiled, from the innermost outwards.
#[derive(Clone, Copy)]
pub(crate) struct Within<'w> {
    flow: &'w str,
    outer: Option<&'w Within<'w>>,
}

impl<'w> Within<'w> {
    fn ids(self) -> Vec<&'w str> {
        let mut ids = vec![self.flow];
        let mut next = self.outer;
        while let Some(within) = next {
            ids.push(within.flow);
            next = within.outer;
        }
        ids.reverse();
        ids
    }
}

impl<'y> Document<'y> {
    fn read(yaml: &'y Yaml, mistakes: &'y RefCell<Mistakes>) -> Option<Self> {
        let root = Fields::new(yaml, "a workflow file", mistakes)?;
        for key in yaml.keys() {
            if !SECTIONS.contains(&key.key.as_str())
                && let Some(near) = nearest(&key.key, SECTIONS)
            {
                root.mistake(key.key_spot, format!("`{}` is not a section; did you mean `{near}`?", key.key));
            }
        }
        let section = |key: &str| -> Vec<(&'y str, &'y Yaml)> {
            let entries = root.fields(key).and_then(|fields| fields.yaml.entries()).unwrap_or_default();
            entries.iter().map(|entry| (entry.key.as_str(), &entry.value)).collect()
        };
        let fields = |key: &str, what: &str| -> Vec<(&'y str, Fields<'y>)> {
            section(key)
                .into_iter()
                .take_while(|_| !mistakes.borrow().is_full())
                .filter_map(|(id, yaml)| {
                    Some((id, Fields::new(yaml, &format!("the {what} `{id}`"), mistakes)?))
                })
                .collect()
        };
        let connections = fields("connections", "connection");
        if connections.len() > MAX_CONNECTIONS {
            let message =
                format!("the file has {} connections, more than {MAX_CONNECTIONS}", connections.len());
            root.mistake(root.spot("connections"), message);
            return None;
        }
        Some(Self {
            root,
            connections: connections
                .into_iter()
                .take_while(|_| !mistakes.borrow().is_full())
                .map(|(id, fields)| {
                    (id.to_owned(), Connection::read(fields, &format!("the connection `{id}`")))
                })
                .collect(),
            prompts: section("prompts").into_iter().map(|(id, yaml)| (id.to_owned(), yaml)).collect(),
            nodes: section("nodes").into_iter().collect(),
            flows: fields("flows", "flow").into_iter().collect(),
            workflows: fields("workflows", "workflow"),
            built: RefCell::default(),
        })
    }

    fn workflow(
        &self,
        wanted: Option<&str>,
        mistakes: &RefCell<Mistakes>,
        env: &Env<'_>,
    ) -> Option<Workflow> {
        let known: Vec<&str> = self.workflows.iter().map(|(id, _)| *id).collect();
        let (id, fields) = match (wanted, self.workflows.as_slice()) {
            (None, [only]) => only,
            (None, []) => {
                self.root.mistake(self.root.yaml.spot, "the file has no `workflows`".into());
                return None;
            }
            (None, _) => {
                let message =
                    format!("the file has several workflows, {}; name one of them", known.join(", "));
                self.root.mistake(self.root.spot("workflows"), message);
                return None;
            }
            (Some(wanted), all) => {
                let found = all.iter().find(|(id, _)| *id == wanted);
                if found.is_none() {
                    let message = format!("there is no workflow `{wanted}`{}", meant(wanted, &known));
                    self.root.mistake(self.root.spot("workflows"), message);
                }
                found?
            }
        };
        fields.know(&["name"]);
        if fields.get("flow").is_none() {
            fields.mistake(fields.yaml.spot, format!("the workflow `{id}` lacks its `flow`"));
            return None;
        }
        let loading = Loading {
            mistakes,
            connections: &self.connections,
            prompts: &self.prompts,
            env,
            prompt: None,
            document: Some(self),
            within: None,
        };
        let flow = self.flow_of(*fields, &loading);
        self.check_others(&loading);
        Some(Workflow::new((*id).to_owned(), flow?))
    }

    /// Checks the types of the nodes that the workflow does not use.
    fn check_others(&self, loading: &Loading<'_>) {
        for (id, yaml) in &self.nodes {
            if loading.mistakes.borrow().is_full() {
                return;
            }
            let Some(fields) = Fields::new(yaml, &format!("the node `{id}`"), loading.mistakes) else {
                continue;
            };
            let Some(given) = yaml.peek("type") else { continue };
            let type_path = given.text().unwrap_or_default();
            match nodes::find(type_path) {
                Lookup::Other(problem) if !nodes::is_known(type_path) => fields.mistake(given.spot, problem),
                _ => {}
            }
        }
    }

    /// The flow that the field `flow` names or contains.
    pub(crate) fn flow_of(&self, fields: Fields<'_>, loading: &Loading<'_>) -> Option<Arc<Flow>> {
        let given = fields.get("flow")?;
        let Some(id) = given.text() else {
            return self.flow("the flow", fields.fields("flow")?, loading).map(Arc::new);
        };
        let Some((id, flow)) = self.flows.get_key_value(id) else {
            let known: Vec<&str> = self.flows.keys().copied().collect();
            fields.mistake(given.spot, format!("there is no flow `{id}`{}", meant(id, &known)));
            return None;
        };
        let outer = loading.within.map(|within| within.ids()).unwrap_or_default();
        if outer.contains(id) {
            let message = format!("the flow `{id}` contains itself: {} → {id}", outer.join(" → "));
            fields.mistake(given.spot, message);
            return None;
        }
        if outer.len() >= MAX_NESTED_FLOWS {
            fields.mistake(given.spot, format!("flows nest deeper than {MAX_NESTED_FLOWS}"));
            return None;
        }
        if let Some(built) = self.built.borrow().get(*id) {
            return built.clone();
        }
        let within = Within { flow: id, outer: loading.within };
        let loading = Loading { within: Some(&within), prompt: None, ..*loading };
        let built = self.flow(&format!("the flow `{id}`"), *flow, &loading).map(Arc::new);
        self.built.borrow_mut().insert((*id).to_owned(), built.clone());
        built
    }

    fn flow(&self, what: &str, fields: Fields<'_>, loading: &Loading<'_>) -> Option<Flow> {
        fields.know(&["name"]);
        let mut items: Vec<(&str, &Yaml)> = Vec::new();
        let mut listed = HashSet::new();
        let mut complete = true;
        for item in fields.list("nodes").unwrap_or_default() {
            if loading.mistakes.borrow().is_full() {
                return None;
            }
            let found = match item.text() {
                Some(id) => self.nodes.get_key_value(id).map(|(id, yaml)| (*id, *yaml)).ok_or_else(|| {
                    let known: Vec<&str> = self.nodes.keys().copied().collect();
                    format!("there is no node `{id}`{}", meant(id, &known))
                }),
                None if item.is_map() => match item.get("id").and_then(Yaml::text) {
                    Some(id) if id.len() > MAX_KEY_BYTES => {
                        Err(format!("the id of a node has at most {MAX_KEY_BYTES} bytes"))
                    }
                    Some(id) => Ok((id, item)),
                    None => Err(format!("a node that is defined in {what} needs an `id`")),
                },
                None => Err(format!("a flow lists ids of nodes, but this is {}", item.kind())),
            };
            match found {
                Ok((id, yaml)) if listed.insert(id) => items.push((id, yaml)),
                Ok(_) => {}
                Err(problem) => {
                    fields.mistake(item.spot, problem);
                    complete = false;
                }
            }
        }
        let ids: Vec<&str> = items.iter().map(|(id, _)| *id).collect();
        let mut specs = Vec::with_capacity(ids.len());
        let mut depends = Vec::with_capacity(ids.len());
        for (id, yaml) in &items {
            let before = loading.mistakes.borrow().count();
            let counted = loading.mistakes.borrow_mut().built().node(yaml);
            if let Err(problem) = counted {
                fields.mistake(fields.spot("nodes"), problem);
                return None;
            }
            let node = Fields::new(yaml, &format!("the node `{id}`"), loading.mistakes);
            depends.push(node.map(depends::read).unwrap_or_default());
            let spec = node.and_then(|node| build_node(id, node, loading));
            // After an error, the rest of the node may be unread. That does not mean that it has no effect.
            if spec.is_none() || loading.mistakes.borrow().count() > before {
                yaml.hush();
            }
            specs.push(spec);
            if loading.mistakes.borrow().is_full() {
                return None;
            }
        }
        if depends.iter().map(Vec::len).sum::<usize>() > MAX_DEPENDS {
            let message = format!("the nodes of {what} have more than {MAX_DEPENDS} dependencies in total");
            fields.mistake(fields.spot("nodes"), message);
            return None;
        }
        let max_node_workers = fields.count("max_node_workers").filter(|count| *count > 0);
        let depends = self.resolve(&ids, depends, &specs, fields);
        if !complete {
            return None;
        }
        let specs = specs.into_iter().collect::<Option<Vec<_>>>()?;
        Some(Flow {
            nodes: FlowNodes::new(nodes_of(specs, depends?)),
            max_node_workers: max_node_workers.map(|count| count as usize),
        })
    }

    /// Replaces the node ids of dependencies by indexes in the flow.
    fn resolve(
        &self,
        ids: &[&str],
        depends: Vec<Vec<DependSpec>>,
        specs: &[Option<NodeSpec>],
        flow: Fields<'_>,
    ) -> Option<Vec<Vec<Depend>>> {
        let index_of: HashMap<&str, usize> = ids.iter().enumerate().map(|(index, id)| (*id, index)).collect();
        let mut resolved = Vec::with_capacity(depends.len());
        let mut complete = true;
        for (id, depends) in ids.iter().zip(depends) {
            let mut resolved_depends = Vec::with_capacity(depends.len());
            for depend in depends {
                if flow.is_full() {
                    return None;
                }
                let Some(index) = index_of.get(depend.node.as_str()).copied() else {
                    flow.mistake(depend.spot, self.missing(id, &depend.node, ids));
                    complete = false;
                    continue;
                };
                if let (Some(option), Some(spec)) = (&depend.option, &specs[index])
                    && !spec.kind.options().contains(option)
                {
                    let options: Vec<&str> = spec.kind.options().iter().map(String::as_str).collect();
                    let message =
                        format!("`{}` has no option `{option}`{}", depend.node, meant(option, &options));
                    flow.mistake(depend.option_spot, message);
                }
                resolved_depends.push(Depend {
                    node: u32::try_from(index).unwrap_or(u32::MAX),
                    option: depend.option,
                    condition: depend.condition.map(Arc::new),
                    on_failure: depend.on_failure,
                });
            }
            resolved.push(resolved_depends);
        }
        if let Some(cycle) = cycle(&resolved) {
            let names: Vec<&str> = cycle.into_iter().map(|index| ids[index]).collect();
            let message = format!("nodes depend on each other in a cycle: {}", names.join(" → "));
            flow.mistake(flow.spot("nodes"), message);
            return None;
        }
        complete.then_some(resolved)
    }

    fn missing(&self, id: &str, wanted: &str, ids: &[&str]) -> String {
        if self.nodes.contains_key(wanted) {
            return format!(
                "`{id}` depends on `{wanted}`, which the flow does not list; add it to its `nodes`"
            );
        }
        format!("`{id}` depends on `{wanted}`, but there is no such node{}", meant(wanted, ids))
    }
}

fn nodes_of(specs: Vec<NodeSpec>, depends: Vec<Vec<Depend>>) -> Vec<Node> {
    let branches: Vec<Option<Branches>> = specs
        .iter()
        .zip(&depends)
        .map(|(spec, own)| matches!(spec.kind.role(), Role::Output).then(|| Branches::of(own, &depends)))
        .collect();
    specs
        .into_iter()
        .zip(depends)
        .zip(branches)
        .map(|((spec, depends), branches)| Node::new(spec, depends, branches))
        .collect()
}

impl Node {
    pub(crate) fn new(spec: NodeSpec, depends: Vec<Depend>, branches: Option<Branches>) -> Self {
        let reference = NodeRef {
            id: spec.id.to_string(),
            name: spec.name.clone().unwrap_or_else(|| spec.id.to_string()),
            kind: spec.type_path,
        };
        Self {
            id: spec.id,
            name: spec.name,
            reference: Arc::new(reference),
            kind: spec.kind,
            input: spec.input,
            mapping: spec.mapping,
            output: spec.output,
            errors: spec.errors,
            approval: spec.approval,
            idempotent: spec.idempotent,
            depends,
            branches,
            cached: spec.cached,
        }
    }
}

/// Indexes of nodes that depend on each other in a cycle, with the first repeated at the end.
fn cycle(depends: &[Vec<Depend>]) -> Option<Vec<usize>> {
    // Repeatedly removes nodes that depend on no remaining node. What remains contains a cycle.
    let mut dependents = vec![Vec::new(); depends.len()];
    let mut waits_for: Vec<usize> = depends.iter().map(Vec::len).collect();
    for (index, depends) in depends.iter().enumerate() {
        for depend in depends {
            dependents[depend.node as usize].push(index);
        }
    }
    let mut ready: Vec<usize> = (0..depends.len()).filter(|index| waits_for[*index] == 0).collect();
    while let Some(index) = ready.pop() {
        for dependent in &dependents[index] {
            waits_for[*dependent] -= 1;
            if waits_for[*dependent] == 0 {
                ready.push(*dependent);
            }
        }
    }
    let remains = |index: &usize| waits_for[*index] > 0;
    let mut path = vec![(0..depends.len()).find(remains)?];
    let mut index_in_path = HashMap::from([(path[0], 0)]);
    loop {
        let last = path[path.len() - 1];
        let next = depends[last].iter().map(|depend| depend.node as usize).find(remains)?;
        if let Some(begin) = index_in_path.insert(next, path.len()) {
            path.push(next);
            return Some(path.split_off(begin));
        }
        path.push(next);
    }
}
