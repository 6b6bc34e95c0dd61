//! Hostile code, and native code that could run in a broken interpreter.

#![allow(clippy::unwrap_used, clippy::allow_attributes, reason = "a test may panic")]

mod common;

use std::time::{Duration, Instant};

use common::{config, one, run, run_as, run_for, sandbox};
use runyard_sandbox::{Config, Error, Sandbox};
use serde_json::json;

const SHORT: Duration = Duration::from_millis(300);

#[tokio::test]
async fn time_has_a_limit_that_code_cannot_change() {
    let sandbox = sandbox();
    sandbox.warm().await.unwrap();
    for code in [
        "def run(d):\n    while True: pass",
        "while True: pass",
        "import time\ndef run(d): time.sleep(1000)",
        "def run(d):\n    while True:\n        try:\n            while True: pass\n        except BaseException: pass",
        "import re\ndef run(d): return re.match('(a+)+$', 'a' * 64 + 'b')",
        "def run(d): return 9 ** 9 ** 9",
        "def run(d): return sum(iter(int, 1))",
        "class E(Exception):\n    def __str__(self):\n        while True: pass\ndef run(d): raise E()",
    ] {
        let start = Instant::now();
        let error = run_for(&sandbox, code, SHORT).await.unwrap_err();
        assert!(matches!(error, Error::Timeout | Error::Memory), "{code}: {error:?}");
        assert!(start.elapsed() < SHORT + Duration::from_secs(2), "{code}: {:?}", start.elapsed());
    }
    assert_eq!(run(&sandbox, "def run(d): return 1").await.unwrap(), json!(1));
}

#[tokio::test]
async fn memory_has_a_limit() {
    let sandbox = sandbox();
    for code in [
        "def run(d): return len('a' * 10 ** 10)",
        "def run(d): return len([0] * 10 ** 9)",
        "def run(d):\n    x = []\n    while True: x.append(bytes(1_000_000))",
        "def run(d):\n    x = 'a'\n    while True: x += x",
        "def run(d):\n    x = {}\n    while True: x[len(x)] = [len(x)]",
        "def run(d): return bytearray(10 ** 10)",
        "def run(d): return 1 << 10 ** 11",
    ] {
        let error = one(&sandbox, code).await;
        let expected = matches!(&error, Error::Memory)
            || matches!(&error, Error::Raised { kind, .. } if kind == "OverflowError");
        assert!(expected, "{code}: {error:?}");
    }
    // All of the limit can be used.
    let code = "def run(d): return len(bytes(50_000_000))";
    assert_eq!(run(&sandbox, code).await.unwrap(), json!(50_000_000));
}

#[tokio::test]
async fn recursion_has_a_limit() {
    let sandbox = sandbox();
    for code in [
        "def run(d): return run(d)",
        "def f(x): return [f(y) for y in [x]]\ndef run(d): return f(1)",
        "class A:\n    def __getattr__(self, n): return getattr(self, n + 'x')\ndef run(d): return A().b",
        "class A:\n    def __repr__(self): return repr([self])\n    __str__ = __repr__\ndef run(d): return str(A())",
        "def run(d):\n    x = []\n    for _ in range(100_000): x = [x]\n    return repr(x)",
        "def f(d): return f(d)\ndef run(d):\n    x = []\n    for _ in range(100_000): x = [x]\n    del x\n    return f(d)",
    ] {
        let error = one(&sandbox, code).await;
        assert!(matches!(error, Error::Recursion), "{code}: {error:?}");
    }
    // A recursion limit raised by the code itself, and the compiler's own limit.
    let source = format!("def run(d): return {}1{}", "(".repeat(100_000), ")".repeat(100_000));
    for code in [
        source.as_str(),
        "import json\ndef run(d):\n    s = json.codecs.sys\n    s.setrecursionlimit(10 ** 9)\n    return run(d)",
    ] {
        let error = one(&sandbox, code).await;
        assert!(
            matches!(error, Error::Recursion | Error::Syntax { .. } | Error::Memory | Error::Raised { .. }),
            "{error:?}"
        );
    }
    assert_eq!(
        run(&sandbox, "def f(n): return n and f(n - 1)\ndef run(d): return f(500)").await.unwrap(),
        json!(0)
    );
}

#[tokio::test]
async fn output_messages_and_input_have_limits() {
    let sandbox = Sandbox::new(Config { max_output_bytes: 1000, max_input_bytes: 5000, ..config() });
    for code in [
        "def run(d): return 'a' * 10_000",
        "def run(d): return list(range(100000))",
        "def run(d): return {str(i): i for i in range(100000)}",
        "def run(d):\n    x = [0] * 10\n    for _ in range(20): x = [x] * 10\n    return x",
    ] {
        let error = one(&sandbox, code).await;
        assert!(matches!(error, Error::Output(_)), "{code}: {error:?}");
    }
    let error = one(&sandbox, "def run(d): raise ValueError('ü' * 100_000)").await;
    assert!(error.to_string().len() < 9000, "{}", error.to_string().len());
    let error = one(&sandbox, "def run(d): raise type('K' * 100_000, (Exception,), {})").await;
    assert!(matches!(&error, Error::Raised { kind, .. } if kind.len() < 9000));
    assert!(matches!(one(&sandbox, &"#".repeat(6000)).await, Error::Input { .. }));
}

#[tokio::test]
async fn code_has_no_access_to_the_system() {
    let sandbox = sandbox();
    for module in [
        "os",
        "sys",
        "socket",
        "subprocess",
        "ctypes",
        "_ctypes",
        "posix",
        "pathlib",
        "shutil",
        "importlib",
        "threading",
        "_thread",
        "multiprocessing",
        "signal",
        "requests",
        "urllib.request",
        "http.client",
        "tempfile",
        "pickle",
        "gc",
    ] {
        let error = one(&sandbox, &format!("import {module}\ndef run(d): return 1")).await;
        assert!(
            matches!(&error, Error::Raised { kind, .. } if kind.ends_with("Error")),
            "{module}: {error:?}"
        );
    }
    let error = one(&sandbox, "import os\ndef run(d): return 1").await;
    assert_eq!(error.to_string(), "Import of 'os' is not allowed");
    for code in [
        "def run(d): return open('/etc/passwd').read()",
        "import io\ndef run(d): return io.open('/proc/self/environ').read()",
        "import io\ndef run(d): return io.FileIO('/etc/passwd').read()",
        "import io\ndef run(d): return io.FileIO(0).read()",
        "import io\ndef run(d): return io.open_code('/etc/passwd').read()",
        "def run(d): return input()",
    ] {
        let error = one(&sandbox, code).await;
        assert!(matches!(error, Error::Raised { .. }), "{code}: {error:?}");
    }
    // Bypassing the import guard yields only a stripped `os`.
    let code = "import json\ndef run(d):\n    m = json.codecs.sys.modules\n    return [len(m['os'].environ), hasattr(m['os'], 'open'), 'posix' in m, '_socket' in m]";
    assert_eq!(run(&sandbox, code).await.unwrap(), json!([0, false, false, false]));
}

#[tokio::test]
async fn nothing_is_carried_to_the_next_run() {
    let sandbox = sandbox();
    let leak = "import json, random, math, re\n\
        json.leak = 'json'\n\
        json.codecs.sys.modules['leak'] = json\n\
        __builtins__.leak = 'builtins'\n\
        __builtins__.len = lambda x: 42\n\
        def run(d):\n    global seen\n    seen = 1\n    random.seed(1)\n    math.pi = 3\n    json.dumps.__defaults__ = ()\n    return [len([]), json.leak, math.pi]";
    assert_eq!(run(&sandbox, leak).await.unwrap(), json!([42, "json", 3]));
    let look = "import json, random, math\n\
        def run(d):\n    return [len([]), hasattr(json, 'leak'), hasattr(__builtins__, 'leak'), 'seen' in globals(), \
        'leak' in json.codecs.sys.modules, math.pi > 3.1, json.dumps({})]";
    assert_eq!(run(&sandbox, look).await.unwrap(), json!([0, false, false, false, false, true, "{}"]));
    let code = "import random, uuid\ndef run(d): return [random.random(), uuid.uuid4(), uuid.uuid1().node]";
    assert_ne!(
        run(&sandbox, code).await.unwrap(),
        run(&sandbox, code).await.unwrap(),
        "the random state is repeated"
    );
}

/// Evaluated repeatedly, so that a template forks its later evaluations. Each evaluation leaves a mark in many places,
/// and reports marks of earlier ones.
const LEAK: &str = "import collections, datetime, decimal, functools, json, math, random, re, string, uuid
sys = json.codecs.sys
def f(x=[]): return x
class C: seen = []
places = {
    'builtins': vars(__builtins__) if not isinstance(__builtins__, dict) else __builtins__,
    'modules': sys.modules, 'json': vars(json), 'math': vars(math), 're': vars(re), 'sys': vars(sys),
    'patterns': re._cache, 'globals': globals(),
}
def run(d):
    mark = 'mark of an evaluation'
    found = [name for name, place in places.items() if mark in place]
    found += ['default'] if f() else []
    found += ['class'] if C.seen else []
    found += ['random'] if random.getstate()[2] is not None else []
    found += ['decimal'] if decimal.getcontext().prec != 28 else []
    found += ['interned'] if getattr(string.Formatter, 'mark', None) else []
    found += ['lru'] if cached.cache_info().currsize else []
    found += ['function'] if hasattr(run, 'mark') or hasattr(json.dumps, 'mark') else []
    found += ['constant'] if constant()[0] != [1] else []
    for place in places.values(): place[mark] = d
    f().append(1); C.seen.append(1); cached(1)
    random.gauss(0, 1)
    decimal.getcontext().prec = 5
    string.Formatter.mark = run.mark = json.dumps.mark = mark
    constant()[0].append(2)
    re.purge()
    return [found, random.random(), uuid.uuid4(), uuid.uuid1().node]
@functools.lru_cache
def cached(x): return x
def constant(): return ([1],)
";

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_carried_from_one_evaluation_of_a_code_to_the_next() {
    let sandbox = sandbox();
    let mut dice = std::collections::BTreeSet::new();
    for round in 0..6 {
        // Sequential rounds of concurrent evaluations.
        let runs = (0..=round).map(|i| {
            let sandbox = sandbox.clone();
            tokio::spawn(async move { run_as(&sandbox, i % 2, LEAK).await })
        });
        for run in runs.collect::<Vec<_>>() {
            let result = run.await.unwrap().unwrap();
            assert_eq!(result[0], json!([]), "found a mark of an earlier evaluation");
            for die in 1..4 {
                assert!(dice.insert(result[die].to_string()), "the random state is repeated: {result}");
            }
        }
    }
    let zygote = sandbox.process_id().await.unwrap();
    eventually(|| templates(zygote).len() == 2).await;
}

#[tokio::test]
async fn a_template_changes_no_answer() {
    let sandbox = sandbox();
    let slow = "(".repeat(50_000);
    for code in [
        "def run(d): return d['q']",
        "def run(d: raise",
        "raise ValueError('at the top')",
        "def run(d): return 1 / 0",
        "x = 1",
        "import os\ndef run(d): return 1",
        "import nowhere\ndef run(d): return 1",
        "import re\ndef run(d): return re.findall('(', d['q'])",
        "import re\ndef run(d): return [re.sub('(?i)H', 'x', d['q']), re.compile('I', re.I | re.M).findall(d['q'])]",
        "import re, datetime, decimal\nfrom dataclasses import dataclass\n@dataclass\nclass A:\n    x: int\n\
         def run(d): return [A(1), decimal.Decimal('1.5'), datetime.date(2024, 1, 2)]",
        "def run(d):\n    def f(): return f()\n    return f()",
        &slow,
    ] {
        let first = format!("{:?}", run(&sandbox, code).await);
        for _ in 0..3 {
            assert_eq!(format!("{:?}", run(&sandbox, code).await), first, "{:.80}", code);
        }
    }
    // The limits on memory and time hold in templates too.
    for _ in 0..3 {
        let code = "def run(d):\n    x = []\n    while True: x.append(bytes(1_000_000))";
        assert!(matches!(one(&sandbox, code).await, Error::Memory));
        let late = run_for(&sandbox, "def run(d):\n    while True: pass", SHORT).await.unwrap_err();
        assert!(matches!(late, Error::Timeout), "{late:?}");
    }
}

#[tokio::test]
async fn a_killed_template_is_replaced() {
    let sandbox = sandbox();
    let code = "def run(d): return d['q']";
    run(&sandbox, code).await.unwrap();
    let zygote = sandbox.process_id().await.unwrap();
    assert!(templates(zygote).is_empty(), "the first evaluation is the zygote's own");
    let mut seen = Vec::new();
    for _ in 0..3 {
        // The template's death may be noticed before or during an evaluation; each evaluation has a result.
        for _ in 0..4 {
            run(&sandbox, code).await.unwrap();
        }
        eventually(|| templates(zygote).len() == 1).await;
        let template = templates(zygote)[0];
        assert!(!seen.contains(&template), "it was killed");
        seen.push(template);
        kill(template);
    }
}

#[tokio::test]
async fn a_broken_interpreter_finds_a_locked_process() {
    let sandbox = sandbox();
    // The first is forked from the zygote, the others from templates.
    for _ in 0..3 {
        let calls = run(&sandbox, "probe: system_calls").await.unwrap();
        for (name, error) in calls.as_object().unwrap() {
            let expected = if name == "getpid" { 0 } else { libc::EPERM };
            assert_eq!(error, &json!(expected), "{name}");
        }
        let descriptors = run(&sandbox, "probe: descriptors").await.unwrap();
        assert_eq!(descriptors, json!([0]), "its socket and nothing else");
        assert_eq!(run(&sandbox, "probe: environment").await.unwrap(), json!(0));
        assert!(matches!(one(&sandbox, "probe: abort").await, Error::Memory));
        assert!(matches!(one(&sandbox, "probe: exit").await, Error::Crashed(_)));
        assert!(matches!(one(&sandbox, "probe: panic").await, Error::Crashed(_)));
        assert!(matches!(one(&sandbox, "probe: lie").await, Error::Crashed(_)));
    }
    assert_eq!(run(&sandbox, "def run(d): return 1").await.unwrap(), json!(1));
    // Other processes of the same user cannot read our memory.
    let hidden = rustix::process::dumpable_behavior().unwrap();
    assert_eq!(hidden, rustix::process::DumpableBehavior::NotDumpable);
}

#[tokio::test(flavor = "multi_thread")]
async fn sleeping_code_blocks_no_other_and_a_dropped_run_is_killed() {
    let sandbox = sandbox();
    sandbox.warm().await.unwrap();
    let start = Instant::now();
    let sleepers = (0..8).map(|i| {
        let sandbox = sandbox.clone();
        tokio::spawn(async move {
            let code = format!("import time\ndef run(d):\n    time.sleep(0.5)\n    return {i}");
            run(&sandbox, &code).await.unwrap()
        })
    });
    for (i, sleeper) in sleepers.collect::<Vec<_>>().into_iter().enumerate() {
        assert_eq!(sleeper.await.unwrap(), json!(i));
    }
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());

    let zygote = sandbox.process_id().await.unwrap();
    let spinning = tokio::spawn({
        let sandbox = sandbox.clone();
        async move { run(&sandbox, "def run(d):\n    while True: pass").await }
    });
    // The spinning evaluation; there is also a spare.
    eventually(|| children(zygote).iter().any(|it| state(*it) == Some('R'))).await;
    let victims = children(zygote);
    spinning.abort();
    eventually(|| !children(zygote).iter().any(|it| victims.contains(it) && state(*it) == Some('R'))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sleeping_code_of_one_app_leaves_room_for_others() {
    let sandbox = Sandbox::new(Config { max_processes: 8, ..config() });
    let sleepers: Vec<_> = (0..40)
        .map(|i| {
            let sandbox = sandbox.clone();
            let code = "import time\ndef run(d): time.sleep(600)";
            tokio::spawn(async move { run_as(&sandbox, 1 + i / 20, code).await })
        })
        .collect();
    // Two apps hold all permits that they may have, and many evaluations wait.
    eventually_async(async || {
        let Some(zygote) = sandbox.process_id().await else { return false };
        // Six evaluations, and a template of each app.
        descendants(zygote).iter().filter(|it| state(**it) == Some('S')).count() >= 8
    })
    .await;
    for app in 3..6 {
        let value = run_as(&sandbox, app, "def run(d): return d['q']").await;
        assert_eq!(value.unwrap(), json!("hi"), "app {app} gets a permit while the others sleep");
    }
    assert!(sleepers.iter().all(|it| !it.is_finished()));
    for sleeper in sleepers {
        sleeper.abort();
    }
}

#[tokio::test]
async fn a_killed_sandbox_is_restarted_and_a_dropped_one_leaves_no_process() {
    let sandbox = sandbox();
    assert_eq!(run(&sandbox, "def run(d): return 1").await.unwrap(), json!(1));
    let first = sandbox.process_id().await.unwrap();
    kill(first);
    assert_eq!(run(&sandbox, "def run(d): return 2").await.unwrap(), json!(2));
    let second = sandbox.process_id().await.unwrap();
    assert_ne!(first, second);
    // Killed during an evaluation: the evaluation is repeated.
    let code = "import time\ndef run(d):\n    time.sleep(0.3)\n    return 3";
    let (value, ()) = tokio::join!(run(&sandbox, code), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        kill(second);
    });
    assert_eq!(value.unwrap(), json!(3));
    let third = sandbox.process_id().await.unwrap();
    drop(sandbox);
    eventually(|| {
        !std::path::Path::new(&format!("/proc/{third}/exe")).is_symlink() || state(third) == Some('Z')
    })
    .await;
}

#[tokio::test]
async fn a_program_that_does_not_become_the_sandbox_is_unavailable() {
    let sandbox = Sandbox::new(Config { program: Some("/bin/true".into()), ..config() });
    assert!(matches!(one(&sandbox, "def run(d): return 1").await, Error::Unavailable(_)));
}

fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

fn children(pid: u32) -> Vec<u32> {
    // A process that is gone has none.
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    children.split_whitespace().map(|it| it.parse().unwrap()).collect()
}

/// The children that have children themselves: at least a spare.
fn templates(zygote: u32) -> Vec<u32> {
    children(zygote).into_iter().filter(|it| !children(*it).is_empty()).collect()
}

fn descendants(pid: u32) -> Vec<u32> {
    children(pid).into_iter().flat_map(|it| [vec![it], descendants(it)].concat()).collect()
}

fn state(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

async fn eventually(mut holds: impl FnMut() -> bool) {
    eventually_async(async || holds()).await;
}

async fn eventually_async(mut holds: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !holds().await {
        assert!(start.elapsed() < Duration::from_secs(5), "not within 5 s");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
