//! Finds a stack by its name, for operators who do not know the names of its table and bucket.

use crate::{Aws, Clients, Config, clients::sdk_config, error::store_error};
use aws_sdk_cloudformation::{Client, error::ProvideErrorMetadata, types::Output};
use runyard_runs::{Clock, Ids, StoreError};
use std::{env, sync::Arc};

/// Identifies a stack: by its CloudFormation name, or by its table and bucket.
///
/// Region and credentials are those of the AWS command line: `AWS_REGION`, `AWS_PROFILE`, its files;
/// `AWS_ENDPOINT_URL` for an emulator.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stack {
    /// The name of the CloudFormation stack. Not used if table and bucket are given.
    pub name: Option<String>,
    /// The table, instead of the stack's output `Table`.
    pub table: Option<String>,
    /// The bucket, instead of the stack's output `Bucket`.
    pub bucket: Option<String>,
}

/// Why a stack is not found.
#[derive(Debug, thiserror::Error)]
pub enum StackError {
    /// Neither a name nor both table and bucket are given.
    #[error("no stack is given: give --stack NAME, or --table and --bucket")]
    Unnamed,
    /// No AWS region is configured.
    #[error("no AWS region is set: set AWS_REGION, or AWS_PROFILE to a profile with a region")]
    NoRegion,
    /// The region has no stack of this name.
    #[error(
        "there is no stack {name} in {region}: list the stacks with `aws cloudformation list-stacks`, or set AWS_REGION"
    )]
    NotFound {
        /// Its name.
        name: String,
        /// The region, and the profile if `AWS_PROFILE` is set.
        region: String,
    },
    /// It is not a Runyard stack, or its deployment did not finish.
    #[error("the stack {name} has no output {output}: deploy it from Runyard's template.yaml first")]
    NoOutput {
        /// Its name.
        name: String,
        /// The missing output.
        output: &'static str,
    },
    /// AWS failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Stack {
    /// Returns the ports on this stack. The queue is not usable: operators do not need it.
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
        // CloudFormation has no dedicated error code for a missing stack.
        Err(error) if error.code() == Some("ValidationError") => None,
        Err(error) => return Err(store_error(error).into()),
    };
    let found =
        found.ok_or_else(|| StackError::NotFound { name: name.to_owned(), region: with_profile(region) })?;
    Ok(found.outputs.unwrap_or_default())
}

/// The region, with the profile that selects it.
fn with_profile(region: String) -> String {
    match env::var("AWS_PROFILE") {
        Ok(profile) => format!("{region} (profile {profile})"),
        Err(_) => region,
    }
}

fn value(outputs: &[Output], name: &str) -> Option<String> {
    outputs.iter().find(|output| output.output_key() == Some(name))?.output_value.clone()
}
