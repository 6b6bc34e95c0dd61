#![allow(dead_code, clippy::allow_attributes, reason = "each test binary uses only a part")]

use std::time::Duration;

use runyard_sandbox::{Arguments, Config, Error, Sandbox};
use serde_json::{Map, Value, json};

pub(crate) const LONG: Duration = Duration::from_mins(1);

pub(crate) fn config() -> Config {
    Config { program: Some(env!("CARGO_BIN_EXE_runyard-sandbox-child").into()), ..Config::default() }
}

pub(crate) fn sandbox() -> Sandbox {
    Sandbox::new(config())
}

pub(crate) fn input() -> Map<String, Value> {
    [("q".to_owned(), json!("hi"))].into_iter().collect()
}

pub(crate) async fn run(sandbox: &Sandbox, code: &str) -> Result<Value, Error> {
    run_for(sandbox, code, LONG).await
}

pub(crate) async fn run_as(sandbox: &Sandbox, app: u128, code: &str) -> Result<Value, Error> {
    sandbox.run(app, code, &input(), Arguments::One, LONG).await
}

pub(crate) async fn run_for(sandbox: &Sandbox, code: &str, timeout: Duration) -> Result<Value, Error> {
    sandbox.run(1, code, &input(), Arguments::One, timeout).await
}

/// The error of code that must fail.
pub(crate) async fn one(sandbox: &Sandbox, code: &str) -> Error {
    match run(sandbox, code).await {
        Ok(value) => panic!("{code}\nreturned {value}"),
        Err(error) => error,
    }
}
