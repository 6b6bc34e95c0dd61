//! Extracts the text of a page: executes its operations, and separates texts by their positions.

use super::{MAX_UNPACKED_BYTES, font::Font};
use lopdf::{
    Dictionary, Document, Error, Object, ObjectId,
    content::{Content, Operation},
};
use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
};

/// Limit on the operations that are executed for one file: a form may be drawn many times.
const MAX_OPERATIONS: usize = 5_000_000;

/// Limit on the nesting of forms that draw other forms.
const MAX_FORM_DEPTH: usize = 8;

/// Why the text of a page cannot be extracted.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("{0}")]
    Pdf(#[from] Error),
    #[error("the file has more than {MAX_OPERATIONS} drawing operations")]
    TooMuch,
}

/// Reads the pages of a file.
pub(super) struct Reader<'p> {
    pdf: &'p Document,
    fonts: RefCell<HashMap<*const Dictionary, std::rc::Rc<Font<'p>>>>,
    operations: Cell<usize>,
}

/// A transformation: the `[a b c d e f]` of PDF matrices.
type Matrix = [f32; 6];

const IDENTITY: Matrix = [1.0, 0.0, 0.0, 1.0, 0.0, 0.0];

/// The transformation by `left`, then by `right`.
fn product(left: Matrix, right: Matrix) -> Matrix {
    let at = |x: f32, y: f32| [x * right[0] + y * right[2], x * right[1] + y * right[3]];
    let ([across, down], [x, y]) = ([at(left[0], left[1]), at(left[2], left[3])], at(left[4], left[5]));
    [across[0], across[1], down[0], down[1], x + right[4], y + right[5]]
}

fn translation(x: f32, y: f32) -> Matrix {
    [1.0, 0.0, 0.0, 1.0, x, y]
}

#[derive(Clone)]
struct State<'p> {
    page: Matrix,
    font: Option<std::rc::Rc<Font<'p>>>,
    size: f32,
    leading: f32,
    letter_space: f32,
}

/// The text so far.
#[derive(Default)]
struct Text {
    written: String,
    /// The position (x, y) of the end of the last piece.
    end: Option<(f32, f32)>,
    /// Whether a new line began after it.
    is_ended: bool,
}

impl<'p> Reader<'p> {
    pub(super) fn new(pdf: &'p Document) -> Self {
        Self { pdf, fonts: RefCell::default(), operations: Cell::new(0) }
    }

    pub(super) fn text(&self, page: ObjectId) -> Result<String, Unreadable> {
        let content = self.pdf.get_page_content_with_limit(page, MAX_UNPACKED_BYTES)?;
        let (inline, ids) = self.pdf.get_page_resources(page)?;
        let by_id = ids.into_iter().filter_map(|id| self.pdf.get_dictionary(id).ok());
        let resources: Vec<&Dictionary> = inline.into_iter().chain(by_id).collect();
        let mut text = Text::default();
        self.execute(&content, &resources, IDENTITY, &mut text, 0)?;
        if text.is_ended {
            text.written.push('\n');
        }
        Ok(text.written)
    }

    /// The resource of a kind and name.
    fn resource(&self, resources: &[&'p Dictionary], kind: &[u8], name: &[u8]) -> Option<&'p Object> {
        resources.iter().find_map(|resources| {
            let kind = resources.get_deref(kind, self.pdf).ok()?.as_dict().ok()?;
            kind.get_deref(name, self.pdf).ok()
        })
    }

    fn font(&self, resources: &[&'p Dictionary], name: &[u8]) -> Option<std::rc::Rc<Font<'p>>> {
        let font = self.resource(resources, b"Font", name)?.as_dict().ok()?;
        let known = self.fonts.borrow().get(&std::ptr::from_ref(font)).cloned();
        Some(known.unwrap_or_else(|| {
            let made = std::rc::Rc::new(Font::new(self.pdf, font));
            self.fonts.borrow_mut().insert(font, std::rc::Rc::clone(&made));
            made
        }))
    }

    fn execute(
        &self,
        content: &[u8],
        resources: &[&'p Dictionary],
        page: Matrix,
        text: &mut Text,
        depth: usize,
    ) -> Result<(), Unreadable> {
        let mut state = State { page, font: None, size: 0.0, leading: 0.0, letter_space: 0.0 };
        let mut saved: Vec<State<'p>> = Vec::new();
        let (mut line, mut at) = (IDENTITY, IDENTITY);
        for operation in Content::decode_iter(content) {
            self.operations.set(self.operations.get() + 1);
            if self.operations.get() > MAX_OPERATIONS {
                return Err(Unreadable::TooMuch);
            }
            // Operations after an invalid one cannot be read; those before it are kept.
            let Ok(Operation { operator, operands }) = operation else { break };
            let number = |index: usize| operands.get(index).and_then(|it| it.as_float().ok()).unwrap_or(0.0);
            match operator.as_str() {
                "q" => saved.push(state.clone()),
                "Q" => state = saved.pop().unwrap_or(state),
                "cm" => state.page = product(std::array::from_fn(number), state.page),
                "BT" => (line, at) = (IDENTITY, IDENTITY),
                "Tf" => {
                    let name = operands.first().and_then(|it| it.as_name().ok());
                    state.font = name.and_then(|name| self.font(resources, name));
                    state.size = number(1);
                }
                "TL" => state.leading = number(0),
                "Tc" => state.letter_space = number(0),
                "Tm" => {
                    line = std::array::from_fn(number);
                    at = line;
                }
                "Td" | "TD" => {
                    if operator == "TD" {
                        state.leading = -number(1);
                    }
                    line = product(translation(number(0), number(1)), line);
                    at = line;
                    text.is_ended |= number(1) != 0.0 && text.end.is_some();
                }
                "T*" | "'" | "\"" => {
                    line = product(translation(0.0, -state.leading), line);
                    at = line;
                    text.is_ended |= text.end.is_some();
                    if let Some(Object::String(bytes, _)) = operands.last() {
                        at = show(bytes, &state, at, text);
                    }
                }
                "Tj" => {
                    if let Some(Object::String(bytes, _)) = operands.first() {
                        at = show(bytes, &state, at, text);
                    }
                }
                "TJ" => {
                    for item in operands.first().and_then(|it| it.as_array().ok()).into_iter().flatten() {
                        if let Object::String(bytes, _) = item {
                            at = show(bytes, &state, at, text);
                        } else if let Ok(back) = item.as_float() {
                            at = product(translation(-back / 1000.0 * state.size, 0.0), at);
                        }
                    }
                }
                "Do" if depth < MAX_FORM_DEPTH => {
                    let name = operands.first().and_then(|it| it.as_name().ok());
                    if let Some(name) = name {
                        self.draw(name, resources, &state, text, depth)?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Executes a form, which has its own content.
    fn draw(
        &self,
        name: &[u8],
        resources: &[&'p Dictionary],
        state: &State<'p>,
        text: &mut Text,
        depth: usize,
    ) -> Result<(), Unreadable> {
        let Some(Object::Stream(form)) = self.resource(resources, b"XObject", name) else { return Ok(()) };
        if !form.dict.get(b"Subtype").and_then(Object::as_name).is_ok_and(|kind| kind == b"Form") {
            return Ok(());
        }
        let content = form.decompressed_content_with_limit(MAX_UNPACKED_BYTES)?;
        let matrix = form.dict.get(b"Matrix").and_then(Object::as_array).ok();
        let matrix = matrix
            .filter(|matrix| matrix.len() == 6)
            .map_or(IDENTITY, |matrix| std::array::from_fn(|index| matrix[index].as_float().unwrap_or(0.0)));
        let form_resources = form.dict.get_deref(b"Resources", self.pdf).and_then(Object::as_dict).ok();
        let all_resources: Vec<&Dictionary> =
            form_resources.into_iter().chain(resources.iter().copied()).collect();
        self.execute(&content, &all_resources, product(matrix, state.page), text, depth + 1)
    }
}

/// Writes a text at its position, and returns the position of the next.
fn show(bytes: &[u8], state: &State<'_>, at: Matrix, text: &mut Text) -> Matrix {
    let Some(font) = &state.font else { return at };
    let (width, letters) = font.width(bytes);
    let after = product(translation(width * state.size + letters * state.letter_space, 0.0), at);
    let (start, end) = (product(at, state.page), product(after, state.page));
    // The height of letters on the page, whatever their rotation.
    let height = (start[2].hypot(start[3]) * state.size).abs().max(0.1);
    text.write(&font.text(bytes), (start[4], start[5]), (end[4], end[5]), height);
    after
}

impl Text {
    fn write(&mut self, piece: &str, start: (f32, f32), end: (f32, f32), height: f32) {
        if piece.is_empty() {
            return;
        }
        if let Some((x, y)) = self.end {
            let is_apart = |gap: f32| gap.abs() > height * 0.2;
            if (start.1 - y).abs() > height * 0.5 {
                self.written.push('\n');
            } else if is_apart(start.0 - x)
                && !self.written.ends_with(char::is_whitespace)
                && !piece.starts_with(char::is_whitespace)
            {
                self.written.push(' ');
            }
        }
        self.written.push_str(piece);
        self.end = Some(end);
        self.is_ended = false;
    }
}
