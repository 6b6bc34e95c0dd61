//! `PPTXFileConverter`: extracts the texts of the shapes of presentations: a document for each file, or for each slide.

use super::{
    Converter, Converting, InputFile, Registered, TIMEOUT, archive::Archive, check_text_size, with_path,
    xml::Element,
};
use crate::{
    document::{Document, DocumentIds},
    flow::NodeError,
    load::Fields,
};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

pub(super) const PPTX_CONVERTER: Registered = Registered {
    class: "converters.PPTXFileConverter",
    name: Some("pptx-file-converter"),
    timeout: TIMEOUT,
    build: |_, fields, _| Some(Converting::boxed(PptxConverter::read(fields))),
};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct PptxConverter {
    by_slide: bool,
}

impl PptxConverter {
    pub(super) fn read(fields: Fields<'_>) -> Self {
        let modes = [("one-doc-per-file", false), ("one-doc-per-page", true)];
        Self { by_slide: fields.choice("document_creation_mode", &modes).unwrap_or(false) }
    }

    pub(super) fn by_file() -> Self {
        Self { by_slide: false }
    }
}

impl Converter for PptxConverter {
    const JOB: &'static str = "pptx";

    fn convert(&self, file: InputFile, ids: &DocumentIds) -> Result<Vec<Document>, NodeError> {
        let slides = slides(&file.bytes)?;
        let metadata = with_path(file.metadata, &file.name);
        if !self.by_slide {
            return Ok(vec![Document::new(ids.next(), slides.join("\n"), metadata)]);
        }
        let slide = |(number, text): (usize, String)| {
            let mut metadata = metadata.clone();
            metadata.insert("page_number".into(), number.into());
            Document::new(ids.next(), text, metadata)
        };
        Ok((1..).zip(slides).map(slide).collect())
    }
}

/// The text of each slide, in the order of the presentation.
fn slides(bytes: &[u8]) -> Result<Vec<String>, NodeError> {
    let mut archive = Archive::open(bytes)?;
    let mut read = |name: &str| Element::parse(&archive.main(name)?);
    let presentation = read("ppt/presentation.xml")?;
    let relations = read("ppt/_rels/presentation.xml.rels")?;
    let mut slides = Vec::new();
    let list = presentation.find("sldIdLst");
    let relations = relations.children.iter().flat_map(|root| root.all("Relationship"));
    let targets: HashMap<&str, &str> =
        relations.filter_map(|it| Some((it.attribute("Id")?, it.attribute("Target")?))).collect();
    let mut written = 0;
    for slide in list.map(|list| list.children.as_slice()).unwrap_or_default() {
        // A slide has two ids; that of the relation is the second, and begins with a letter.
        let id = slide.attributes("id").find(|id| !id.starts_with(|first: char| first.is_ascii_digit()));
        let Some(target) = id.and_then(|id| targets.get(id)) else { continue };
        let path = target.strip_prefix('/').map_or_else(|| format!("ppt/{target}"), str::to_owned);
        let text = text(&read(&path)?);
        written += text.len();
        check_text_size(written)?;
        slides.push(text);
    }
    Ok(slides)
}

/// The texts of a slide's shapes, except those in groups and tables.
fn text(slide: &Element) -> String {
    let shapes = slide.find("spTree").map(|tree| tree.children.as_slice()).unwrap_or_default();
    let bodies = shapes.iter().filter(|shape| &*shape.name == "sp").filter_map(|shape| shape.child("txBody"));
    let texts = bodies.map(|body| body.all("p").map(paragraph).collect::<Vec<_>>().join("\n"));
    texts.filter(|text| !text.is_empty()).collect::<Vec<_>>().join("\n")
}

fn paragraph(paragraph: &Element) -> String {
    let piece = |child: &Element| match &*child.name {
        "r" | "fld" => child.child("t").map_or_else(String::new, |text| text.text.clone()),
        "br" => "\u{b}".into(),
        _ => String::new(),
    };
    paragraph.children.iter().map(piece).collect()
}
