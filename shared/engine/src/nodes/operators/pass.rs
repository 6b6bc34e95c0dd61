//! Pass: returns its input, after applying its transformers.

use super::Registered;
use crate::{
    flow::{Call, Halt, Kind},
    load::{Fields, transformer},
    transform::{Data, Transformer},
};
use async_trait::async_trait;
use serde_json::Value;
use std::sync::Arc;

pub(super) const PASS: Registered = Registered {
    class: "operators.Pass",
    name: None,
    timeout: None,
    build: |_, fields, _| Some(Box::new(Pass::read(fields))),
};

/// The common part of Pass, Input and Output.
#[derive(Debug)]
pub(in crate::nodes) struct Pass {
    transformers: Vec<Transformer>,
}

impl Pass {
    pub(in crate::nodes) fn read(fields: Fields<'_>) -> Self {
        let transformers =
            fields.items("transformers", "a transformer").into_iter().map(transformer).collect();
        Self { transformers }
    }

    pub(in crate::nodes) async fn apply(
        &self,
        call: Call<'_>,
        input: &Arc<Value>,
    ) -> Result<Arc<Value>, Halt> {
        let mut output = Arc::clone(input);
        for transformer in &self.transformers {
            output = Arc::new(transformer.compute(call.run, Data::Json(&output)).await?);
        }
        Ok(output)
    }
}

#[async_trait]
impl Kind for Pass {
    async fn execute(&self, call: Call<'_>, input: &Arc<Value>) -> Result<Arc<Value>, Halt> {
        self.apply(call, input).await
    }
}
