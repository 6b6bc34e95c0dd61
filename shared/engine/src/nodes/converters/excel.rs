//! `ExcelFileConverter`: converts workbooks and CSV files: a table for each file or sheet, or a text for each row.

use super::{
    Converter, Converting, InputFile, Labels, Registered, TIMEOUT, check_text_size,
    sheets::{self, Cell, Sheet},
    with_path,
};
use crate::{
    csv::{self, Rows},
    document::{Document, DocumentIds},
    flow::NodeError,
    load::Fields,
    nodes::files::extension,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub(super) const EXCEL_CONVERTER: Registered = Registered {
    class: "converters.ExcelFileConverter",
    name: Some("excel-file-converter"),
    timeout: TIMEOUT,
    build: |_, fields, _| Some(Converting::boxed(ExcelConverter::read(fields))),
};

const WORKBOOK: &str = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet";

/// The part of a file that becomes a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Mode {
    File,
    Row,
    Sheet,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct ExcelConverter {
    workbooks: Mode,
    delimited: Mode,
}

/// The number of a row, from 1, and its cells.
type Row = (u32, Vec<String>);

impl ExcelConverter {
    pub(super) fn read(fields: Fields<'_>) -> Self {
        let modes = [
            ("one-doc-per-file", Mode::File),
            ("one-doc-per-row", Mode::Row),
            ("one-doc-per-sheet", Mode::Sheet),
        ];
        let workbooks = fields.choice("workbook_document_creation_mode", &modes).unwrap_or(Mode::File);
        let delimited = fields.choice("delimited_document_creation_mode", &modes[..2]).unwrap_or(Mode::File);
        Self { workbooks, delimited }
    }

    pub(super) fn by_file() -> Self {
        Self { workbooks: Mode::File, delimited: Mode::File }
    }

    fn of_table(
        &self,
        file: InputFile,
        delimiter: char,
        ids: &DocumentIds,
    ) -> Result<Vec<Document>, NodeError> {
        let text = String::from_utf8_lossy(&file.bytes);
        let rows = Rows::new(text.trim_start_matches('\u{feff}'), delimiter).collect::<Result<Vec<_>, _>>();
        let rows = rows
            .map_err(|error| NodeError::new("Error", format!("`{}` is not valid CSV: {error}", file.name)))?;
        let rows: Vec<Row> = (1..).zip(rows).collect();
        if self.delimited == Mode::File {
            return Ok(of_file(&table(&rows)?, file.metadata, &file.name, ids));
        }
        let mut metadata = with_path(file.metadata, &file.name);
        let kind = if delimiter == '\t' { "text/tab-separated-values" } else { "text/csv" };
        metadata.entry("content_type").or_insert_with(|| kind.into());
        metadata.entry("document_type").or_insert_with(|| "table_row".into());
        of_rows(&rows, "", &metadata, ids)
    }

    fn of_workbook(&self, file: InputFile, ids: &DocumentIds) -> Result<Vec<Document>, NodeError> {
        let sheets = sheets::read(&file.bytes)?;
        let (is_single, sheets) = (sheets.len() == 1, sheets.into_iter().map(texts));
        if self.workbooks == Mode::File {
            let mut content = String::new();
            for (name, rows) in sheets {
                let table = table(&rows)?;
                if table.is_empty() {
                    continue;
                }
                if !content.is_empty() {
                    content.push_str("\n\n");
                }
                if !is_single {
                    content.extend(["## ", &*name, "\n\n"]);
                }
                content.push_str(&table);
                check_text_size(content.len())?;
            }
            return Ok(of_file(&content, file.metadata, &file.name, ids));
        }
        let mut documents = Vec::new();
        for (name, rows) in sheets {
            let mut metadata = with_path(file.metadata.clone(), &file.name);
            metadata.insert("sheet_name".into(), name.as_str().into());
            metadata.entry("content_type").or_insert_with(|| WORKBOOK.into());
            if self.workbooks == Mode::Row {
                metadata.insert("document_type".into(), "table_row".into());
                documents.extend(of_rows(&rows, &format!("Sheet: {name}\n"), &metadata, ids)?);
                continue;
            }
            let table = table(&rows)?;
            if !table.is_empty() {
                metadata.insert("document_type".into(), "table".into());
                let count = rows.iter().filter(|(_, row)| is_not_blank(row)).count();
                metadata.insert("row_count".into(), count.saturating_sub(1).into());
                documents.push(Document::new(ids.next(), table, metadata));
            }
        }
        Ok(documents)
    }
}

impl Converter for ExcelConverter {
    const JOB: &'static str = "excel";

    fn convert(&self, file: InputFile, ids: &DocumentIds) -> Result<Vec<Document>, NodeError> {
        let name = file.name.clone();
        let extension = extension(&name);
        let delimiter = match extension.as_deref() {
            Some("csv") => Some(','),
            Some("tsv") => Some('\t'),
            Some("xlsx") => None,
            None => detect_delimiter(&file.bytes),
            Some(other) => {
                let problem =
                    format!("the name `{name}` ends with `.{other}`, but must end with .csv, .tsv or .xlsx");
                return Err(NodeError::new("ValueError", problem));
            }
        };
        let documents = match delimiter {
            Some(delimiter) => self.of_table(file, delimiter, ids)?,
            None => self.of_workbook(file, ids)?,
        };
        if documents.is_empty() {
            return Err(NodeError::new("ValueError", format!("`{name}` has no content")));
        }
        Ok(documents)
    }
}

/// The delimiter of a file without an extension, if it is a table.
fn detect_delimiter(bytes: &[u8]) -> Option<char> {
    let text = std::str::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))?;
    csv::table_delimiter(text.trim_start_matches('\u{feff}'))
}

fn texts(sheet: Sheet) -> (String, Vec<Row>) {
    let row = |(number, cells): (u32, Vec<Cell>)| (number, cells.iter().map(Cell::text).collect());
    (sheet.name, sheet.rows.into_iter().map(row).collect())
}

fn is_not_blank(row: &[String]) -> bool {
    row.iter().any(|cell| !cell.trim().is_empty())
}

fn of_file(content: &str, metadata: Map<String, Value>, name: &str, ids: &DocumentIds) -> Vec<Document> {
    let content = content.trim();
    if content.is_empty() {
        return Vec::new();
    }
    vec![Document::new(ids.next(), content.to_owned(), with_path(metadata, name))]
}

/// Makes a document of each row after the first, which names the columns.
fn of_rows(
    rows: &[Row],
    title: &str,
    metadata: &Map<String, Value>,
    ids: &DocumentIds,
) -> Result<Vec<Document>, NodeError> {
    let mut rows = rows.iter().filter(|(_, row)| is_not_blank(row));
    let Some((_, header)) = rows.next() else { return Ok(Vec::new()) };
    let mut labels = Labels::new(header);
    let mut documents = Vec::new();
    let mut text = 0;
    for (number, row) in rows {
        let Some(content) = labels.row(row)? else { continue };
        text += content.len() + title.len();
        check_text_size(text)?;
        let mut metadata = metadata.clone();
        metadata.insert("row_number".into(), (*number).into());
        documents.push(Document::new(ids.next(), format!("{title}{content}"), metadata));
    }
    Ok(documents)
}

/// Converts the rows that are not blank to a Markdown table; empty if there are none.
fn table(rows: &[Row]) -> Result<String, NodeError> {
    let rows: Vec<&Vec<String>> = rows.iter().map(|(_, row)| row).filter(|row| is_not_blank(row)).collect();
    let width = rows.iter().map(|row| row.len()).max().unwrap_or(0);
    let mut text = String::new();
    for (index, row) in rows.into_iter().enumerate() {
        if index > 0 {
            text.push('\n');
        }
        // Short rows are filled up to the width of the others.
        check_text_size(text.len() + 3 * width)?;
        let cells = (0..width).map(|column| row.get(column).map_or("", String::as_str));
        write_line(cells.map(|cell| cell.replace('|', "\\|").replace('\n', " ")), &mut text);
        if index == 0 {
            text.push('\n');
            write_line(std::iter::repeat_n("---", width), &mut text);
        }
    }
    check_text_size(text.len())?;
    Ok(text)
}

fn write_line(cells: impl Iterator<Item = impl AsRef<str>>, text: &mut String) {
    for (index, cell) in cells.enumerate() {
        text.push_str(if index == 0 { "| " } else { " | " });
        text.push_str(cell.as_ref());
    }
    text.push_str(" |");
}
