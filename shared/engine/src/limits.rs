//! Tests that hostile templates and expressions are stopped by counted steps and bytes, not by the clock.

use crate::{
    compute,
    expression::{Expression, Message, Mode, Scope},
    flow::NodeError,
    template::Template,
};
use serde_json::{Map, Value, json};

fn variables() -> Map<String, Value> {
    let value = json!({
        "s": "abc", "n": 1_000_000_000_i64, "l": [1, 2, 3], "d": {"k": "v"}, "text": "x ".repeat(100_000),
    });
    value.as_object().expect("a mapping").clone()
}

fn rendered(text: &str) -> Result<String, NodeError> {
    let template = Template::new(text).map_err(|problem| NodeError::new("TemplateSyntaxError", problem))?;
    compute::whole("the template", || template.render_here(&variables()))
}

fn evaluated(text: &str) -> Result<Value, NodeError> {
    let expression = Expression::new(text, Mode::Plain).expect("an expression");
    compute::whole("the expression", || {
        let variables = variables();
        let scope = Scope { input: &variables, values: Vec::new() };
        let today = jiff::civil::date(2026, 6, 1);
        let value = expression.evaluate(&scope, today).result.and_then(|value| value.json());
        value.map_err(|fault| NodeError::new(fault.kind(), fault.message()))
    })
}

#[track_caller]
fn assert_limited(text: &str, result: Result<impl std::fmt::Debug, NodeError>) {
    let error = result.expect_err(text);
    assert_eq!(error.code(), "limit_exceeded", "{text}: {error:?}");
    assert!(
        error.message.contains("4 million steps") || error.message.contains("64 MiB"),
        "{text}: {error:?}"
    );
}

#[test]
fn templates_end_within_their_budget() {
    for text in [
        "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
        "{{ s.ljust(n) }}",
        "{{ s.rjust(n) }}",
        "{{ s.center(n) }}",
        "{{ s.zfill(n) }}",
        "{{ s|center(n) }}",
        "{{ l|tojson(indent=n) }}",
        "{{ s|indent(n) }}",
        "{{ '%1000000000s'|format(s) }}",
        "{{ '{:>1000000000}'.format(s) }}",
        "{{ l|batch(n, 'x')|list }}",
        "{{ l|slice(n)|list }}",
        "{{ text|replace('', text) }}",
        "{{ text.replace('', text) }}",
        "{{ text|wordwrap(1, wrapstring=text) }}",
        "{{ text.join(range(100000)) }}",
        "{{ range(100000)|join(text) }}",
        "{% set ns = namespace(x='a') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
        "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
        "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}",
        "{% set ns = namespace(x={}) %}{% for i in range(60) %}{% set ns.x = dict(a=ns.x, b=ns.x) %}{% endfor %}",
        "{% macro m(x, n) %}{% if n %}{{ m([x, x], n - 1) }}{% else %}{{ x ~ '' }}{% endif %}{% endmacro %}{{ m([1], 60) }}",
        "{% for i in range(100000) %}{{ range(100000) }}{% endfor %}",
    ] {
        assert_limited(text, rendered(text));
    }
}

#[test]
fn templates_that_cannot_be_counted_are_refused() {
    for text in [
        "{{ 'a' * n * n }}",
        "{{ l * 2 }}",
        "{{ n * [l] ~ '' }}",
        "{{ range(n) }}",
        "{% for i in [[l]] recursive %}{{ loop([i, i]) }}{% endfor %}",
        "{{ [[1] * 100000] * 100000 ~ '' }}",
        "{{ 1000 * [l * 1000] ~ '' }}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{% set ns = namespace() %}{% set ns.n = ns %}{{ ns }}",
        "{% set ns = namespace(x=[]) %}{% for i in range(10000) %}{% set ns.x = [ns.x] %}{% endfor %}",
    ] {
        assert!(rendered(text).is_err(), "{text}");
    }
}

#[test]
fn ordinary_templates_stay_within_their_budget() {
    for (text, expected) in [
        ("{% set ns = namespace(n=0) %}{% for i in l %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}", "6"),
        (
            "{% set ns = namespace(l=[]) %}{% for i in l %}{% set ns.l = ns.l + [i] %}{% endfor %}{{ ns.l }}",
            "[1, 2, 3]",
        ),
        (
            "{% set a = s ~ '!' %}{% with b = a, c = [a, s] %}{{ b }}{{ c }}{% endwith %}",
            "abc!['abc!', 'abc']",
        ),
        ("{% macro m(a, b=2) -%} {{ a }}{{ b }}{%- endmacro %}[{{ m(1) }}]", "[12]"),
        ("{% set a, b = (1, s) %}{{ b }}{{ a }}{{ (a, b)[1] }}", "abc1abc"),
        ("{% if 2 is in [1, n] or 2 in [l[1], n] %}yes{% endif %}{{ {'a': s}.a }}", "yesabc"),
        ("{{ s.center(9, '*') }}{{ l|batch(2)|list }}{{ l|tojson }}", "***abc***[[1, 2], [3]][1, 2, 3]"),
        ("{{ l[2] * -l[1] * 2 }}{{ 'ab' * 2 }}{{ (1 + 2) * 3 ** 2|int }}", "-12abab27"),
        ("{{ undefined is defined }}{% set u = undefined %}{{ u is defined }}", "FalseFalse"),
    ] {
        assert_eq!(rendered(text).as_deref(), Ok(expected), "{text}");
    }
    let long = rendered("{% for i in range(100000) %}{{ i }},{% endfor %}").expect("within the budget");
    assert_eq!(long.len(), 588_890);
}

#[test]
fn expressions_end_within_their_budget() {
    for text in [
        "s * n",
        "s.ljust(n)",
        "s.center(n)",
        "s.zfill(n)",
        "s|center(n)",
        "s|indent(n)",
        "'%1000000000s' % s",
        "'%.1000000000f' % 1.5",
        "'%1000000000s'|format(s)",
        "text|replace('', text)",
        "text|join(text)",
        "range(100000)|join(text)",
        "l|tojson(indent=n)",
        "text[::1]|map('replace', '', text)|list",
        "range(10000)|map('string')|map('center', 100000)|list",
        "range(100000)|select('in', range(100000))|list",
        "range(20000)|map('string')|unique|list",
        "range(5000)|map('string')|map('list')|sum(start=[])",
    ] {
        assert_limited(text, evaluated(text));
    }
    for (text, expected) in [
        ("s * 3", json!("abcabcabc")),
        ("'%05.1f|%-4s|' % (2.25, s)", json!("002.2|abc |")),
        ("text[:3] ~ text[-2:]", json!("x xx ")),
        ("range(10, 0, -3)", json!([10, 7, 4, 1])),
        ("l[-1] + l[0]", json!(4)),
    ] {
        assert_eq!(evaluated(text), Ok(expected), "{text}");
    }
    // Numbers at the ends of their range do not wrap around.
    let last = "2**126 - 1 + 2**126";
    assert_eq!(evaluated(&format!("range({last} - 3, {last}, 2**126)|length")), Ok(json!(1)));
    assert!(evaluated("(-(2**126) - 2**126) // -1").is_err());
}

#[test]
fn messages_end_within_their_budget() {
    let endless = "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}";
    let message = Message::new(endless).expect("a message");
    let variables = variables();
    let scope = Scope { input: &variables, values: Vec::new() };
    let rendered_message = compute::whole("the rules", || {
        Ok(message.render(&scope, jiff::civil::date(2026, 6, 1)).unwrap_or_default())
    });
    assert_limited(endless, rendered_message);
}
