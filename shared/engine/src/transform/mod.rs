//! Transformers, which pass data from one node to the next. Compiled once for each version of an app.

mod find;
mod path;
mod pointer;
mod selector;

use find::FindError;
pub(crate) use find::is_falsy;
pub(crate) use pointer::CompiledPath;
pub(crate) use selector::{Selector, is_rooted};

use crate::{
    compute,
    flow::{NodeError, Source},
};
use runyard_runs::RunContext;
use serde_json::Value;
use std::{borrow::Cow, sync::Arc};

/// The data that a transformer reads: plain JSON, or a node's source, which is built as a whole only if necessary.
#[derive(Clone, Copy)]
pub(crate) enum Data<'a> {
    Json(&'a Value),
    Source(&'a Source<'a>),
}

/// `input_transformer` or `output_transformer`: first `path`, then `selector`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Transformer {
    pub(crate) path: Option<Arc<CompiledPath>>,
    pub(crate) selector: Option<Arc<Selector>>,
}

impl Transformer {
    /// Whether it returns its input unchanged.
    pub(crate) fn is_identity(&self) -> bool {
        self.path.is_none() && self.selector.is_none()
    }

    /// [`Transformer::apply`] within the limits of a computation.
    pub(crate) async fn compute(&self, run: &RunContext, data: Data<'_>) -> Result<Value, NodeError> {
        let here = || self.apply(data);
        let away = || {
            let (transformer, value) = (self.clone(), data.to_json());
            move || transformer.apply(Data::Json(&value))
        };
        compute::run(run, "a path or selector", here, away).await
    }

    pub(crate) fn apply(&self, data: Data<'_>) -> Result<Value, NodeError> {
        let Some(path) = &self.path else {
            return match &self.selector {
                Some(selector) => selector.apply(data),
                None => Ok(data.to_json()),
            };
        };
        let selected = path.filter(data)?;
        match &self.selector {
            Some(selector) => selector.apply(Data::Json(&selected)),
            None => Ok(selected.into_owned()),
        }
    }
}

impl<'a> Data<'a> {
    fn to_json(self) -> Value {
        self.whole().into_owned()
    }

    /// The whole data. Charged for before it is built.
    fn counted(self) -> Result<Cow<'a, Value>, FindError> {
        if let Self::Source(source) = self {
            source.walk().map_err(|_| FindError::stopped())?;
        }
        Ok(self.whole())
    }

    fn whole(self) -> Cow<'a, Value> {
        match self {
            Self::Json(value) => Cow::Borrowed(value),
            Self::Source(source) => Cow::Owned(source.with_inputs()),
        }
    }
}
