//! Output: what it gives is the run's output. It joins branches: one that was not taken does not skip it.

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
        // What the output looks like is for editors.
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
