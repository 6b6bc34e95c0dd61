//! The interpreter: warmed in the zygote, used once in each evaluation.

use rustpython_vm::{
    AsObject, Interpreter, PyObjectRef, PyResult, Settings, VirtualMachine,
    builtins::{PyBaseExceptionRef, PyBytesRef, PyDictRef, PyStr},
    compiler::Mode,
    function::{FuncArgs, KwArgs},
    scope::Scope,
};
use serde_json::{Value, value::RawValue};

use crate::{
    convert::{self, Refused},
    wire::{Failure, Request},
};

/// What tracebacks call the user's code.
const SOURCE: &str = "<node>";
/// Longer messages are cut: they go into a log that is kept.
const MAX_MESSAGE_BYTES: usize = 8 * 1024;

/// An interpreter with the library loaded.
pub(crate) struct Python {
    interpreter: Interpreter,
    begin: PyObjectRef,
    plain: PyObjectRef,
}

impl Python {
    /// Takes some ten milliseconds.
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
        let (begin, plain) =
            interpreter.enter(|vm| load(vm).map_err(|exception| describe(&exception, vm)))?;
        let python = Self { interpreter, begin, plain };
        // Fills the interpreter's caches.
        python.rehearse();
        Ok(python)
    }

    /// The JSON text of what the code's `run` gives. Runs user code: never to be called in the zygote.
    pub(crate) fn evaluate(&self, request: &Request<'_>) -> Result<Box<RawValue>, Failure> {
        self.interpreter.enter(|vm| {
            self.run(request, vm).map_err(|refused| match refused {
                Stopped::Failure(failure) => failure,
                Stopped::Raised(exception) => failure(&exception, vm),
            })
        })
    }

    /// An evaluation of our own.
    pub(crate) fn rehearse(&self) {
        const CODE: &str = "def run(data):\n    return {'a': [1, 2.5, f'{data}']}\n";
        let input = RawValue::from_string("{\"a\": [1, \"b\"]}".to_owned());
        // It can only fail for want of memory, and then the real one will too.
        let _ = input.is_ok_and(|input| {
            let request = Request { code: CODE.into(), input: &input, named: false, max_output_bytes: 1024 };
            self.evaluate(&request).is_ok()
        });
    }

    fn run(&self, request: &Request<'_>, vm: &VirtualMachine) -> Result<Box<RawValue>, Stopped> {
        self.begin.call((), vm)?;
        let input: Value = serde_json::from_str(request.input.get())
            .map_err(|error| Failure::Crashed(format!("the input is no json: {error}")))?;
        let input = convert::to_python(input, vm)?;

        let code = vm.compile(&request.code, Mode::Exec, SOURCE.to_owned()).map_err(|error| {
            let line = u32::try_from(error.location().map_or(0, |it| it.line.get())).unwrap_or_default();
            Failure::Syntax { message: cut(error.to_string()), line: Some(line).filter(|it| *it > 0) }
        })?;
        let globals = vm.ctx.new_dict();
        globals.set_item("__name__", vm.ctx.new_str("__main__").into(), vm)?;
        let scope = Scope::with_builtins(None, globals.clone(), vm);
        vm.run_code_obj(code, scope)?;
        let run = globals.get_item_opt("run", vm)?.ok_or(Failure::NoRun)?;

        let result = if request.named { run.call(named(input, vm)?, vm)? } else { run.call((input,), vm)? };
        let json =
            convert::to_json(&result, request.max_output_bytes, &self.plain, vm).map_err(|refused| {
                match refused {
                    Refused::Why(why) => Stopped::Failure(Failure::Output(why)),
                    Refused::Raised(exception) if exception.fast_isinstance(vm.ctx.exceptions.type_error) => {
                        Stopped::Failure(Failure::Output(message(&exception, vm)))
                    }
                    Refused::Raised(exception) => Stopped::Raised(exception),
                }
            })?;
        RawValue::from_string(json).map_err(|error| Failure::Output(error.to_string()).into())
    }
}

/// Why an evaluation ended before it had a result.
enum Stopped {
    Failure(Failure),
    Raised(PyBaseExceptionRef),
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

fn load(vm: &VirtualMachine) -> PyResult<(PyObjectRef, PyObjectRef)> {
    let os = vm.import("os", 0)?;
    os.set_attr("urandom", vm.new_function("urandom", urandom), vm)?;
    let sandbox = vm.import("_sandbox", 0)?;
    let begin = sandbox.get_attr("begin", vm)?;
    begin.call((), vm)?;
    Ok((begin, sandbox.get_attr("plain", vm)?))
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
        input.downcast().map_err(|_| vm.new_type_error("the input is no object".to_owned()))?;
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

/// `str(exception)`; user code may run, and its own failure is no message.
fn message(exception: &PyBaseExceptionRef, vm: &VirtualMachine) -> String {
    match exception.as_object().str(vm) {
        Ok(text) if text.byte_len() <= MAX_MESSAGE_BYTES => text.to_string_lossy().into_owned(),
        Ok(text) => cut(String::from_utf8_lossy(&text.as_bytes()[..MAX_MESSAGE_BYTES]).into_owned()),
        Err(_) => String::new(),
    }
}

/// The innermost line of the user's own code: the library's mean nothing to them.
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
