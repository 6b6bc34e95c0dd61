//! Extractors: nodes that extract a part of a list, text or file.

mod by_index;
mod by_regex;
mod file_type;

pub(super) use file_type::{FileType, detect, extension};

use super::{
    Registered,
    admit::{InputCheck, LIST, TEXT, WHOLE},
};

pub(super) const NODES: &[&Registered] =
    &[&by_index::BY_INDEX_EXTRACTOR, &by_regex::BY_REGEX_EXTRACTOR, &file_type::FILE_TYPE_EXTRACTOR];
