#![allow(dead_code, clippy::allow_attributes, reason = "each test binary uses its part")]

use std::time::Duration;

use runyard_sandbox::{Arguments, Config, Error, Sandbox};
use serde_json::{Map, Value, json};

pub const LONG: Duration = Duration::from_secs(20);

pub fn config() -> Config {
    Config { program: Some(env!("CARGO_BIN_EXE_runyard-sandbox-child").into()), ..Config::default() }
}

pub fn sandbox() -> Sandbox {
    Sandbox::new(config())
}

pub fn input() -> Map<String, Value> {
    [("q".to_owned(), json!("hi"))].into_iter().collect()
}

pub async fn run(sandbox: &Sandbox, code: &str) -> Result<Value, Error> {
    run_for(sandbox, code, LONG).await
}

pub async fn run_for(sandbox: &Sandbox, code: &str, timeout: Duration) -> Result<Value, Error> {
    sandbox.run(code, &input(), Arguments::One, timeout).await
}

/// The error of code that must not succeed.
pub async fn one(sandbox: &Sandbox, code: &str) -> Error {
    match run(sandbox, code).await {
        Ok(value) => panic!("{code}\ngave {value}"),
        Err(error) => error,
    }
}
