//! Transformers: nodes that bring data into another form.

mod any_to_json;
mod json_to_any;
mod sort_list;
mod text_template;
mod text_to_document;

use super::{
    Registered,
    admit::{ANY, Admission, LIST, MAPPING_OR_LIST, TEXT, TEXTS, invalid},
    mapping,
};

pub(super) const NODES: &[&Registered] = &[
    &any_to_json::ANY_TO_JSON,
    &json_to_any::JSON_TO_ANY,
    &sort_list::SORT_LIST,
    &text_template::TEXT_TEMPLATE,
    &text_to_document::TEXT_TO_DOCUMENT,
];
