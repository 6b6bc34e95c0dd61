//! Transformers: nodes that bring data into another form.

mod text_template;

use super::{Registered, mapping};

pub(super) const NODES: &[&Registered] = &[&text_template::TEXT_TEMPLATE];
