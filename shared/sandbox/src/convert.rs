//! Conversion between JSON and Python objects.

use std::fmt::Write as _;

use rustpython_vm::{
    AsObject, PyObject, PyObjectRef, PyResult, VirtualMachine,
    builtins::{PyBaseExceptionRef, PyDict, PyFloat, PyFrozenSet, PyInt, PyList, PySet, PyStr, PyTuple},
};
use serde_json::Value;

/// Well below the nesting that JSON parsers accept (128 in `serde_json`).
const MAX_DEPTH: usize = 100;

/// Why an object cannot become JSON.
pub(crate) enum Refused {
    Why(String),
    /// Python code that ran during the conversion raised an exception.
    Raised(PyBaseExceptionRef),
}

impl From<PyBaseExceptionRef> for Refused {
    fn from(exception: PyBaseExceptionRef) -> Self {
        Self::Raised(exception)
    }
}

/// Converts `value` to a new Python object.
pub(crate) fn to_python(value: Value, vm: &VirtualMachine) -> PyResult {
    Ok(match value {
        Value::Null => vm.ctx.none(),
        Value::Bool(value) => vm.ctx.new_bool(value).into(),
        Value::Number(number) => {
            if let Some(value) = number.as_i64() {
                vm.ctx.new_int(value).into()
            } else if let Some(value) = number.as_u64() {
                vm.ctx.new_int(value).into()
            } else {
                vm.ctx.new_float(number.as_f64().unwrap_or(f64::NAN)).into()
            }
        }
        Value::String(text) => vm.ctx.new_str(text).into(),
        Value::Array(items) => {
            let items = items.into_iter().map(|it| to_python(it, vm)).collect::<PyResult<Vec<_>>>()?;
            vm.ctx.new_list(items).into()
        }
        Value::Object(members) => {
            let dict = vm.ctx.new_dict();
            for (key, value) in members {
                dict.set_item(key.as_str(), to_python(value, vm)?, vm)?;
            }
            dict.into()
        }
    })
}

/// Converts `object` to JSON text of at most `limit` bytes; `plain` is the function of `_sandbox.py` for other types.
pub(crate) fn to_json(
    object: &PyObject,
    limit: usize,
    plain: &PyObject,
    vm: &VirtualMachine,
) -> Result<String, Refused> {
    let mut writer = Writer { text: String::new(), limit, plain, vm };
    writer.value(object, 0)?;
    Ok(writer.text)
}

struct Writer<'a> {
    text: String,
    limit: usize,
    plain: &'a PyObject,
    vm: &'a VirtualMachine,
}

impl Writer<'_> {
    fn value(&mut self, object: &PyObject, depth: usize) -> Result<(), Refused> {
        let vm = self.vm;
        if depth > MAX_DEPTH {
            return Err(Refused::Why(format!("the result is nested over {MAX_DEPTH} levels deep")));
        }
        if vm.is_none(object) {
            return self.push("null");
        }
        if let Some(text) = object.downcast_ref::<PyStr>() {
            return self.string(text);
        }
        if let Some(int) = object.downcast_ref::<PyInt>() {
            return self.int(object, int);
        }
        if let Some(float) = object.downcast_ref::<PyFloat>() {
            return self.float(float.to_f64());
        }
        if let Some(list) = object.downcast_ref::<PyList>() {
            let items = list.borrow_vec().to_vec();
            return self.array(&items, depth);
        }
        if let Some(tuple) = object.downcast_ref::<PyTuple>() {
            return self.array(tuple.as_slice(), depth);
        }
        if let Some(set) = object.downcast_ref::<PySet>() {
            return self.array(&set.elements(), depth);
        }
        if let Some(set) = object.downcast_ref::<PyFrozenSet>() {
            return self.array(&set.elements(), depth);
        }
        if let Some(dict) = object.downcast_ref::<PyDict>() {
            let dict = dict.to_owned();
            let members: Vec<_> = dict.into_iter().collect();
            return self.object(&members, depth);
        }
        let plain = self.plain.call((object.to_owned(),), vm)?;
        self.value(&plain, depth + 1)
    }

    fn push(&mut self, text: &str) -> Result<(), Refused> {
        if self.text.len() + text.len() > self.limit {
            return Err(self.too_large());
        }
        self.text.push_str(text);
        Ok(())
    }

    fn too_large(&self) -> Refused {
        Refused::Why(format!("the result has more than {} bytes", self.limit))
    }

    fn string(&mut self, text: &PyStr) -> Result<(), Refused> {
        // Checked before the copy: the text may be as large as memory allows.
        if self.text.len() + text.byte_len() > self.limit {
            return Err(self.too_large());
        }
        let text = text.to_string_lossy();
        let quoted = serde_json::to_string(&text).map_err(|error| Refused::Why(error.to_string()))?;
        self.push(&quoted)
    }

    fn int(&mut self, object: &PyObject, int: &PyInt) -> Result<(), Refused> {
        if object.class().is(self.vm.ctx.types.bool_type) {
            return self.push(if object.is(&self.vm.ctx.true_value) { "true" } else { "false" });
        }
        let int = int.as_bigint();
        let mut text = String::new();
        // Larger integers are refused: formatting them takes time quadratic in their length.
        let written = if let Ok(int) = i64::try_from(int) {
            write!(text, "{int}")
        } else if let Ok(int) = u64::try_from(int) {
            write!(text, "{int}")
        } else {
            return Err(Refused::Why(
                "the result has an integer of more than 64 bits: return it as text".to_owned(),
            ));
        };
        written.map_err(|error| Refused::Why(error.to_string()))?;
        self.push(&text)
    }

    fn float(&mut self, float: f64) -> Result<(), Refused> {
        // `Value` turns NaN and infinities into null.
        self.push(&Value::from(float).to_string())
    }

    fn array(&mut self, items: &[PyObjectRef], depth: usize) -> Result<(), Refused> {
        self.push("[")?;
        for (i, item) in items.iter().enumerate() {
            if i > 0 {
                self.push(",")?;
            }
            self.value(item, depth + 1)?;
        }
        self.push("]")
    }

    fn object(&mut self, members: &[(PyObjectRef, PyObjectRef)], depth: usize) -> Result<(), Refused> {
        self.push("{")?;
        for (i, (key, value)) in members.iter().enumerate() {
            if i > 0 {
                self.push(",")?;
            }
            self.key(key)?;
            self.push(":")?;
            self.value(value, depth + 1)?;
        }
        self.push("}")
    }

    fn key(&mut self, key: &PyObject) -> Result<(), Refused> {
        if let Some(text) = key.downcast_ref::<PyStr>() {
            return self.string(text);
        }
        if self.vm.is_none(key)
            || key.downcast_ref::<PyInt>().is_some()
            || key.downcast_ref::<PyFloat>().is_some()
        {
            self.push("\"")?;
            self.value(key, 0)?;
            return self.push("\"");
        }
        Err(Refused::Why(format!("the result has a key of type {}", key.class().name())))
    }
}
