//! `ValidPython`: whether a text is Python. The sandbox parses it, and runs nothing of it.

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

/// Gives what is wrong with the code, or nothing. The flag asks for the syntax tree alone.
const PARSE: &str = "
def run(code):
    try:
        compile(code, '<code>', 'exec', 0x400)
    except SyntaxError as error:
        return error.msg
    except (TypeError, ValueError) as error:
        return str(error)
";

/// More than any code takes to parse that a person wrote.
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
                Some(problem) => Err(Invalid::Because(format!("this is no Python: {problem}"))),
                None => Ok(()),
            },
            Err(PythonError::Raised(problem)) => Err(Invalid::Because(problem)),
            Err(error) => Err(Invalid::Unknown(NodeError::new("ToolExecutionException", error.to_string()))),
        }
    }
}
