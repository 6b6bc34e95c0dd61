//! Output: its output is the run's output. It joins branches: a branch that was not taken does not skip it.

use super::{Pass, Registered};
use crate::flow::{Call, Halt, Kind, Role};
use async_trait::async_trait;
use serde_json::Value;
use std::sync::Arc;

pub(super) const OUTPUT: Registered = Registered {
    class: "utils.Output",
    name: Some("end"),
    timeout: None,
    build: |_, fields, _| {
        // The schema of the output is for editors only.
        fields.know(&["schema"]);
        Some(Box::new(Output(Pass::read(fields))))
    },
};

#[derive(Debug)]
struct Output(Pass);

#[async_trait]
impl Kind for Output {
    async fn execute(&self, call: Call<'_>, input: &Arc<Value>) -> Result<Arc<Value>, Halt> {
        self.0.apply(call, input).await
    }

    fn role(&self) -> Role<'_> {
        Role::Output
    }
}
