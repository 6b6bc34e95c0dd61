//! `ExcelToList`: reads the rows of a workbook's sheets as mappings, by the names in the first row.

use super::{Admission, Registered, TEXT, failed};
use crate::{
    flow::{Call, Halt, Kind, NodeError},
    nodes::{
        blocking,
        converters::{Cell, Sheet, read_sheets},
        files::{FILE_OR_TEXT, Files},
    },
};
use async_trait::async_trait;
use serde_json::{Map, Value, json};
use std::sync::Arc;

pub(super) const EXCEL_TO_LIST: Registered = Registered {
    class: "transformers.ExcelToList",
    name: Some("excel-to-list"),
    timeout: None,
    build: |_, _, _| Some(Box::new(ExcelToList)),
};

#[derive(Debug)]
struct ExcelToList;

#[async_trait]
impl Kind for ExcelToList {
    async fn execute(&self, call: Call<'_>, input: &Arc<Value>) -> Result<Arc<Value>, Halt> {
        let files = Files::of(call);
        let value = &input["value"];
        let at_path = value.as_str().and_then(|path| files.at(path));
        let content = match at_path {
            Some(file) => files.open(file, None).await?,
            None => files.read(value).await?,
        };
        let sheets = blocking(move || read_sheets(&content.bytes));
        let sheets = sheets.await.map_err(|error| failed(error.message))?;
        let wanted = input["sheet_name"].as_str();
        if let Some(name) = wanted
            && !sheets.iter().any(|sheet| sheet.name == name)
        {
            return Err(failed(format!("there is no sheet `{name}`")).into());
        }
        let wanted = sheets.into_iter().filter(|sheet| wanted.is_none_or(|name| sheet.name == name));
        let content: Map<String, Value> = wanted.map(|sheet| (sheet.name.clone(), rows(&sheet))).collect();
        Ok(Arc::new(json!({"content": content})))
    }

    fn admit(&self, input: Arc<Value>) -> Result<Arc<Value>, NodeError> {
        let mut input = Admission::of(&input, "an ExcelToList")?;
        input.required("value", FILE_OR_TEXT)?;
        input.or("sheet_name", Value::Null, TEXT)?;
        Ok(input.done())
    }
}

/// The rows of a sheet after its first, which names the columns. A column of numbers with a point, or with gaps, has all
/// its numbers with a point.
fn rows(sheet: &Sheet) -> Value {
    let Some((first, header)) = sheet.rows.first() else { return json!([]) };
    let width = sheet.rows.iter().map(|(_, row)| row.len()).max().unwrap_or(0);
    let last = sheet.rows.last().map_or(*first, |(number, _)| *number);
    let names = names(header, width);
    let mut cells: Vec<Vec<Cell>> = Vec::new();
    let mut rest = sheet.rows[1..].iter().peekable();
    for number in first + 1..=last {
        // Rows that nobody wrote stand there too, with nothing in them.
        let mut row =
            rest.next_if(|(found, _)| *found == number).map(|(_, row)| row.clone()).unwrap_or_default();
        row.resize(width, Cell::Empty);
        cells.push(row);
    }
    for column in 0..width {
        let has = |wanted: fn(&Cell) -> bool| cells.iter().any(|row| wanted(&row[column]));
        let is_number = !has(|cell| !matches!(cell, Cell::Int(_) | Cell::Float(_) | Cell::Empty));
        if is_number && has(|cell| !matches!(cell, Cell::Int(_))) {
            for row in &mut cells {
                if let Cell::Int(number) = row[column] {
                    #[expect(
                        clippy::cast_precision_loss,
                        reason = "it was a floating point number in the file"
                    )]
                    let number = number as f64;
                    row[column] = Cell::Float(number);
                }
            }
        }
    }
    let row = |row: &Vec<Cell>| names.iter().cloned().zip(row.iter().map(Cell::json)).collect::<Map<_, _>>();
    cells.iter().map(row).collect()
}

/// The names of columns, each once: `a`, `a.1`, and `Unnamed: 2` for the third if it has none.
fn names(header: &[Cell], width: usize) -> Vec<String> {
    let mut names: Vec<String> = Vec::with_capacity(width);
    for place in 0..width {
        let name = match header.get(place).map(Cell::text).filter(|name| !name.is_empty()) {
            Some(name) => name,
            None => format!("Unnamed: {place}"),
        };
        let mut unique = name.clone();
        let mut suffix = 1;
        while names.contains(&unique) {
            unique = format!("{name}.{suffix}");
            suffix += 1;
        }
        names.push(unique);
    }
    names
}
