//! Sends spans to an OpenTelemetry collector, if `OTEL_EXPORTER_OTLP_ENDPOINT` or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` is set.
//!
//! It uses OTLP, which works with any vendor: on Lambda the collector is a layer on `http://localhost:4318` that forwards to
//! X-Ray or elsewhere. So TLS is not needed, and without a collector there is no cost. The other `OTEL_…` variables
//! (sampler, service name, resource, timeouts) have their standard meaning.

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use opentelemetry::{propagation::TextMapPropagator, trace::TracerProvider};
use opentelemetry_http::{HeaderExtractor, HttpClient, HttpError};
use opentelemetry_otlp::{SpanExporter, WithHttpConfig};
use opentelemetry_sdk::{Resource, propagation::TraceContextPropagator, trace::SdkTracerProvider};
use runyard_runs::service::SPANS;
use std::sync::OnceLock;
use tokio::{runtime::Handle, task::spawn_blocking};
use tracing::{Level, Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::{Layer, filter::Targets, registry::LookupSpan};

static PROVIDER: OnceLock<SdkTracerProvider> = OnceLock::new();

/// Makes `span` a child of the one in the `traceparent` header of a request.
pub fn continue_from(span: &Span, headers: &HeaderMap) {
    if PROVIDER.get().is_some() {
        let caller = TraceContextPropagator::new().extract(&HeaderExtractor(headers));
        let _ = span.set_parent(caller);
    }
}

/// Sends pending spans. Call it before the process may be suspended.
pub async fn flush() {
    if let Some(provider) = PROVIDER.get() {
        match spawn_blocking(|| provider.force_flush()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "spans not delivered"),
            Err(error) => tracing::warn!(%error, "spans not delivered"),
        }
    }
}

/// Returns a layer that sends spans, if a collector is set. Must be called inside a tokio runtime.
pub(crate) fn layer<S: Subscriber + for<'a> LookupSpan<'a>>() -> Option<impl Layer<S>> {
    let variables = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];
    if !variables.iter().any(|name| std::env::var_os(name).is_some_and(|url| !url.is_empty())) {
        return None;
    }
    let collector =
        Collector { client: Client::builder(TokioExecutor::new()).build_http(), runtime: Handle::current() };
    let exporter = match SpanExporter::builder().with_http().with_http_client(collector).build() {
        Ok(exporter) => exporter,
        Err(error) => {
            // The subscriber that would log it does not exist yet.
            eprintln!("spans cannot be sent: {error}");
            return None;
        }
    };
    let mut resource = Resource::builder();
    if let (Err(_), Ok(function)) =
        (std::env::var("OTEL_SERVICE_NAME"), std::env::var("AWS_LAMBDA_FUNCTION_NAME"))
    {
        resource = resource.with_service_name(function);
    }
    let provider =
        SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource.build()).build();
    let tracer = PROVIDER.get_or_init(|| provider).tracer("runyard");
    let spans = tracing_opentelemetry::layer().with_tracer(tracer).with_location(false).with_threads(false);
    Some(spans.with_filter(Targets::new().with_target(SPANS, Level::DEBUG)))
}

/// A collector, reached without TLS.
#[derive(Debug)]
struct Collector {
    client: Client<HttpConnector, Full<Bytes>>,
    runtime: Handle,
}

#[async_trait::async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        // The exporter's thread has no runtime.
        let answer = self.runtime.spawn(async move {
            let (parts, body) = client.request(request.map(Full::from)).await?.into_parts();
            Ok::<_, HttpError>(Response::from_parts(parts, body.collect().await?.to_bytes()))
        });
        answer.await?
    }
}
