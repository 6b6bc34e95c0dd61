//! `runyard files`: upload files for later runs.

use super::{args::Target, output};
use crate::{
    client::{Call, Form, Payload},
    exit::Exit,
    place,
};
use anyhow::Result;
use clap::{Args, Subcommand};
use runyard_runs::{Ids, SystemIds};
use serde_json::Value;
use std::path::PathBuf;

/// See [`super::Command::Files`].
#[derive(Debug, Subcommand)]
pub(crate) enum FilesCommand {
    /// Upload files, one request each; pass their ids as the `file_ids` of a run
    Upload(UploadArgs),
}

#[derive(Args, Debug)]
pub(crate) struct UploadArgs {
    /// The files to upload
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// The app whose runs may read them; the default app if not given
    #[arg(long, value_name = "NAME")]
    app: Option<String>,
    /// For scripts: one line of JSON per file
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

pub(super) async fn files(command: FilesCommand) -> Result<Exit> {
    let FilesCommand::Upload(args) = command;
    let place = place::open(&args.target, args.app.as_deref()).await?;
    let uploaded = upload(&place.client, &args).await;
    place.close().await;
    uploaded
}

async fn upload(client: &crate::client::Client, args: &UploadArgs) -> Result<Exit> {
    let mut rows = Vec::new();
    for path in &args.paths {
        let form = Form::new(SystemIds.random(), "file", vec![path.clone()]);
        let file = client.json(&Call::post("/v1/files", Payload::Form(form))).await?["data"].take();
        if args.json {
            output::json(&file, true)?;
        } else {
            let cell = |field: &str| match &file[field] {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            rows.push(["id", "name", "size", "mime_type"].map(cell).to_vec());
        }
    }
    if !args.json {
        output::table(&["FILE", "NAME", "BYTES", "TYPE"], &rows)?;
    }
    Ok(Exit::Done)
}
