//! The errors and warnings of workflow files, and their positions.

mod support;

use runyard_engine::{Engine, EngineConfig, Mistake};
use runyard_runs::{App, Engine as _};
use std::sync::{Arc, Mutex};
use support::{Case, JobsHere, SystemPython, app};

/// The errors of `text`, one per line.
fn mistakes(text: &str) -> Vec<String> {
    let errors = Case::text(text).engine().check(&app(text)).expect_err("the file has errors");
    errors.to_string().lines().map(str::to_owned).collect()
}

/// Like [`mistakes`], for a file with one node and its flow.
fn mistakes_of(node: &str) -> Vec<String> {
    let text = format!("nodes:\n  n: {node}\nflows: {{f: {{nodes: [n]}}}}\nworkflows: {{w: {{flow: f}}}}\n");
    mistakes(&text)
}

#[test]
fn all_errors_are_reported_at_once() {
    let found = mistakes(
        "\
connections:
  oa: {type: dynamiq.connections.OpenAi, api_key: x}
nodes:
  in: {type: dynamiq.nodes.utils.Imput}
  ch:
    type: dynamiq.nodes.operators.Choice
    options:
      - {id: big, condition: {variable: $.n, operator: numeric-graeter-than, value: 1}}
  a:
    type: dynamiq.nodes.operators.Pass
    depends:
      - {node: ch, option: bigg}
      - {node: inn}
    input_transformer: {selector: {x: 5}}
    error_handling: {max_retries: often, behavior: retrun}
  b: {type: dynamiq.nodes.operators.Pass, depends: [{node: c}]}
  c: {type: dynamiq.nodes.operators.Pass, depends: [{node: b}]}
flows:
  f: {nodes: [in, ch, a, b, c, dd]}
workflows:
  w: {flow: f}
",
    );
    let expected = [
        "workflow.yaml:2:14: `dynamiq.connections.OpenAi` is not a connection type",
        "workflow.yaml:4:14: there is no node type `dynamiq.nodes.utils.Imput`; did you mean `dynamiq.nodes.utils.Input`?",
        "workflow.yaml:8:56: `numeric-graeter-than` is not an operator; did you mean `numeric-greater-than`?",
        "workflow.yaml:12:28: `ch` has no option `bigg`; did you mean `big`?",
        "workflow.yaml:13:16: `a` depends on `inn`, but there is no such node; did you mean `in`?",
        "workflow.yaml:14:39: a selector takes paths and text, but `x` is a number; quote it",
        "workflow.yaml:15:35: `max_retries` must be a non-negative integer, but this is text",
        "workflow.yaml:15:52: `behavior` is `retrun`, which is not one of `raise`, `return`; did you mean `return`?",
        "workflow.yaml:19:14: nodes depend on each other in a cycle: b → c → b",
        "workflow.yaml:19:32: there is no node `dd`",
    ];
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "\n   found {found}\nexpected {expected}");
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table of errors")]
fn each_error_has_a_message_and_position() {
    for (node, expected) in [
        ("{}", ":2:6: the node `n` lacks its `type`"),
        (
            "{type: dynamiq.nodes.parsers.MistralOCR}",
            ":2:13: nodes of type `dynamiq.nodes.parsers.MistralOCR` do not run here yet",
        ),
        (
            "{type: dynamiq.nodes.tools.stagehand.Stagehand}",
            ":2:13: nodes of type `dynamiq.nodes.tools.stagehand.Stagehand` are not native here: they drive a browser",
        ),
        (
            "{type: dynamiq.nodes.operators.SubWorkflow, flow: ff}",
            ":2:56: there is no flow `ff`; did you mean `f`?",
        ),
        (
            "{type: dynamiq.nodes.operators.SubWorkflow, flow: f}",
            ":2:56: the flow `f` contains itself: f → f",
        ),
        (
            "{type: dynamiq.nodes.operators.Expression, expressions: [{key: k, expression: 'a +'}]}",
            ":2:84: this is no expression: unexpected end",
        ),
        (
            "{type: dynamiq.nodes.operators.Expression, expressions: [{key: k, expression: 'a | lowr'}]}",
            ":2:84: this is no expression: there is no filter `lowr`",
        ),
        (
            "{type: dynamiq.nodes.operators.Rules, rules: [{id: r, check: a.__class__}]}",
            ":2:67: `check` is no expression: it reads a private attribute, `a.__class__`",
        ),
        (
            "{type: dynamiq.nodes.operators.Rules, rules: [{check: a, message: '{% if %}'}]}",
            ":2:72: `message` is no template: ",
        ),
        (
            "{type: dynamiq.nodes.operators.DecisionTable, input_columns: [{name: a, type: int}], rules: [{when: [ten]}]}",
            ":2:107: this column holds numbers, but `ten` is none",
        ),
        (
            "{type: dynamiq.nodes.operators.DecisionTable, input_columns: [{name: a}], rules: [{when: []}]}",
            ":2:95: `when` has 0 cells, but the table has 1 columns for it",
        ),
        (
            "{type: dynamiq.nodes.operators.Delay, duration_seconds: -1}",
            ":2:62: `duration_seconds` must not be negative",
        ),
        (
            "{type: dynamiq.nodes.operators.Pass, name: {$type: Text, $id: nme}}",
            ":2:68: the requirement `nme` of type `Text` is not among the `requirements` of app.yaml",
        ),
        ("{type: dynamiq.nodes.tools.Python}", ":2:6: the node `n` lacks its `code`"),
        ("{type: dynamiq.nodes.utils.Input, schema: {type: thing}}", ":2:48: this is no JSON schema: "),
        (
            "{type: dynamiq.nodes.transformers.TextTemplate, template: '{% if %}'}",
            ":2:64: this is no Jinja template: ",
        ),
        (
            "{type: dynamiq.nodes.llms.OpenAI, model: m, connection: nope}",
            ":2:62: there is no connection `nope`",
        ),
        (
            "{type: dynamiq.nodes.llms.OpenAI, model: m, prompt: nope, connection: {type: dynamiq.connections.OpenAI, api_key: k}}",
            ":2:58: there is no prompt `nope`",
        ),
        (
            "{type: dynamiq.nodes.llms.OpenAI, model: m, prompt: {messages: []}}",
            ":2:6: there is no `api_key`, and the environment variable `OPENAI_API_KEY` is not set",
        ),
        (
            "{type: dynamiq.nodes.operators.Pass, approval: {enabled: true, msg_template: '{% if %}'}}",
            "of the template",
        ),
        (
            "{type: dynamiq.nodes.operators.Pass, approval: {enabled: true, expires_in_seconds: 1, on_expiry: skip}}",
            "`on_expiry` is `skip`, which is not one of `fail`, `approve`, `deny`",
        ),
        (
            "{type: dynamiq.nodes.tools.HumanFeedbackTool, action: tell}",
            "`action` is `tell`, which is not one of `ask`, `info`",
        ),
        (
            "{type: dynamiq.nodes.tools.HumanFeedbackTool, expires_in_seconds: 0}",
            ":2:72: `expires_in_seconds` must be more than 0",
        ),
        (
            "{type: dynamiq.nodes.operators.Pass, on: 1}",
            ":2:43: the key `on` is true or false in YAML 1.1; quote it",
        ),
        ("{type: dynamiq.nodes.operators.Pass, name: a, name: b}", ":2:52: the key `name` appears twice"),
        (
            "{type: dynamiq.nodes.operators.Pass, name: '${x.y}'}",
            ":2:49: `${x.y}` refers to a value that the file does not have",
        ),
    ] {
        let found = mistakes_of(node);
        assert!(
            found.len() == 1 && found[0].contains(expected),
            "{node}\n   found {found:#?}\nexpected {expected}"
        );
    }
    for (text, expected) in [
        ("", ":1:1: the file is empty"),
        ("a: [1, 2", ": this is not YAML: "),
        ("- a", ":1:1: a workflow file must be a mapping, but this is a list"),
        ("node: {}\nworkflows: {w: {flow: f}}", ":1:1: `node` is not a section; did you mean `nodes`?"),
        (
            "flows: {f: {nodes: []}}\nworkflows: {a: {flow: f}, b: {flow: f}}",
            ":2:12: the file has several workflows, a, b",
        ),
        (
            "flows: {flow1: {nodes: []}}\nworkflows: {a: {flow: flow2}}",
            ":2:23: there is no flow `flow2`; did you mean `flow1`?",
        ),
    ] {
        let found = mistakes(text);
        assert!(found[0].contains(expected), "{text}\n   found {found:#?}\nexpected {expected}");
    }
}

/// A few lines of aliases must not expand to gigabytes.
#[test]
fn aliases_are_limited() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..9 {
        let items = vec![format!("*a{}", level - 1); 10].join(", ");
        text.extend([format!("a{level}: &a{level} [{items}]\n")]);
    }
    assert!(mistakes(&text)[0].contains("values"));
    assert!(mistakes(&format!("a: {}", "[".repeat(100_000)))[0].contains(":1:"));
}

#[tokio::test]
async fn an_app_reads_only_what_it_declares() {
    let engine = Engine::new(EngineConfig {
        python: Arc::new(SystemPython),
        jobs: Arc::new(JobsHere),
        env: Arc::new(|_, name| Ok(Some(format!("value of {name}")))),
        allow_loopback: false,
        any_env: false,
    });
    let text = |value: &str| {
        format!(
            "nodes: {{n: {{type: dynamiq.nodes.operators.Pass, name: '{value}'}}}}\n\
             flows: {{f: {{nodes: [n]}}}}\nworkflows: {{w: {{flow: f}}}}\n"
        )
    };
    let check = |value: &str, declared: &[&str]| {
        let mut app = app(&text(value));
        app.env = declared.iter().map(|name| (*name).to_owned()).collect();
        app.version = format!("{value} {declared:?}");
        engine.check(&app).map_err(|errors| errors.to_string())
    };
    assert_eq!(check("${oc.env:NAME}", &["NAME"]), Ok(Vec::new()));
    assert_eq!(check("${oc.env:NAME,x}", &[]), Ok(Vec::new()));
    for (value, declared, problem) in [
        ("${oc.env:NAME}", &[][..], "`NAME` is not declared; add it to `env` in app.yaml"),
        (
            "${oc.env:AWS_SECRET_ACCESS_KEY}",
            &["AWS_SECRET_ACCESS_KEY"],
            "`AWS_SECRET_ACCESS_KEY` may not be read",
        ),
        ("${oc.env:RUNYARD_KEY}", &["RUNYARD_KEY"], "`RUNYARD_KEY` may not be read"),
    ] {
        let found = check(value, declared).expect_err(value);
        assert!(found.contains(problem), "{found}");
    }
    assert!(engine.check_app(&app("nodes: {}")).await.is_err());
}

#[tokio::test]
async fn a_changed_variable_is_reloaded_and_a_secret_is_never_shown() {
    let value = Arc::new(Mutex::new(Ok(Some("first".to_owned()))));
    let engine = Engine::new(EngineConfig {
        python: Arc::new(SystemPython),
        jobs: Arc::new(JobsHere),
        env: {
            let value = Arc::clone(&value);
            Arc::new(move |_, name| {
                assert_eq!(name, "KEY");
                value.lock().expect("value").clone()
            })
        },
        allow_loopback: false,
        any_env: false,
    });
    let mut app = app("nodes: {n: {type: '${oc.env:KEY,dynamiq.nodes.operators.Pass}'}}\n\
        flows: {f: {nodes: [n]}}\nworkflows: {w: {flow: f}}\n");
    app.env = vec!["KEY".to_owned()];
    let shown = |app: &App| engine.check(app).expect_err("an invalid type").to_string();
    assert!(shown(&app).contains("first"), "{}", shown(&app));
    app.secrets = [("KEY".to_owned(), "ssm:/key".parse().expect("a reference"))].into();
    let hidden = shown(&app);
    assert!(hidden.contains("${oc.env:KEY}") && !hidden.contains("first"), "{hidden}");

    let set = |now| *value.lock().expect("value") = now;
    set(Ok(Some("dynamiq.nodes.operators.Pass".to_owned())));
    assert_eq!(engine.check(&app), Ok(Vec::new()));
    set(Ok(Some("second".to_owned())));
    assert!(!shown(&app).contains("second"));
    set(Ok(None));
    assert_eq!(engine.check(&app), Ok(Vec::new()), "there is a default");
    set(Err("the store of the secret is away".to_owned()));
    assert!(shown(&app).contains("the store of the secret is away"));
}

#[test]
fn one_of_several_workflows_is_selected_by_id() {
    let text = "\
nodes:
  a: {type: dynamiq.nodes.operators.Pass}
  other: {type: dynamiq.nodes.agents.Agent}
flows: {f: {nodes: [a]}, g: {nodes: [other]}}
workflows: {one: {flow: f}, two: {flow: g}}
";
    let mut app = app(text);
    let engine = Case::text(text).engine();
    app.workflow.id = Some("one".into());
    assert!(engine.check(&app).is_ok());
    app.workflow.id = Some("on".into());
    app.version = "2".into();
    let errors = engine.check(&app).expect_err("there is no such workflow").to_string();
    assert_eq!(errors, "workflow.yaml:5:12: there is no workflow `on`; did you mean `one`?");
}

#[test]
fn warns_about_parts_without_effect() {
    let text = "\
vars: {name: A}
remark: unused
nodes:
  a:
    id: a
    type: dynamiq.nodes.operators.Pass
    name: ${vars.name}
    group: operators
    description: does nothing
    metadata: {label: {x: 1}}
    callbacks: []
    is_optimized_for_agents: false
    input_maping: {x: 1}
    caching: {enabled: true, ttl: 5}
    error_handling: {max_retrys: 2}
  b: {type: dynamiq.nodes.operators.Choice, options: [{id: o, name: O, contition: {variable: $.x}}], depends: []}
  other: {type: dynamiq.nodes.operators.Pass, anything: 1}
flows: {f: {id: f, name: F, nodes: [a, b], colour: red}}
workflows: {w: {flow: f, version: 1}}
";
    let warnings = Case::text(text).engine().check(&app(text)).expect("it loads");
    let shown: Vec<String> = warnings
        .into_iter()
        .map(|warning| format!("{}:{}: {}", warning.spot.line, warning.spot.column, warning.message))
        .collect();
    assert_eq!(
        shown,
        [
            "2:1: nothing reads `remark` here, so it has no effect",
            "10:5: `metadata` has no effect here",
            "13:5: nothing reads `input_maping` here, so it has no effect; did you mean `input_mapping`?",
            "14:30: nothing reads `ttl` here, so it has no effect",
            "15:22: nothing reads `max_retrys` here, so it has no effect; did you mean `max_retries`?",
            "16:72: nothing reads `contition` here, so it has no effect; did you mean `condition`?",
            "18:44: nothing reads `colour` here, so it has no effect",
        ]
    );
}

#[test]
fn requirements_come_from_the_app() {
    let text = "\
nodes: {n: {$type: Node, $id: node, value_path: $.inner}}
flows: {f: {nodes: [n]}}
workflows: {w: {flow: f}}
";
    let mut app = app(text);
    let engine = Case::text(text).env("KIND", "Pass").engine();
    app.requirements = [(
        "node".to_owned(),
        serde_json::json!({"inner": {"type": "dynamiq.nodes.operators.${oc.env:KIND}"}}),
    )]
    .into();
    assert_eq!(engine.check(&app), Ok(Vec::new()));
    app.version = "2".into();
    app.requirements = [("node".to_owned(), serde_json::json!({"inner": {"type": "${oc.env:NOPE}"}}))].into();
    let errors = engine.check(&app).expect_err("the variable is not set").to_string();
    assert!(
        errors.contains("the requirement `node` of app.yaml: the environment variable `NOPE`"),
        "{errors}"
    );
}

fn shown(warnings: Vec<Mistake>) -> Vec<String> {
    let shown = |warning: Mistake| format!("{}: {}", warning.spot.line, warning.message);
    warnings.into_iter().map(shown).collect()
}

#[test]
fn warns_about_misspelled_keys() {
    let text = "\
nodes:
  l:
    type: dynamiq.nodes.llms.OpenAI
    model: m
    connection: {type: dynamiq.connections.OpenAI, api_key: k}
    prompt: {messages: [{content: hi}]}
    temprature: 0.1
    max_token: 5
    top_k: 3
    models: [a]
    min_tokens: 2
    custom: {a: 1}
    streem: {enabled: true}
  r:
    type: dynamiq.nodes.operators.Rules
    rules:
      - {id: a, check: a == 1, on_missing: fial}
      - {id: b, check: a == 1, on_missing: fail}
flows: {f: {nodes: [l, r]}}
workflows: {w: {flow: f}}
";
    assert_eq!(
        shown(Case::text(text).engine().check(&app(text)).expect("it loads")),
        [
            "7: `temprature` goes to the provider as it is; did you mean `temperature`?",
            "8: `max_token` goes to the provider as it is; did you mean `max_tokens`?",
            "13: `streem` goes to the provider as it is; did you mean `stream`?",
            "17: `on_missing` is none of `not_evaluated`, `fail`, `not_applicable`, so it has no effect; did you mean `fail`?",
        ]
    );
}

#[tokio::test]
async fn reports_warnings_together_with_errors() {
    // The rest of a node after an error is not read, so there are no warnings about it.
    let text = "\
remark: unused
nodes:
  a: {type: dynamiq.nodes.operators.Pass, input_maping: {x: 1}}
  b: {type: dynamiq.nodes.operators.Pass, error_handling: {max_retries: some}, colour: red}
  c: {type: dynamiq.nodes.tools.Stagehand, colour: red}
  d: {type: dynamiq.nodes.llms.OpenAI, model: m, connection: none, prompt: {messages: [{content: hi}]}, temprature: 1}
flows: {f: {nodes: [a, b, c, d]}}
workflows: {w: {flow: f}}
";
    let (engine, app) = (Case::text(text).engine(), app(text));
    let errors = engine.check(&app).expect_err("it does not load");
    let lines: Vec<u32> = errors.mistakes.iter().map(|mistake| mistake.spot.line).collect();
    assert_eq!(lines, [4, 5, 6]);
    assert_eq!(
        shown(errors.warnings),
        [
            "3: nothing reads `input_maping` here, so it has no effect; did you mean `input_mapping`?",
            "6: `temprature` goes to the provider as it is; did you mean `temperature`?",
        ]
    );
    let warnings: Vec<u32> = engine.warnings(&app).await.iter().map(|warning| warning.line).collect();
    assert_eq!(warnings, [3, 6]);
}
