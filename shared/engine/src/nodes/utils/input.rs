//! Input: where the run's input enters the flow. The input is checked against its schema before the run is created, not
//! here.

use super::{Pass, Registered};
use crate::{
    flow::{Call, Halt, Kind, Role},
    load::Fields,
    schema::Schema,
};
use async_trait::async_trait;
use serde_json::Value;
use std::sync::Arc;

pub(super) const INPUT: Registered = Registered {
    class: "utils.Input",
    name: Some("start"),
    timeout: None,
    build: |_, fields, _| Some(Box::new(Input { pass: Pass::read(fields), schema: schema(fields) })),
};

#[derive(Debug)]
struct Input {
    pass: Pass,
    schema: Option<Schema>,
}

fn schema(fields: Fields<'_>) -> Option<Schema> {
    let schema = fields.fields("schema")?;
    match Schema::new(&schema.yaml.to_json()) {
        Ok(compiled) => Some(compiled),
        Err(problem) => {
            schema.mistake(schema.yaml.spot, format!("this is no JSON schema: {problem}"));
            None
        }
    }
}

#[async_trait]
impl Kind for Input {
    async fn execute(&self, call: Call<'_>, input: &Arc<Value>) -> Result<Arc<Value>, Halt> {
        self.pass.apply(call, input).await
    }

    fn role(&self) -> Role<'_> {
        Role::Input(self.schema.as_ref())
    }
}
