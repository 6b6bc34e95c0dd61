//! The interpreter: warmed in the zygote, prepared for one code in a template, used once in each evaluation.

use rustpython_vm::{
    AsObject, Interpreter, PyObjectRef, PyRef, PyResult, Settings, VirtualMachine,
    builtins::{PyBaseExceptionRef, PyBytesRef, PyCode, PyDictRef, PyStr},
    compiler::Mode,
    function::{FuncArgs, KwArgs},
    gc_state::gc_state,
    scope::Scope,
};
use serde_json::{Value, value::RawValue};

use crate::{
    convert::{self, Refused},
    heap,
    wire::{Failure, Request},
};

/// The file name of user code in tracebacks.
const SOURCE: &str = "<node>";
/// Longer messages are cut: they are stored in a run's log.
const MAX_MESSAGE_BYTES: usize = 8 * 1024;

/// An interpreter that has loaded the library.
pub(crate) struct Python {
    interpreter: Interpreter,
    sandbox: Sandbox,
    /// The text of a template's code, and the compiled code.
    prepared: Option<(String, PyRef<PyCode>)>,
    rehearsal: PyRef<PyCode>,
}

/// The functions of `_sandbox.py`.
struct Sandbox {
    begin: PyObjectRef,
    plain: PyObjectRef,
    prepare: PyObjectRef,
}

/// Code with common operations, run before anything is forked. The interpreter specializes code for the types that it
/// sees and caches lookups. Done here, no evaluation repeats it, or copies the memory that it is written to.
const WARM_UP: &str = r#"
import json, re

WORDS = {"a": ["b", "c"], "d": ["e"]}


def count(words, known):
    return len([word for word in words if word in known])


def run(data):
    text = (data.get("s") or "") + " " + data["t"].lower().strip()
    words = re.findall(r"\w+", text) + re.split(r",\s*", re.sub(r"x", "y", text)) + text.split()
    found = re.search(r"(b)", text) or re.match(r"z", text)
    counts = {name: count(words, known) for name, known in WORDS.items()}
    best = max(counts, key=lambda name: counts[name])
    total = sum(n * 2 + 1.5 for n in counts.values())
    try:
        int(text)
    except ValueError as error:
        words.append(str(error))
    for i, word in enumerate(sorted(set(words))):
        if word.startswith("b") and i > 1 or not word:
            total += i / 2
    again = json.loads(json.dumps({"n": round(total, 2), "w": words[:3], "b": best == "a"}))
    return {"best": best, "line": f"{total:.2f} {best!r}", "found": found and found.group(1), **again}
"#;
/// Enough runs for the interpreter to have specialized the code.
const WARM_UP_RUNS: usize = 20;

/// The code of a rehearsal: an evaluation that has the same effects on memory as one of user code.
const REHEARSAL: &str = "def run(data):\n    return {'a': [1, 2.5, f'{data}']}\n";

impl Python {
    /// Takes tens of milliseconds.
    pub(crate) fn warm() -> Result<Self, String> {
        let mut settings = Settings::default();
        settings.isolated = true;
        settings.import_site = false;
        settings.install_signal_handlers = false;
        settings.user_site_directory = false;
        settings.write_bytecode = false;
        let builder = Interpreter::builder(settings);
        let native = rustpython_stdlib::stdlib_module_defs(&builder.ctx);
        let library = include!(concat!(env!("OUT_DIR"), "/library.rs"));
        let interpreter = builder.add_native_modules(&native).add_frozen_modules(library).build();
        let sandbox = interpreter.enter(|vm| load(vm).map_err(|exception| describe(&exception, vm)))?;
        let rehearsal = interpreter
            .enter(|vm| vm.compile(REHEARSAL, Mode::Exec, SOURCE.to_owned()))
            .map_err(|error| error.to_string())?;
        let python = Self { interpreter, sandbox, prepared: None, rehearsal };
        // First, since it clears the caches of lookups.
        python.interpreter.enter(|_| gc_state().collect_force(2));
        python.warm_up().map_err(|failure| format!("{failure:?}"))?;
        python.settle();
        Ok(python)
    }

    /// Does in advance what depends on the text of the code alone. Does not run the code.
    pub(crate) fn prepare(&mut self, code: &str) -> Result<(), ()> {
        let prepared = self.interpreter.enter(|vm| {
            let compiled = vm.compile(code, Mode::Exec, SOURCE.to_owned()).map_err(|_| ())?;
            // Errors are ignored: the evaluations will report them.
            let _ = self.sandbox.prepare.call((vm.ctx.new_str(code),), vm);
            Ok(compiled)
        })?;
        self.prepared = Some((code.to_owned(), prepared));
        self.settle();
        Ok(())
    }

    /// Makes the garbage collector ignore all present objects, so that evaluations neither scan nor copy them, and
    /// closes the gaps of the heap.
    fn settle(&self) {
        self.rehearse();
        self.interpreter.enter(|_| gc_state().freeze());
        heap::close_gaps();
    }

    /// Runs the warm-up code until the interpreter has specialized it.
    fn warm_up(&self) -> Result<(), Failure> {
        let input =
            RawValue::from_string(r#"{"s": "A b", "t": "C, d", "n": [1, 2.5, null, true]}"#.to_owned());
        let input = input.map_err(|error| Failure::Crashed(error.to_string()))?;
        self.interpreter.enter(|vm| {
            let code = vm
                .compile(WARM_UP, Mode::Exec, SOURCE.to_owned())
                .map_err(|error| Failure::Crashed(error.to_string()))?;
            for _ in 0..WARM_UP_RUNS {
                let request =
                    Request { code: WARM_UP.into(), input: &input, named: false, max_output_bytes: 1024 };
                self.run(&request, code.clone(), vm).map_err(|stopped| stopped.failure(vm))?;
            }
            Ok(())
        })
    }

    /// Returns the result of the code's `run` as JSON text. Runs user code: must not be called in the zygote.
    pub(crate) fn evaluate(&self, request: &Request<'_>) -> Result<Box<RawValue>, Failure> {
        self.interpreter.enter(|vm| {
            let code = self.compiled(&request.code, vm)?;
            self.run(request, code, vm).map_err(|stopped| stopped.failure(vm))
        })
    }

    /// Evaluates trusted code, so that the memory that every evaluation writes to is allocated or copied.
    pub(crate) fn rehearse(&self) {
        let input = RawValue::from_string("{\"a\": [1, \"b\"]}".to_owned());
        // It can fail only from lack of memory, and then the real evaluation will too.
        let _ = input.is_ok_and(|input| {
            let request =
                Request { code: REHEARSAL.into(), input: &input, named: false, max_output_bytes: 1024 };
            self.evaluate(&request).is_ok()
        });
    }

    fn run(
        &self,
        request: &Request<'_>,
        code: PyRef<PyCode>,
        vm: &VirtualMachine,
    ) -> Result<Box<RawValue>, Stopped> {
        self.sandbox.begin.call((), vm)?;
        let input: Value = serde_json::from_str(request.input.get())
            .map_err(|error| Failure::Crashed(format!("the input is not JSON: {error}")))?;
        let input = convert::to_python(input, vm)?;

        let globals = vm.ctx.new_dict();
        globals.set_item("__name__", vm.ctx.new_str("__main__").into(), vm)?;
        let scope = Scope::with_builtins(None, globals.clone(), vm);
        vm.run_code_obj(code, scope)?;
        let run = globals.get_item_opt("run", vm)?.ok_or(Failure::NoRun)?;

        let result = if request.named { run.call(named(input, vm)?, vm)? } else { run.call((input,), vm)? };
        let json = convert::to_json(&result, request.max_output_bytes, &self.sandbox.plain, vm).map_err(
            |refused| match refused {
                Refused::Why(why) => Stopped::Failure(Failure::Output(why)),
                Refused::Raised(exception) if exception.fast_isinstance(vm.ctx.exceptions.type_error) => {
                    Stopped::Failure(Failure::Output(message(&exception, vm)))
                }
                Refused::Raised(exception) => Stopped::Raised(exception),
            },
        )?;
        RawValue::from_string(json).map_err(|error| Failure::Output(error.to_string()).into())
    }

    fn compiled(&self, code: &str, vm: &VirtualMachine) -> Result<PyRef<PyCode>, Failure> {
        if let Some((prepared, compiled)) = &self.prepared {
            if code == prepared {
                return Ok(compiled.clone());
            }
            if code == REHEARSAL {
                return Ok(self.rehearsal.clone());
            }
        }
        vm.compile(code, Mode::Exec, SOURCE.to_owned()).map_err(|error| {
            let line = u32::try_from(error.location().map_or(0, |it| it.line.get())).unwrap_or_default();
            Failure::Syntax { message: cut(error.to_string()), line: Some(line).filter(|it| *it > 0) }
        })
    }
}

/// Why an evaluation ended before it had a result.
enum Stopped {
    Failure(Failure),
    Raised(PyBaseExceptionRef),
}

impl Stopped {
    fn failure(self, vm: &VirtualMachine) -> Failure {
        match self {
            Self::Failure(failure) => failure,
            Self::Raised(exception) => failure(&exception, vm),
        }
    }
}

impl From<Failure> for Stopped {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl From<PyBaseExceptionRef> for Stopped {
    fn from(exception: PyBaseExceptionRef) -> Self {
        Self::Raised(exception)
    }
}

fn load(vm: &VirtualMachine) -> PyResult<Sandbox> {
    let os = vm.import("os", 0)?;
    os.set_attr("urandom", vm.new_function("urandom", urandom), vm)?;
    let sandbox = vm.import("_sandbox", 0)?;
    let [begin, plain, prepare] = ["begin", "plain", "prepare"].map(|name| sandbox.get_attr(name, vm));
    let sandbox = Sandbox { begin: begin?, plain: plain?, prepare: prepare? };
    sandbox.begin.call((), vm)?;
    Ok(sandbox)
}

fn urandom(count: usize, vm: &VirtualMachine) -> PyResult<PyBytesRef> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(count).map_err(|error| vm.new_memory_error(error.to_string()))?;
    bytes.resize(count, 0);
    let mut filled = 0;
    while filled < count {
        filled += rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty())
            .map_err(|error| vm.new_os_error(error.to_string()))?;
    }
    Ok(vm.ctx.new_bytes(bytes))
}

fn named(input: PyObjectRef, vm: &VirtualMachine) -> PyResult<FuncArgs> {
    let input: PyDictRef =
        input.downcast().map_err(|_| vm.new_type_error("the input is not an object".to_owned()))?;
    let arguments = input
        .into_iter()
        .filter_map(|(key, value)| Some((key.downcast_ref::<PyStr>()?.to_str()?.to_owned(), value)))
        .collect::<Vec<_>>();
    Ok(FuncArgs::new(Vec::new(), KwArgs::new(arguments.into_iter().collect())))
}

fn failure(exception: &PyBaseExceptionRef, vm: &VirtualMachine) -> Failure {
    if exception.fast_isinstance(vm.ctx.exceptions.memory_error) {
        return Failure::Memory;
    }
    if exception.fast_isinstance(vm.ctx.exceptions.recursion_error) {
        return Failure::Recursion;
    }
    Failure::Raised {
        kind: cut(exception.class().name().to_string()),
        message: message(exception, vm),
        line: line(exception),
    }
}

/// Returns `str(exception)`. This may run user code; if that fails, the message is empty.
fn message(exception: &PyBaseExceptionRef, vm: &VirtualMachine) -> String {
    match exception.as_object().str(vm) {
        Ok(text) if text.byte_len() <= MAX_MESSAGE_BYTES => text.to_string_lossy().into_owned(),
        Ok(text) => cut(String::from_utf8_lossy(&text.as_bytes()[..MAX_MESSAGE_BYTES]).into_owned()),
        Err(_) => String::new(),
    }
}

/// Returns the innermost line of the user's own code: lines of the library do not help its author.
fn line(exception: &PyBaseExceptionRef) -> Option<u32> {
    let mut line = None;
    let mut next = exception.__traceback__();
    while let Some(traceback) = next {
        if traceback.frame.code.source_path().as_str() == SOURCE {
            line = u32::try_from(traceback.lineno.get()).ok();
        }
        let inner = traceback.next.lock().clone();
        next = inner;
    }
    line
}

fn describe(exception: &PyBaseExceptionRef, vm: &VirtualMachine) -> String {
    let mut text = String::new();
    match vm.write_exception(&mut text, exception) {
        Ok(()) => text,
        Err(_) => message(exception, vm),
    }
}

fn cut(mut text: String) -> String {
    if text.len() > MAX_MESSAGE_BYTES {
        text.truncate(text.floor_char_boundary(MAX_MESSAGE_BYTES));
        text.push('…');
    }
    text
}
