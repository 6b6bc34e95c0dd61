//! Which stack on AWS a command works on.

use crate::exit::{refused, usage};
use anyhow::Result;
use clap::Args;
use runyard_aws::{Aws, DeployError, Stack, StackError};
use runyard_runs::{SystemClock, SystemIds};
use std::sync::Arc;

/// Options that name a stack. Region and credentials are those of the AWS command line.
#[derive(Args, Clone, Debug)]
pub(crate) struct StackArgs {
    /// Work on this CloudFormation stack. `AWS_PROFILE` and `AWS_REGION` say where it is, `AWS_ENDPOINT_URL` names an emulator
    #[arg(long, value_name = "NAME", env = "RUNYARD_STACK", help_heading = "AWS")]
    pub(crate) stack: Option<String>,
    /// The `DynamoDB` table, instead of the stack's output Table
    #[arg(long, value_name = "NAME", env = "RUNYARD_TABLE", help_heading = "AWS")]
    pub(crate) table: Option<String>,
    /// The S3 bucket, instead of the stack's output Bucket
    #[arg(long, value_name = "NAME", env = "RUNYARD_BUCKET", help_heading = "AWS")]
    pub(crate) bucket: Option<String>,
}

impl StackArgs {
    /// Whether a stack is selected.
    pub(crate) fn is_given(&self) -> bool {
        self.stack.is_some() || self.table.is_some()
    }

    /// The stack or table, for messages.
    pub(crate) fn shown(&self) -> String {
        match (&self.stack, &self.table) {
            (Some(stack), _) => format!("the stack {stack}"),
            (None, Some(table)) => format!("the table {table}"),
            (None, None) => "AWS".to_owned(),
        }
    }

    /// Opens the ports on the stack.
    pub(crate) async fn open(&self) -> Result<Aws> {
        let stack =
            Stack { name: self.stack.clone(), table: self.table.clone(), bucket: self.bucket.clone() };
        match stack.open(Arc::new(SystemClock), Arc::new(SystemIds)).await {
            Err(StackError::Store(error)) => Err(error.into()),
            Err(error) => Err(usage(error.to_string())),
            Ok(aws) => Ok(aws),
        }
    }
}

/// Maps a deployment error to one with the matching exit code.
pub(super) fn deploy_error(error: DeployError) -> anyhow::Error {
    match error {
        DeployError::Store(error) => error.into(),
        DeployError::NoSuchApp { .. } | DeployError::NoSuchVersion { .. } => usage(error.to_string()),
        error => refused(error.to_string()),
    }
}
