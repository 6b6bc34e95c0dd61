//! The router as a service that the Lambda runtime calls.

use axum::{Router, body::Body, response::Response};
use bytes::Bytes;
use futures::{StreamExt, future::BoxFuture, stream};
use http_body_util::{BodyExt, Collected, Full};
use lambda_http::{Request, RequestExt, Service};
use runyard_boot::{
    Backend,
    lambda::{Opening, Time},
    traces,
};
use runyard_http::{Config, Deadline, Http};
use runyard_runs::{RunService, service::SPANS};
use std::{
    convert::Infallible,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
};
use tracing::Instrument;

/// The API as a Lambda service. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Api {
    opening: Opening,
    config: Arc<Config>,
    stands_still: bool,
    router: Arc<OnceLock<Router>>,
}

impl Api {
    /// `stands_still`: whether the platform freezes the process once it has answered.
    pub(crate) fn new(opening: Opening, config: Config, stands_still: bool) -> Self {
        Self { opening, config: Arc::new(config), stands_still, router: Arc::default() }
    }

    fn router(&self, backend: &Backend) -> Router {
        let make = || {
            backend.tick();
            runyard_http::router(Http {
                service: backend.service.clone(),
                apps: Arc::clone(&backend.apps),
                keys: Arc::clone(&backend.keys),
                files: Arc::clone(&backend.files),
                streams: Arc::clone(&backend.streams),
                clock: Arc::clone(&backend.clock),
                ids: Arc::clone(&backend.ids),
                config: Config::clone(&self.config),
            })
        };
        self.router.get_or_init(make).clone()
    }

    /// Answers once the response is complete.
    pub(crate) async fn answer_whole(self, request: Request) -> Result<Response<Full<Bytes>>, Infallible> {
        let (parts, body) = self.answer(request).await?.into_parts();
        let body = body.collect().await.map_or_else(
            |error| {
                tracing::error!(%error, "response body failed");
                Bytes::new()
            },
            Collected::to_bytes,
        );
        Ok(Response::from_parts(parts, body.into()))
    }

    async fn answer(self, mut request: Request) -> Result<Response, Infallible> {
        let backend = self.opening.backend().await;
        let mut router = self.router(&backend);
        if let Some(context) = request.lambda_context_ref() {
            let Time { hand_over_at, answer_by } = Time::of(context, backend.clock.now());
            request.extensions_mut().insert(Deadline { hand_over_at, answer_by });
        }
        let span = tracing::debug_span!(
            target: SPANS,
            "request",
            otel.kind = "server",
            http.request.method = %request.method(),
            url.path = request.uri().path(),
        );
        traces::continue_from(&span, request.headers());
        let response = router.call(request.map(Body::new)).instrument(span).await?;
        Ok(if self.stands_still { outlive(response, backend.service) } else { response })
    }
}

/// Delays the end of a response until this process executes no run and has sent its traces: the platform may freeze it
/// after that.
fn outlive(response: Response, service: RunService) -> Response {
    response.map(|body| {
        let idle = async move {
            service.idle().await;
            traces::flush().await;
        };
        let idle = stream::once(idle).filter_map(async |()| None);
        Body::from_stream(body.into_data_stream().chain(idle))
    })
}

impl Service<Request> for Api {
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        Box::pin(self.clone().answer(request))
    }
}
