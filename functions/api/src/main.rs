//! `api`: the Runs API as a Lambda function, behind API Gateway (REST or HTTP API) or a function URL.
//!
//! Deployed twice, so that a thousand open streams cannot block a cancel. With `RUNYARD_ROLE=stream` it streams
//! responses, as the REST API requires; with `RUNYARD_ROLE=control` it sends complete responses, for gateways that
//! cannot stream. Both roles serve every route.

mod api;
mod config;

use api::Api;
use config::{Config, Role};
use lambda_http::service_fn;
use runyard_boot::{env::Env, lambda};

fn main() -> anyhow::Result<()> {
    runyard_boot::enter_sandbox_if_asked();
    let config = Config::from_env(&Env::of_process())?;
    let served = lambda::run(|opening| async move {
        let role = config.role;
        let api = Api::new(opening, config.http, config.stands_still);
        match role {
            Role::Stream => lambda_http::run_with_streaming_response_concurrent(api).await,
            Role::Control => {
                lambda_http::run_concurrent(service_fn(move |request| api.clone().answer_whole(request)))
                    .await
            }
        }
    });
    served.map_err(anyhow::Error::from_boxed)
}
