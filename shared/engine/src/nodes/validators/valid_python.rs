//! `ValidPython`: checks whether a text is Python. The sandbox parses it, but does not run it.

use super::{Check, Invalid, Registered, Validator};
use crate::{
    flow::{Call, NodeError},
    python::PythonError,
};
use async_trait::async_trait;
use serde_json::{Map, Value};
use std::time::Duration;

pub(super) const VALID_PYTHON: Registered = Registered {
    class: "validators.ValidPython",
    name: Some("validator"),
    timeout: None,
    build: |_, fields, _| Some(Validator::build(fields, ValidPython)),
};

/// Returns the syntax error of the code, if any. The flag `0x400` makes `compile` return only the syntax tree.
const PARSE: &str = "
def run(code):
    try:
        compile(code, '<code>', 'exec', 0x400)
    except SyntaxError as error:
        return error.msg
    except (TypeError, ValueError) as error:
        return str(error)
";

/// Longer than the parsing of any code that a person wrote.
const TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug)]
struct ValidPython;

#[async_trait]
impl Check for ValidPython {
    async fn check(&self, call: Call<'_>, content: &Value) -> Result<(), Invalid> {
        let Some(code) = content.as_str() else {
            return Err(Invalid::Because("only text can be Python".into()));
        };
        let input = Map::from_iter([("code".to_owned(), Value::from(code))]);
        match call.services.python.run(call.run.new_run().app, PARSE, &input, true, Some(TIMEOUT)).await {
            Ok(result) => match result.as_str() {
                Some(problem) => Err(Invalid::Because(format!("invalid Python: {problem}"))),
                None => Ok(()),
            },
            Err(PythonError::Raised(problem)) => Err(Invalid::Because(problem)),
            Err(error) => Err(Invalid::Unknown(NodeError::new("ToolExecutionException", error.to_string()))),
        }
    }
}
