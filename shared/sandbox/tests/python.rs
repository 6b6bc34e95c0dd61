//! Python as it is written in workflows.

#![allow(clippy::unwrap_used, clippy::too_many_lines, clippy::allow_attributes, reason = "a test may panic")]

mod common;

use common::{one, run, sandbox};
use runyard_sandbox::{Arguments, Error};
use serde_json::{Value, json};

#[tokio::test]
async fn common_python_works() {
    let sandbox = sandbox();
    for (code, expected) in [
        ("def run(d): return d['q'] + '!'", json!("hi!")),
        (
            "def run(input_data): return {'content': input_data['q'].upper(), 'n': [1, 2.5, None, True]}",
            json!({"content": "HI", "n": [1, 2.5, null, true]}),
        ),
        (
            "def g(n):\n    for i in range(n):\n        yield i\ndef run(d): return sorted(g(3), key=lambda x: -x)",
            json!([2, 1, 0]),
        ),
        (
            "class A:\n    def __init__(self, x): self.x = x\nclass B(A):\n    @property\n    def y(self): return self.x + 1\n    @staticmethod\n    def z(): return 3\ndef run(d): return [B(2).y, B.z()]",
            json!([3, 3]),
        ),
        (
            "class E(ValueError): pass\ndef run(d):\n    try:\n        raise E('a')\n    except E as e:\n        return str(e)\n    finally:\n        d.clear()",
            json!("a"),
        ),
        ("def run(d):\n    match {'t': 'x', 'v': 1}:\n        case {'t': 'x', 'v': v}: return v", json!(1)),
        ("def run(d):\n    d['a'] = 1\n    del d['q']\n    return d", json!({"a": 1})),
        (
            "import contextlib\n@contextlib.contextmanager\ndef c():\n    yield 1\ndef run(d):\n    with c() as x: return x",
            json!(1),
        ),
        (
            "def run(d):\n    x = 3.14159\n    return f'{x:.2f} {x!r:>10} {1_000_000:,} ' + '%s-%d' % ('a', 3)",
            json!("3.14    3.14159 1,000,000 a-3"),
        ),
        (
            "import json\ndef run(d): return json.loads(json.dumps({'a': [1, 2.5, None, 'ü']}))",
            json!({"a": [1, 2.5, null, "ü"]}),
        ),
        (
            "import re\ndef run(d): return [re.findall(r'(\\w+)@(\\w+)', 'a@b c@d'), re.sub('a', 'b', 'aa')]",
            json!([[["a", "b"], ["c", "d"]], "bb"]),
        ),
        (
            "import datetime\ndef run(d): return [datetime.datetime(2024, 1, 2).strftime('%Y-%m-%d'), datetime.datetime.strptime('2024-01-02', '%Y-%m-%d'), datetime.timedelta(days=1)]",
            json!(["2024-01-02", "2024-01-02T00:00:00", "1 day, 0:00:00"]),
        ),
        (
            "from datetime import datetime, timezone\ndef run(d): return datetime.now(timezone.utc).year > 2020 and datetime.now().year > 2020",
            json!(true),
        ),
        (
            "import math\ndef run(d): return [math.floor(math.sqrt(17)), math.inf, math.nan]",
            json!([4, null, null]),
        ),
        (
            "import time\ndef run(d):\n    t = time.monotonic()\n    time.sleep(0.02)\n    return time.monotonic() - t >= 0.02 and time.time() > 0",
            json!(true),
        ),
        (
            "from collections import Counter, OrderedDict, defaultdict, deque, namedtuple\nP = namedtuple('P', 'x y')\ndef run(d):\n    x = defaultdict(list)\n    x['a'].append(1)\n    return [Counter('abca').most_common(1), x, deque([1]), P(1, 2), OrderedDict(a=1)]",
            json!([[["a", 2]], {"a": [1]}, [1], [1, 2], {"a": 1}]),
        ),
        (
            "import random, uuid\ndef run(d): return [0 <= random.random() < 1, len(str(uuid.uuid4())), uuid.UUID(int=1), random.choice([5])]",
            json!([true, 36, "00000000-0000-0000-0000-000000000001", 5]),
        ),
        (
            "import base64, hashlib\ndef run(d): return [base64.b64encode(b'hi').decode(), hashlib.sha256(b'x').hexdigest()[:8], hashlib.md5(b'x').hexdigest()[:4]]",
            json!(["aGk=", "2d711642", "9dd4"]),
        ),
        (
            "import statistics, itertools, functools, operator\ndef run(d): return [statistics.mean([1, 2, 3]), list(itertools.chain([1], [2])), functools.reduce(operator.add, [1, 2])]",
            json!([2, [1, 2], 3]),
        ),
        (
            "import csv, io\ndef run(d): return list(csv.reader(io.StringIO('a,b\\n1,2')))",
            json!([["a", "b"], ["1", "2"]]),
        ),
        (
            "import urllib.parse\ndef run(d): return [urllib.parse.quote('a b'), urllib.parse.urlparse('https://x/y?z=1').query]",
            json!(["a%20b", "z=1"]),
        ),
        (
            "from decimal import Decimal\nfrom fractions import Fraction\ndef run(d): return [Decimal('1.1') + 1, Fraction(1, 3)]",
            json!(["2.1", "1/3"]),
        ),
        (
            "import dataclasses, enum, typing\n@dataclasses.dataclass\nclass P:\n    x: int\n    y: typing.Optional[int] = None\nclass C(enum.Enum):\n    RED = 'red'\ndef run(d) -> typing.Dict[str, typing.Any]: return {'p': P(1), 'c': C.RED}",
            json!({"p": {"x": 1, "y": null}, "c": "red"}),
        ),
        (
            "import string, textwrap, html, copy, difflib, heapq, bisect, struct, zlib, hmac, secrets, pprint, calendar, unicodedata\ndef run(d): return [string.digits, textwrap.dedent('  a'), html.escape('<'), heapq.nsmallest(1, [3, 1]), len(secrets.token_hex(4)), calendar.monthrange(2024, 2)[1]]",
            json!(["0123456789", "a", "&lt;", [1], 8, 29]),
        ),
        ("def run(d): print('x' * 10000, end='', flush=True)", json!(null)),
        (
            "def run(d): return [b'a', b'\\xff', {1: 'x', None: 2, True: 3}, (1,), {4}, range(2), run]",
            json!(["a", "/w==", {"1": 3, "null": 2}, [1], [4], [0, 1], "func: run"]),
        ),
        (
            "async def f(): return 1\ndef run(d): return 'é'.encode('utf-8') + 'a'.encode('ascii') + 'ü'.encode('latin-1')[:0]",
            json!("éa"),
        ),
        (
            "from __future__ import annotations\nx: list[int] = []\ndef run(d):\n    global x\n    x += [(y := 2), y]\n    return x",
            json!([2, 2]),
        ),
        (
            "def run(d):\n    def f(*a, k=1, **kw): return [a, k, kw]\n    return f(1, *[2], k=3, **{'z': 4})",
            json!([[1, 2], 3, {"z": 4}]),
        ),
    ] {
        match run(&sandbox, code).await {
            Ok(value) => assert_eq!(value, expected, "{code}"),
            Err(error) => panic!("{code}\n{error:?}"),
        }
    }
}

#[tokio::test]
async fn errors_have_kind_message_and_line() {
    let sandbox = sandbox();
    let error = one(&sandbox, "def run(d): raise ValueError('x')").await;
    assert!(matches!(&error, Error::Raised { kind, line: Some(1), .. } if kind == "ValueError"), "{error:?}");
    assert_eq!(error.to_string(), "x");
    let error = one(&sandbox, "import json\ndef run(d):\n    return json.loads('{')\n").await;
    assert!(
        matches!(&error, Error::Raised { kind, line: Some(3), .. } if kind == "JSONDecodeError"),
        "{error:?}"
    );
    assert_eq!(one(&sandbox, "def run(d): return d['missing']").await.to_string(), "'missing'");
    let error = one(&sandbox, "x = 1\ndef run(d:\n").await;
    assert!(matches!(error, Error::Syntax { line: Some(2..=3), .. }), "{error:?}");
    assert!(matches!(one(&sandbox, "def main(d): pass").await, Error::NoRun));
    for code in [
        "def run(d): return object()",
        "def run(d): return (x for x in [])",
        "def run(d): return 2 ** 64",
        "def run(d): return {(1, 2): 3}",
        "def run(d):\n    x = []\n    x.append(x)\n    return x",
        "def run(d): return 1j",
    ] {
        let error = one(&sandbox, code).await;
        assert!(matches!(error, Error::Output(_)), "{code}: {error:?}");
    }
    let error = one(&sandbox, "def run(d): raise SystemExit(3)").await;
    assert!(matches!(&error, Error::Raised { kind, .. } if kind == "SystemExit"), "{error:?}");
}

#[tokio::test]
async fn input_may_come_as_named_arguments() {
    let sandbox = sandbox();
    let input = json!({"a": 1, "b": [2]});
    let Value::Object(input) = input else { unreachable!() };
    let code = "def run(a, b, c=3): return [a, b, c]";
    let value = sandbox.run(1, code, &input, Arguments::Named, common::LONG).await.unwrap();
    assert_eq!(value, json!([1, [2], 3]));
}

/// A node that only checks code compiles it in the sandbox, and does not run it.
#[tokio::test]
async fn code_is_checked_without_being_run() {
    let sandbox = sandbox();
    let check = |code: &str| {
        format!(
            "def run(d):\n    try:\n        compile({code:?}, '<code>', 'exec', 0x400)\n    except SyntaxError as error:\n        return error.msg is not None"
        )
    };
    for (code, expected) in [
        ("def f(x):\n    return x\n", json!(null)),
        ("raise ValueError('never')", json!(null)),
        ("return 5", json!(null)),
        ("def f(:", json!(true)),
        ("x =", json!(true)),
    ] {
        assert_eq!(run(&sandbox, &check(code)).await.unwrap(), expected, "{code}");
    }
}
