//! A stack, found by its name: for an operator, who knows no names of tables and buckets.

use crate::{Aws, Clients, Config, clients::sdk_config, error::store_error};
use aws_sdk_cloudformation::{Client, error::ProvideErrorMetadata, types::Output};
use runyard_runs::{Clock, Ids, StoreError};
use std::{env, sync::Arc};

/// Which stack an operator means: its CloudFormation name, or what it is made of.
///
/// Region and credentials are those of the AWS command line: `AWS_REGION`, `AWS_PROFILE`, its files; `AWS_ENDPOINT_URL` for an
/// emulator.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stack {
    /// The name of the CloudFormation stack. Not asked for if table and bucket are given.
    pub name: Option<String>,
    /// The table, instead of the stack's output `Table`.
    pub table: Option<String>,
    /// The bucket, instead of the stack's output `Bucket`.
    pub bucket: Option<String>,
}

/// Why a stack is not found.
#[derive(Debug, thiserror::Error)]
pub enum StackError {
    /// Nothing says which.
    #[error("which stack? give --stack NAME, or --table and --bucket")]
    Unnamed,
    /// Nothing says where.
    #[error("in which AWS region? set AWS_REGION, or AWS_PROFILE to a profile with a region")]
    NoRegion,
    /// There is none of that name.
    #[error(
        "there is no stack {name} in {region}: `aws cloudformation list-stacks` names those there; AWS_REGION says where"
    )]
    NotFound {
        /// Its name.
        name: String,
        /// Where it was looked for.
        region: String,
    },
    /// It is not one of Runyard's, or its deployment never came to its end.
    #[error("the stack {name} has no output {output}: deploy it from Runyard's template.yaml first")]
    NoOutput {
        /// Its name.
        name: String,
        /// What it lacks.
        output: &'static str,
    },
    /// AWS failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Stack {
    /// The ports on it, but for the queue, which an operator does not use.
    pub async fn open(&self, clock: Arc<dyn Clock>, ids: Arc<dyn Ids>) -> Result<Aws, StackError> {
        let (table, bucket) = match (&self.table, &self.bucket, &self.name) {
            (Some(table), Some(bucket), _) => (table.clone(), bucket.clone()),
            (_, _, None) => return Err(StackError::Unnamed),
            (table, bucket, Some(name)) => {
                let outputs = outputs(name).await?;
                let of = |given: &Option<String>, output| match given {
                    Some(given) => Ok(given.clone()),
                    None => value(&outputs, output)
                        .ok_or_else(|| StackError::NoOutput { name: name.clone(), output }),
                };
                (of(table, "Table")?, of(bucket, "Bucket")?)
            }
        };
        let config = Config {
            table,
            bucket,
            queue_url: String::new(),
            app_shards: 1,
            default_app: None,
            emulator: None,
        };
        let clients = Clients::connect(None).await;
        if clients.sdk.region().is_none() {
            return Err(StackError::NoRegion);
        }
        Ok(Aws::with_clients(config, clients, clock, ids))
    }
}

async fn outputs(name: &str) -> Result<Vec<Output>, StackError> {
    let sdk = sdk_config(None).await;
    let region = sdk.region().ok_or(StackError::NoRegion)?.to_string();
    let described = Client::new(&sdk).describe_stacks().stack_name(name).send().await;
    let found = match described {
        Ok(described) => described.stacks.unwrap_or_default().pop(),
        // CloudFormation has no code of its own for this.
        Err(error) if error.code() == Some("ValidationError") => None,
        Err(error) => return Err(store_error(error).into()),
    };
    let found = found.ok_or_else(|| StackError::NotFound { name: name.to_owned(), region: place(region) })?;
    Ok(found.outputs.unwrap_or_default())
}

/// Where it was looked for, as the operator said it.
fn place(region: String) -> String {
    match env::var("AWS_PROFILE") {
        Ok(profile) => format!("{region} (profile {profile})"),
        Err(_) => region,
    }
}

fn value(outputs: &[Output], name: &str) -> Option<String> {
    outputs.iter().find(|output| output.output_key() == Some(name))?.output_value.clone()
}
