//! `SortList`: sorts a list of values, or of mappings by a field.

use super::{InputCheck, LIST, Registered, TEXT};
use crate::{
    compute,
    condition::{Comparison, compare},
    flow::{Call, Halt, Kind, NodeError},
    load::Fields,
};
use async_trait::async_trait;
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) const SORT_LIST: Registered = Registered {
    class: "transformers.SortList",
    name: Some("sort-list"),
    timeout: None,
    build: |_, fields, _| Some(Box::new(SortList::read(fields))),
};

/// A list of more items takes longer than 1 ms.
const MANY_ITEMS: usize = 1_000;

#[derive(Debug)]
struct SortList {
    descending: bool,
}

impl SortList {
    fn read(fields: Fields<'_>) -> Self {
        Self { descending: fields.choice("sort_by", &[("ASC", false), ("DESC", true)]).unwrap_or(true) }
    }

    fn sort(&self, items: &[Value], field: Option<&str>) -> Result<Vec<Value>, NodeError> {
        let key = |item: &Value| match field {
            Some(field) => item.get(field).cloned().unwrap_or(Value::Null),
            None => item.clone(),
        };
        let keys: Vec<Value> = items.iter().map(key).collect();
        let precedes = |left: &usize, right: &usize| {
            let (left, right) = if self.descending { (right, left) } else { (left, right) };
            compare(Comparison::Less, &keys[*left], &keys[*right])
        };
        let sorted = sort(&(0..items.len()).collect::<Vec<_>>(), &precedes)?;
        Ok(sorted.into_iter().map(|index| items[index].clone()).collect())
    }
}

/// A stable sort with a comparison that may fail, which the standard library does not support.
fn sort<T: Copy, E>(items: &[T], precedes: &impl Fn(&T, &T) -> Result<bool, E>) -> Result<Vec<T>, E> {
    if items.len() < 2 {
        return Ok(items.to_vec());
    }
    let (left, right) = items.split_at(items.len() / 2);
    let (left, right) = (sort(left, precedes)?, sort(right, precedes)?);
    let mut sorted = Vec::with_capacity(items.len());
    let mut left = left.into_iter().peekable();
    for item in right {
        while let Some(other) = left.peek()
            && !precedes(&item, other)?
        {
            sorted.extend(left.next());
        }
        sorted.push(item);
    }
    sorted.extend(left);
    Ok(sorted)
}

#[async_trait]
impl Kind for SortList {
    async fn execute(&self, _: Call<'_>, input: &Arc<Value>) -> Result<Arc<Value>, Halt> {
        let items = input["input"].as_array().map(Vec::as_slice).unwrap_or_default();
        let field = input["field"].as_str().filter(|field| !field.is_empty());
        let sorted = compute::block_if(items.len() > MANY_ITEMS, || self.sort(items, field))
            .map_err(|error| NodeError::new("ValueError", error.message))?;
        Ok(Arc::new(json!({"output": sorted})))
    }

    fn admit(&self, input: Arc<Value>) -> Result<Arc<Value>, NodeError> {
        let mut input = InputCheck::of(&input, "a SortList")?;
        input.required("input", LIST)?;
        input.optional("field", TEXT)?;
        Ok(input.done())
    }
}
