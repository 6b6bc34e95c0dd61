//! How data gets from one node to the next: transformers, compiled once for each version of an app.

mod find;
mod path;
mod pointer;
mod selector;

use find::FindError;
pub(crate) use find::is_falsy;
pub(crate) use pointer::Pointer;
pub(crate) use selector::{Selector, is_rooted};

use crate::flow::{NodeError, Source};
use serde_json::Value;
use std::borrow::Cow;

/// What a transformer reads: plain JSON, or a node's source, which is never built as a whole if that can be avoided.
#[derive(Clone, Copy)]
pub(crate) enum Data<'a> {
    Json(&'a Value),
    Source(&'a Source<'a>),
}

/// `input_transformer` or `output_transformer`: first `path`, then `selector`.
#[derive(Debug, Default)]
pub(crate) struct Transformer {
    pub(crate) path: Option<Pointer>,
    pub(crate) selector: Option<Selector>,
}

impl Transformer {
    /// Whether it gives back what it is given.
    pub(crate) fn is_identity(&self) -> bool {
        self.path.is_none() && self.selector.is_none()
    }

    pub(crate) fn apply(&self, data: Data<'_>) -> Result<Value, NodeError> {
        let Some(path) = &self.path else {
            return match &self.selector {
                Some(selector) => selector.apply(data),
                None => Ok(data.to_json()),
            };
        };
        let picked = path.filter(data)?;
        match &self.selector {
            Some(selector) => selector.apply(Data::Json(&picked)),
            None => Ok(picked.into_owned()),
        }
    }
}

impl<'a> Data<'a> {
    fn to_json(self) -> Value {
        self.whole().into_owned()
    }

    fn whole(self) -> Cow<'a, Value> {
        match self {
            Self::Json(value) => Cow::Borrowed(value),
            Self::Source(source) => Cow::Owned(source.with_inputs()),
        }
    }
}
