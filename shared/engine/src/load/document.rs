//! The file as a whole: connections, prompts, nodes, flows and workflows, and how they refer to each other.

use super::{
    Connection, Env, Fields, LoadErrors, Loading, Mistakes, Yaml, build_node,
    depends::{self, DependSpec},
    interpolate::interpolate,
    meant, nearest, yaml,
};
use crate::{
    flow::{Branches, Depend, Flow, FlowNodes, Node, NodeSpec, Role},
    nodes::{self, Found},
    workflow::Workflow,
};
use runyard_runs::{NodeRef, WorkflowSource};
use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
    sync::Arc,
};

const SECTIONS: &[&str] = &["connections", "prompts", "nodes", "flows", "workflows"];

/// Loads one workflow of a file.
pub(crate) fn load(source: &WorkflowSource, env: &Env<'_>) -> Result<Workflow, LoadErrors> {
    let mut mistakes = Mistakes::default();
    let Some(mut root) = yaml::read(&source.text, &mut mistakes) else {
        if mistakes.is_empty() {
            mistakes.add(START, "the file is empty".into());
        }
        return Err(mistakes.into_errors(&source.file));
    };
    interpolate(&mut root, env, &mut mistakes);
    let mistakes = RefCell::new(mistakes);
    let workflow = Document::read(&root, &mistakes)
        .and_then(|document| document.workflow(source.id.as_deref(), &mistakes, env));
    let mistakes = mistakes.into_inner();
    match workflow {
        Some(workflow) if mistakes.is_empty() => Ok(workflow),
        _ => Err(mistakes.into_errors(&source.file)),
    }
}

const START: super::Spot = super::Spot { line: 1, column: 1 };

/// The sections of a file, by id.
struct Document<'y> {
    root: Fields<'y>,
    connections: HashMap<String, Option<Connection>>,
    prompts: HashMap<String, &'y Yaml>,
    nodes: HashMap<&'y str, &'y Yaml>,
    flows: HashMap<&'y str, Fields<'y>>,
    workflows: Vec<(&'y str, Fields<'y>)>,
}

impl<'y> Document<'y> {
    fn read(yaml: &'y Yaml, mistakes: &'y RefCell<Mistakes>) -> Option<Self> {
        let root = Fields::new(yaml, "a workflow file", mistakes)?;
        for entry in yaml.entries().unwrap_or_default() {
            if !SECTIONS.contains(&entry.key.as_str())
                && let Some(near) = nearest(&entry.key, SECTIONS)
            {
                root.mistake(
                    entry.key_spot,
                    format!("`{}` is no section; did you mean `{near}`?", entry.key),
                );
            }
        }
        let section = |key: &str| -> Vec<(&'y str, &'y Yaml)> {
            let entries = root.fields(key).and_then(|fields| fields.yaml.entries()).unwrap_or_default();
            entries.iter().map(|entry| (entry.key.as_str(), &entry.value)).collect()
        };
        let fields = |key: &str, what: &str| -> Vec<(&'y str, Fields<'y>)> {
            section(key)
                .into_iter()
                .filter_map(|(id, yaml)| {
                    Some((id, Fields::new(yaml, &format!("the {what} `{id}`"), mistakes)?))
                })
                .collect()
        };
        Some(Self {
            root,
            connections: fields("connections", "connection")
                .into_iter()
                .map(|(id, fields)| {
                    (id.to_owned(), Connection::read(fields, &format!("the connection `{id}`")))
                })
                .collect(),
            prompts: section("prompts").into_iter().map(|(id, yaml)| (id.to_owned(), yaml)).collect(),
            nodes: section("nodes").into_iter().collect(),
            flows: fields("flows", "flow").into_iter().collect(),
            workflows: fields("workflows", "workflow"),
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
        let Some(flow_id) = fields.text("flow") else {
            if fields.get("flow").is_none() {
                fields.mistake(fields.yaml.spot, format!("the workflow `{id}` lacks its `flow`"));
            }
            return None;
        };
        let Some(flow) = self.flows.get(flow_id) else {
            let known: Vec<&str> = self.flows.keys().copied().collect();
            let message = format!("there is no flow `{flow_id}`{}", meant(flow_id, &known));
            fields.mistake(fields.spot("flow"), message);
            return None;
        };
        let loading =
            Loading { mistakes, connections: &self.connections, prompts: &self.prompts, env, prompt: None };
        let flow = self.flow(*flow, &loading);
        self.check_others(&loading);
        Some(Workflow::new((*id).to_owned(), flow?))
    }

    /// Of the nodes that the workflow does not use, only the types are checked.
    fn check_others(&self, loading: &Loading<'_>) {
        for (id, yaml) in &self.nodes {
            let Some(fields) = Fields::new(yaml, &format!("the node `{id}`"), loading.mistakes) else {
                continue;
            };
            match fields.get("type").and_then(Yaml::text).map(nodes::find) {
                Some(Found::Other(problem)) if !nodes::is_known(fields.text("type").unwrap_or_default()) => {
                    fields.mistake(fields.spot("type"), problem);
                }
                _ => {}
            }
        }
    }

    fn flow(&self, fields: Fields<'y>, loading: &Loading<'_>) -> Option<Flow> {
        let mut ids: Vec<&str> = Vec::new();
        let mut complete = true;
        for item in fields.list("nodes").unwrap_or_default() {
            let Some(id) = item.text() else {
                fields.mistake(item.spot, format!("a flow lists ids of nodes, but this is {}", item.kind()));
                complete = false;
                continue;
            };
            if !self.nodes.contains_key(id) {
                let known: Vec<&str> = self.nodes.keys().copied().collect();
                fields.mistake(item.spot, format!("there is no node `{id}`{}", meant(id, &known)));
                complete = false;
            } else if !ids.contains(&id) {
                ids.push(id);
            }
        }
        let mut specs = Vec::with_capacity(ids.len());
        let mut depends = Vec::with_capacity(ids.len());
        for id in &ids {
            let node = Fields::new(self.nodes[id], &format!("the node `{id}`"), loading.mistakes);
            depends.push(node.map(depends::read).unwrap_or_default());
            specs.push(node.and_then(|node| build_node(id, node, loading)));
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

    /// Replaces the ids of dependencies by places in the flow.
    fn resolve(
        &self,
        ids: &[&str],
        depends: Vec<Vec<DependSpec>>,
        specs: &[Option<NodeSpec>],
        flow: Fields<'_>,
    ) -> Option<Vec<Vec<Depend>>> {
        let mut resolved = Vec::with_capacity(depends.len());
        let mut complete = true;
        for (id, depends) in ids.iter().zip(depends) {
            let mut places = Vec::with_capacity(depends.len());
            for depend in depends {
                let Some(place) = ids.iter().position(|known| *known == depend.node) else {
                    flow.mistake(depend.spot, self.missing(id, &depend.node, ids));
                    complete = false;
                    continue;
                };
                if let (Some(option), Some(spec)) = (&depend.option, &specs[place]) {
                    let options: Vec<&str> = spec.kind.options().iter().map(String::as_str).collect();
                    if !options.contains(&option.as_str()) {
                        let message =
                            format!("`{}` has no option `{option}`{}", depend.node, meant(option, &options));
                        flow.mistake(depend.option_spot, message);
                    }
                }
                places.push(Depend {
                    node: u32::try_from(place).unwrap_or(u32::MAX),
                    option: depend.option,
                    condition: depend.condition,
                    on_failure: depend.on_failure,
                });
            }
            resolved.push(places);
        }
        if let Some(cycle) = cycle(&resolved) {
            let names: Vec<&str> = cycle.into_iter().map(|place| ids[place]).collect();
            let message = format!("nodes depend on each other in a circle: {}", names.join(" → "));
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
            depends,
            branches,
        }
    }
}

/// Places that depend on each other in a circle, the first repeated at the end.
fn cycle(depends: &[Vec<Depend>]) -> Option<Vec<usize>> {
    // What is left once all that depends on nothing left is taken away, again and again, holds a circle.
    let mut left: HashSet<usize> = (0..depends.len()).collect();
    loop {
        let free: Vec<usize> = left
            .iter()
            .copied()
            .filter(|place| !depends[*place].iter().any(|depend| left.contains(&(depend.node as usize))))
            .collect();
        if free.is_empty() {
            break;
        }
        for place in free {
            left.remove(&place);
        }
    }
    let mut path = vec![*left.iter().min()?];
    loop {
        let last = path[path.len() - 1];
        let next = depends[last].iter().map(|depend| depend.node as usize).find(|p| left.contains(p))?;
        if let Some(begin) = path.iter().position(|known| *known == next) {
            path.push(next);
            return Some(path.split_off(begin));
        }
        path.push(next);
    }
}
