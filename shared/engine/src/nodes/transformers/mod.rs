//! Transformers: nodes that convert data to another form.

mod any_to_json;
mod csv_to_list;
mod excel_to_list;
mod html_markdown_to_text;
mod json_to_any;
mod json_to_csv;
mod sort_list;
mod text_template;
mod text_to_document;

use super::{
    Registered,
    admit::{ANY, FLAG, InputCheck, LIST, MAPPING_OR_LIST, TEXT, TEXTS, invalid},
    mapping,
};
use crate::{flow::NodeError, job::RegisteredJob};
use std::fmt::Display;

pub(super) const NODES: &[&Registered] = &[
    &any_to_json::ANY_TO_JSON,
    &csv_to_list::CSV_TO_LIST,
    &excel_to_list::EXCEL_TO_LIST,
    &html_markdown_to_text::HTML_MARKDOWN_TO_TEXT,
    &json_to_any::JSON_TO_ANY,
    &json_to_csv::JSON_TO_CSV,
    &sort_list::SORT_LIST,
    &text_template::TEXT_TEMPLATE,
    &text_to_document::TEXT_TO_DOCUMENT,
];

pub(super) const JOBS: &[RegisteredJob] = &[
    RegisteredJob::of::<csv_to_list::ReadRows>(),
    RegisteredJob::of::<excel_to_list::ReadSheets>(),
    RegisteredJob::of::<html_markdown_to_text::ReadText>(),
];

/// Data of more bytes takes longer than 1 ms.
const LARGE: usize = 64 << 10;

/// The error of data that cannot be converted.
fn failed(problem: impl Display) -> NodeError {
    NodeError::new("ValueError", format!("the data cannot be transformed: {problem}"))
}
