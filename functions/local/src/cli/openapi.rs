//! `runyard openapi`: the `OpenAPI` document.

use super::output;
use crate::exit::{Exit, usage};
use anyhow::Result;
use clap::Args;
use std::{fs, path::PathBuf};

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  runyard openapi > openapi.json
  runyard openapi --check openapi.json")]
pub(crate) struct OpenapiArgs {
    /// Print nothing; exit 1 if this file differs from the document that would be printed
    #[arg(long, value_name = "FILE")]
    check: Option<PathBuf>,
}

pub(super) fn openapi(args: &OpenapiArgs) -> Result<Exit> {
    let document = runyard_http::openapi();
    let Some(file) = &args.check else {
        output::line(document.trim_end())?;
        return Ok(Exit::Done);
    };
    let found = fs::read_to_string(file)
        .map_err(|error| usage(format!("cannot read {}: {error}", file.display())))?;
    let Some((line, (was, is))) = first_difference(&found, &document) else { return Ok(Exit::Done) };
    let file = file.display();
    anstream::eprintln!(
        "{file} is not current, from line {line} on:\n  file: {was}\n  now:  {is}\nwrite it with `runyard openapi > {file}`"
    );
    Ok(Exit::Failed)
}

/// The number, from 1, of the first line that differs, and both lines. Trailing white space does not count.
fn first_difference<'a>(found: &'a str, document: &'a str) -> Option<(usize, (&'a str, &'a str))> {
    if found.trim_end() == document.trim_end() {
        return None;
    }
    let (mut found, mut document) = (found.lines(), document.lines());
    for number in 1.. {
        match (found.next(), document.next()) {
            (Some(was), Some(is)) if was == is => {}
            (None, None) => break,
            (was, is) => return Some((number, (was.unwrap_or("(end)"), is.unwrap_or("(end)")))),
        }
    }
    None
}
