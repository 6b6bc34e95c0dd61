//! The `OpenAPI` document of this API, generated from the routes and their types.

use crate::{error, routes, wire};
use utoipa::{
    Modify, OpenApi,
    openapi::{
        Header, ObjectBuilder, OpenApi as Document, RefOr, Type,
        path::Operation,
        security::{Http, HttpAuthScheme, SecurityScheme},
    },
};

/// Returns the `OpenAPI` 3.1 document of this API, as pretty-printed JSON with a final line break.
pub fn openapi() -> String {
    let mut text = Api::openapi().to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Runs API",
        description = "Runs of AI workflows. A run is one execution of an app; the request's host name selects the app.

Success is `{\"data\": …}`, with `pagination` for lists, or `{\"message\": …}`. A refused request is answered with `{\"error\": {\"code\", \"message\", \"details\", \"request_id\"}}`. Fields without a value are omitted. Times are RFC 3339 in UTC, ids are UUIDs. JSON bodies have at most 4 MiB and 100 levels of nesting, multipart requests at most 128 MiB. Unknown routes are 404, other methods 405 with `Allow`.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    servers((url = "/", description = "The host of the app.")),
    tags(
        (name = "runs", description = "Create and follow runs, and answer their questions."),
        (name = "files", description = "Files that runs read."),
        (name = "server", description = "The server itself. No key, no app."),
    ),
    paths(
        routes::create_run::handle,
        routes::list_runs::handle,
        routes::get_run::handle,
        routes::cancel_run::handle,
        routes::answer_run::handle,
        routes::retry_run::handle,
        routes::run_events::handle,
        routes::stream_run::handle,
        routes::create_file::handle,
        routes::openapi::handle,
        routes::health::live,
        routes::health::ready,
    ),
    components(
        schemas(wire::RunEvent, error::ErrorResponse),
        responses(
            error::BadRequest,
            error::Unauthorized,
            error::Forbidden,
            error::NotFound,
            error::RequestTimeout,
            error::Conflict,
            error::PayloadTooLarge,
            error::UnsupportedMediaType,
            error::TooManyRequests,
            error::InternalServerError,
            error::ServiceUnavailable,
        ),
    ),
    security(("access_key" = [])),
    modifiers(&AccessKey, &RequestId),
)]
struct Api;

/// Adds the security scheme, and the operations that need no key on a public app.
struct AccessKey;

impl Modify for AccessKey {
    fn modify(&self, document: &mut Document) {
        let mut scheme = Http::new(HttpAuthScheme::Bearer);
        scheme.bearer_format = Some("ry_<16 hex digits>_<64 hex digits>".to_owned());
        scheme.description = Some(
            "An access key of an organization or of one project. If an app is public, a run can be created, and followed \
             by its id, without a key; lists and uploads still need one."
                .to_owned(),
        );
        if let Some(components) = &mut document.components {
            components.add_security_scheme("access_key", SecurityScheme::Http(scheme));
        }
        // These need no key if the app is public.
        for (path, method) in [
            ("/v1/runs", "post"),
            ("/v1/runs/{run_id}", "get"),
            ("/v1/runs/{run_id}/cancel", "post"),
            ("/v1/runs/{run_id}/input", "post"),
            ("/v1/runs/{run_id}/events", "get"),
            ("/v1/runs/{run_id}/stream", "get"),
        ] {
            let Some(item) = document.paths.paths.get_mut(path) else { continue };
            let operation = if method == "get" { &mut item.get } else { &mut item.post };
            if let Some(operation) = operation {
                let key = utoipa::openapi::SecurityRequirement::new("access_key", Vec::<String>::new());
                operation.security = Some(vec![key, utoipa::openapi::SecurityRequirement::default()]);
            }
        }
    }
}

/// Adds `x-request-id` to every response.
struct RequestId;

impl Modify for RequestId {
    fn modify(&self, document: &mut Document) {
        let header = || {
            let mut header = Header::new(ObjectBuilder::new().schema_type(Type::String).build());
            header.description =
                Some("The request's own `x-request-id` if it has 1 to 128 visible ASCII characters, else a new one.".to_owned());
            header
        };
        let operations = document
            .paths
            .paths
            .values_mut()
            .flat_map(|item| [&mut item.get, &mut item.post])
            .filter_map(Option::as_mut);
        let of_operations =
            operations.flat_map(|Operation { responses, .. }| responses.responses.values_mut());
        let components =
            document.components.iter_mut().flat_map(|components| components.responses.values_mut());
        for response in of_operations.chain(components) {
            if let RefOr::T(response) = response {
                response.headers.insert("x-request-id".to_owned(), header().into());
            }
        }
    }
}
