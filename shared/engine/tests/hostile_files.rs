//! Files that attack the server: each is refused with an error, within limits on time and stack.

mod support;

use runyard_engine::LoadErrors;
use std::{
    fmt::Write,
    thread,
    time::{Duration, Instant},
};
use support::{Case, app};

/// Smaller than the 2 MiB of a server's thread, where other calls are already on the stack.
const STACK_BYTES: usize = 1 << 20;

/// Far more than loading takes, even unoptimized on a busy machine; far less than quadratic time in four megabytes.
const MAX_TIME: Duration = Duration::from_mins(1);

fn load(text: String) -> Result<(), LoadErrors> {
    let check = move || Case::text(&text).engine().check(&app(&text)).map(drop);
    let begun = Instant::now();
    let thread = thread::Builder::new().stack_size(STACK_BYTES).spawn(check).expect("a thread");
    let loaded = thread.join().expect("it neither panics nor overflows the stack");
    assert!(begun.elapsed() < MAX_TIME, "it took {:?}", begun.elapsed());
    loaded
}

/// A file with one node and its flow. `node` is the content of the node's mapping, from its first line.
fn of_node(node: &str) -> String {
    format!(
        "nodes:\n  n:\n    {}\nflows: {{f: {{nodes: [n]}}}}\nworkflows: {{w: {{flow: f}}}}\n",
        node.replace('\n', "\n    ")
    )
}

fn pass(rest: &str) -> String {
    of_node(&format!("type: dynamiq.nodes.operators.Pass\n{rest}"))
}

fn template(text: &str) -> String {
    of_node(&format!("type: dynamiq.nodes.transformers.TextTemplate\ntemplate: \"{text}\""))
}

fn expression(text: &str) -> String {
    let node = "type: dynamiq.nodes.operators.Expression\nexpressions: [{key: x, expression: ";
    of_node(&format!("{node}\"{text}\"}}]"))
}

fn input(schema: &str) -> String {
    of_node(&format!("type: dynamiq.nodes.utils.Input\nschema: {schema}"))
}

fn condition(condition: &str) -> String {
    of_node(&format!("type: dynamiq.nodes.operators.Choice\noptions: [{{id: o, condition: {condition}}}]"))
}

fn around(open: &str, count: usize, within: &str, close: &str) -> String {
    format!("{}{within}{}", open.repeat(count), close.repeat(count))
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table of files")]
fn each_file_is_refused() {
    let doubling = |count: usize, first: &str| {
        let lines = (1..count).fold(format!("a0: {first}\n"), |mut text, n| {
            let before = n - 1;
            let _ = writeln!(text, "a{n}: \"${{a{before}}}${{a{before}}}\"");
            text
        });
        format!("{lines}{}", pass(&format!("name: ${{a{}}}", count - 1)))
    };
    let aliases = (1..30).fold("x0: &x0 [1, 1]\n".to_owned(), |mut text, n| {
        let before = n - 1;
        let _ = writeln!(text, "x{n}: &x{n} [*x{before}, *x{before}]");
        text
    });
    let nested_anchors =
        (0..60).fold(String::new(), |text, n| format!("{text}&n{n} [")) + &"1, ".repeat(40_000);
    let mut wrong = Vec::new();
    for (text, problem) in [
        // YAML
        ("# ".to_owned() + &"x".repeat(5 << 20), "bytes"),
        (around("[", 100_000, "", "]"), "recursion limit exceeded|nest deeper"),
        (around("{a: ", 100_000, "1", "}"), "recursion limit exceeded|nest deeper"),
        ("- ".repeat(500_000), "nest deeper"),
        ("? ".repeat(100_000), "a key must be text"),
        ((0..200).fold(String::new(), |text, depth| text + &" ".repeat(depth) + "a:\n"), "nest deeper"),
        (aliases, "holds more than 200000 values"),
        (format!("a: &a \"{}\"\nb: [{}]", "x".repeat(1 << 20), "*a, ".repeat(100_000)), "bytes of text"),
        (nested_anchors + &"]".repeat(60), "holds more than 200000 values"),
        (format!("a: &a {{x: 1}}\nb:\n  <<: [{}]", "*a, ".repeat(300_000)), "holds more than 200000 values"),
        ("a: [".to_owned() + &"1, ".repeat(300_000) + "]", "holds more than 200000 values"),
        (format!("? {}\n: 1", "k".repeat(1_000_000)), "a key has at most"),
        (format!("&{} a", "x".repeat(1_000_000)), "has no `workflows`|must be a mapping"),
        // References
        (doubling(40, "x"), "bytes of text|references|200000 values"),
        (doubling(30, "''"), "values|references"),
        (pass(&format!("name: \"{}\"", around("${", 50_000, "a", "}"))), "more than 32 references"),
        (pass(&format!("name: \"{}\"", around("${oc.env:N,", 50_000, "a", "}"))), "more than 32 references"),
        (pass(&format!("name: \"{}\"", "${".repeat(100_000))), "closing brace"),
        (
            (0..20).fold(String::new(), |text, n| {
                format!("{text}d{n}: {}\n", around("[", 60, &format!("'${{d{}}}'", n + 1), "]"))
            }) + "d20: 1\n",
            "once references are resolved|no `workflows`",
        ),
        (format!("a: \"{}\"\nb: [{}]\n", "x".repeat(1 << 20), "'${a}', ".repeat(1_000)), "bytes of text"),
        // Selectors
        (pass(&format!("input_transformer: {{path: '${}'}}", ".a".repeat(500_000))), "at most 256 steps"),
        (
            pass(&format!("input_transformer: {{path: '{}'}}", around("(", 300_000, "$", ")"))),
            "nest at most 32",
        ),
        (pass(&format!("output_transformer: {{path: '$..a{}'}}", "|b".repeat(100_000))), "at most 256 steps"),
        (
            pass(&format!("input_transformer: {{selector: {{x: '${}'}}}}", "[0]".repeat(100_000))),
            "at most 256 steps",
        ),
        (
            pass(&format!("input_transformer: {{selector: {{x: '$.a || ${}'}}}}", "..a".repeat(9_000))),
            "at most 256 steps",
        ),
        (
            pass(&format!("input_transformer: {{path: '$.a{}'}}", " where b".repeat(50_000))),
            "at most 256 steps",
        ),
        (pass(&format!("input_transformer: {{path: '$.[{}a]'}}", "a,".repeat(50_000))), "at most 256 steps"),
        (
            condition(&format!(
                "{{variable: '${}', operator: boolean-equals, value: true}}",
                ".a".repeat(9_000)
            )),
            "at most 256 steps",
        ),
        // Templates
        (template(&format!("{{{{ {}1 }}}}", "-".repeat(200_000))), "operators follow"),
        (template(&format!("{{{{ {} }}}}", around("(", 100_000, "1", ")"))), "brackets nest"),
        (template(&"{% if a %}".repeat(20_000)), "blocks nest"),
        (template(&"x".repeat(400_000)), "at most 262144 bytes"),
        // Expressions
        (expression(&around("(", 20_000, "1", ")")), "brackets nest deeper than 40"),
        (expression(&format!("{}1", "-".repeat(30_000))), "nest deeper than 40"),
        (expression(&format!("{}a", "not ".repeat(15_000))), "nest deeper than 40"),
        (expression(&format!("1{}", " + 1".repeat(15_000))), "operators deep|operators and values"),
        (expression(&format!("a{}", ".b".repeat(30_000))), "operators deep|operators and values"),
        (expression(&format!("a{}", "|upper".repeat(9_000))), "operators deep|operators and values"),
        (expression(&format!("1{}", " if a else 1".repeat(5_000))), "nest deeper than 40"),
        (expression(&format!("a is {}", "b.".repeat(30_000))), "expected the name|no test"),
        (expression(&"a".repeat(100_000)), "more than 65536"),
        // Conditions
        (
            condition(&around("{operator: and, operands: [", 100_000, "", "]}")),
            "recursion limit exceeded|nest deeper",
        ),
        // Schemas
        (input("{properties: {a: {$ref: 'https://example.com/s.json'}}}"), "references to other documents"),
        (input("{$ref: '#/$defs/a', $defs: {a: {allOf: [{$ref: '#/$defs/a'}]}}}"), "without end"),
        (input("{$ref: '#'}"), "without end"),
        (input("{$ref: '#/$defs/none'}"), "refers to nothing"),
        (
            input(&format!(
                "{{{}}}",
                (0..40).fold("$ref: '#/$defs/d0', $defs: {".to_owned(), |text, n| {
                    let next = n + 1;
                    format!(
                        "{text}d{n}: {{allOf: [{{$ref: '#/$defs/d{next}'}}, {{$ref: '#/$defs/d{next}'}}]}}, "
                    )
                }) + "d40: {}}"
            )),
            "without end",
        ),
        (
            input(&format!("{{properties: {{a: {{enum: [{}]}}}}}}", "1, ".repeat(20_000))),
            "at most 10000 values",
        ),
        (input("{properties: {a: {pattern: '((a{1000}){1000}){1000}'}}}"), "no JSON schema"),
        // Numbers of items
        (
            format!("{}{}", pass("x: 1"), "connections:\n")
                + &(0..2_000).fold(String::new(), |text, n| {
                    format!("{text}  c{n}: {{type: dynamiq.connections.OpenAI}}\n")
                }),
            "connections, more than 1000",
        ),
        (many_nodes(6_000, |_| String::new()), "more than 5000 nodes"),
        (
            many_nodes(500, |n| {
                let depends: Vec<String> = (0..n).map(|n| format!("{{node: n{n}}}")).collect();
                format!("depends: [{}]", depends.join(", "))
            }),
            "more than 20000 dependencies|holds more than 200000",
        ),
        (many_nodes(4_000, |n| format!("depends: [{{node: m{n}}}]")), "at most 100 are reported"),
        (
            many_nodes(4_000, |n| format!("input_transformer: {{path: 'x', unknown: {n}}}, approval: 5")),
            "at most 100 are reported",
        ),
        (
            of_node(&format!(
                "type: dynamiq.nodes.operators.Choice\noptions: [{}]",
                (0..600).fold(String::new(), |text, n| {
                    format!("{text}{{id: o{n}, condition: {{operator: string-regexp, value: 'a{n}'}}}}, ")
                })
            )),
            "more than 500 regular expressions",
        ),
        (
            of_node(&format!(
                "type: dynamiq.nodes.operators.Choice\noptions: [{}]",
                (0..100).fold(String::new(), |text, n| {
                    format!(
                        "{text}{{id: o{n}, condition: {{operator: string-regexp, value: '\\w{{{}}}{n}'}}}}, ",
                        30 << (n % 3)
                    )
                })
            )),
            "regular expressions of this file take more than",
        ),
    ] {
        let begin: String = text.chars().take(120).collect();
        let shown_errors = load(text).map_or_else(|errors| errors.to_string(), |()| "nothing".into());
        if !problem.split('|').any(|problem| shown_errors.contains(problem)) || shown_errors.len() > 100_000 {
            let shown_errors: String = shown_errors.chars().take(400).collect();
            wrong.push(format!("{begin}\n    does not mention {problem}: {shown_errors}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A flow of many nodes; `more` returns the additional fields of each.
fn many_nodes(count: usize, more: impl Fn(usize) -> String) -> String {
    let mut text = "nodes:\n".to_owned();
    for n in 0..count {
        let _ = writeln!(text, "  n{n}: {{type: dynamiq.nodes.operators.Pass, {}}}", more(n));
    }
    let ids: Vec<String> = (0..count).map(|n| format!("n{n}")).collect();
    let _ = writeln!(text, "flows: {{f: {{nodes: [{}]}}}}\nworkflows: {{w: {{flow: f}}}}", ids.join(", "));
    text
}

/// Files at the limits load, in linear time.
#[test]
fn files_at_the_limits_load() {
    let chain = |n: usize| if n == 0 { String::new() } else { format!("depends: [{{node: n{}}}]", n - 1) };
    let long = |n: usize| format!("name: \"{}\"", "x".repeat(700 + n % 2));
    let outputs = (0..2_000).fold(String::from("nodes:\n"), |mut text, n| {
        let (kind, depends) = match n {
            0 => ("operators.Pass", String::new()),
            1..1_000 => ("operators.Pass", format!("depends: [{{node: n{}, trigger: failure}}]", n - 1)),
            _ => ("utils.Output", "depends: [{node: n999}]".to_owned()),
        };
        let _ = writeln!(text, "  n{n}: {{type: dynamiq.nodes.{kind}, {depends}}}");
        text
    }) + &format!(
        "flows: {{f: {{nodes: [{}]}}}}\nworkflows: {{w: {{flow: f}}}}\n",
        (0..2_000).map(|n| format!("n{n}")).collect::<Vec<_>>().join(", ")
    );
    let keys = (0..60_000).fold(String::from("mine:\n"), |mut text, n| {
        let _ = writeln!(text, "  k{n}: v");
        text
    });
    let references = (0..15_000).fold(keys.clone() + "others:\n", |mut text, n| {
        let _ = writeln!(text, "  r{n}: ${{mine.k{}}}", n * 4);
        text
    });
    for text in [
        many_nodes(5_000, chain),
        many_nodes(4_000, long),
        outputs,
        keys + &pass("name: x"),
        references + &pass("name: x"),
        pass(&format!("input_transformer: {{path: '${}'}}", ".a".repeat(200))),
        expression(&format!("1{}", " + 1".repeat(200))),
        expression(&around("(", 38, "1", ")")),
        condition(&around(
            "{operator: and, operands: [",
            18,
            "{variable: $.a, operator: boolean-equals, value: true}",
            "]}",
        )),
        input(
            "{properties: {a: {$ref: '#'}, b: {items: {anyOf: [{$ref: '#/properties/a'}, {type: string}]}}}}",
        ),
    ] {
        let begin: String = text.chars().take(60).collect();
        eprintln!("{begin:?}");
        load(text).unwrap_or_else(|errors| panic!("{begin}: {errors}"));
    }
}
