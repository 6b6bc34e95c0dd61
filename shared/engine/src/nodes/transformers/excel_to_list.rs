//! `ExcelToList`: reads the rows of a workbook's sheets as mappings, by the names in the first row of each sheet.

use super::{InputCheck, Registered, TEXT, failed};
use crate::{
    flow::{Call, Halt, Kind, LIMIT_EXCEEDED, NodeError},
    job::{Job, Ready},
    nodes::{
        converters::{Cell, Sheet, read_sheets},
        files::{FILE_OR_TEXT, Files},
    },
};
use async_trait::async_trait;
use runyard_runs::MAX_OUTPUT_VALUES;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

pub(super) const EXCEL_TO_LIST: Registered = Registered {
    class: "transformers.ExcelToList",
    name: Some("excel-to-list"),
    timeout: None,
    build: |_, _, _| Some(Box::new(ExcelToList)),
};

#[derive(Debug)]
struct ExcelToList;

/// The job that reads sheets.
#[derive(Serialize, Deserialize)]
pub(super) struct ReadSheets {
    /// The only sheet to read; `None` for all.
    wanted: Option<String>,
}

impl Job for ReadSheets {
    const NAME: &'static str = "excel_to_list";

    fn perform(self, bytes: Vec<u8>) -> Result<Value, NodeError> {
        let convert =
            |error: NodeError| if error.kind == LIMIT_EXCEEDED { error } else { failed(error.message) };
        let sheets = read_sheets(&bytes).map_err(convert)?;
        let wanted = self.wanted.as_deref();
        if let Some(name) = wanted
            && !sheets.iter().any(|sheet| sheet.name == name)
        {
            return Err(failed(format!("there is no sheet `{name}`")));
        }
        let wanted = sheets.into_iter().filter(|sheet| wanted.is_none_or(|name| sheet.name == name));
        let mut content = Map::new();
        let mut cells = 0;
        for sheet in wanted {
            let rows = rows(&sheet, &mut cells)?;
            content.insert(sheet.name, rows);
        }
        Ok(content.into())
    }
}

#[async_trait]
impl Kind for ExcelToList {
    async fn execute(&self, call: Call<'_>, input: &Arc<Value>) -> Result<Arc<Value>, Halt> {
        let files = Files::of(call);
        let value = &input["value"];
        let run_file = value.as_str().and_then(|path| files.at(path));
        let size = run_file
            .map_or_else(|| files.size(value), |file| usize::try_from(file.size).unwrap_or(usize::MAX));
        let job = ReadSheets { wanted: input["sheet_name"].as_str().map(str::to_owned) };
        let ready = Ready::wait(call, job, size).await?;
        let content = match run_file {
            Some(file) => files.open(file, None).await?,
            None => files.read(value).await?,
        };
        Ok(Arc::new(json!({"content": ready.perform(content.bytes).await?})))
    }

    fn admit(&self, input: Arc<Value>) -> Result<Arc<Value>, NodeError> {
        let mut input = InputCheck::of(&input, "an ExcelToList")?;
        input.required("value", FILE_OR_TEXT)?;
        input.or("sheet_name", Value::Null, TEXT)?;
        Ok(input.done())
    }
}

/// The rows of a sheet after the first, which names the columns. If a column of numbers has a floating point number or
/// an empty cell, all its numbers become floating point numbers. Adds the number of values to `count`.
fn rows(sheet: &Sheet, count: &mut usize) -> Result<Value, NodeError> {
    let Some((first, header)) = sheet.rows.first() else { return Ok(json!([])) };
    let width = sheet.rows.iter().map(|(_, row)| row.len()).max().unwrap_or(0);
    let last = sheet.rows.last().map_or(*first, |(number, _)| *number);
    // Empty rows and cells count as well: a row is one value, a cell is two with its name.
    *count = count.saturating_add((last - first) as usize * (2 * width + 1));
    if *count > MAX_OUTPUT_VALUES {
        return Err(NodeError::limit_exceeded(format!(
            "the rows of the sheets hold more than {MAX_OUTPUT_VALUES} values, counting empty cells before others"
        )));
    }
    let names = names(header, width);
    let mut cells: Vec<Vec<Cell>> = Vec::new();
    let mut rest = sheet.rows[1..].iter().peekable();
    for number in first + 1..=last {
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
                        reason = "the file holds it as a floating point number"
                    )]
                    let number = number as f64;
                    row[column] = Cell::Float(number);
                }
            }
        }
    }
    let row = |row: &Vec<Cell>| names.iter().cloned().zip(row.iter().map(Cell::json)).collect::<Map<_, _>>();
    Ok(cells.iter().map(row).collect())
}

/// The unique names of columns: `a`, `a.1` for a second `a`, and `Unnamed: 2` for a third column without a name.
fn names(header: &[Cell], width: usize) -> Vec<String> {
    let mut names: Vec<String> = Vec::with_capacity(width);
    let mut used = HashSet::new();
    let mut suffixes: HashMap<String, usize> = HashMap::new();
    for index in 0..width {
        let name = match header.get(index).map(Cell::text).filter(|name| !name.is_empty()) {
            Some(name) => name,
            None => format!("Unnamed: {index}"),
        };
        let mut unique = name.clone();
        if used.contains(&unique) {
            // Lower suffixes are already used.
            let suffix = suffixes.entry(name.clone()).or_insert(1);
            while used.contains(&unique) {
                unique = format!("{name}.{suffix}");
                *suffix += 1;
            }
        }
        used.insert(unique.clone());
        names.push(unique);
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn makes_names_unique_in_linear_time() {
        let text = |text: &str| Cell::Text(text.to_owned());
        let header = [text("a"), text("a.1"), text("a"), text("a"), Cell::Empty];
        assert_eq!(names(&header, 6), ["a", "a.1", "a.2", "a.3", "Unnamed: 4", "Unnamed: 5"]);
        let many = names(&vec![text("a"); 16_384], 16_384);
        assert_eq!(many.last().map(String::as_str), Some("a.16383"));
    }
}
