//! Calls to the HTTP API of a vector store.

use super::StoreError;
use crate::{
    flow::Call,
    http_client::{self, Answer},
};
use reqwest::Method;
use serde_json::Value;
use std::{fmt, time::Duration};

/// A store's API: its URL, and the headers of every request.
#[derive(Clone)]
pub(super) struct Api {
    /// The store's name, for error messages.
    pub(super) store: &'static str,
    /// The base URL of requests, without a slash at the end.
    pub(super) url: String,
    pub(super) headers: Vec<(&'static str, String)>,
    /// Timeout until an answer begins, and between its pieces.
    pub(super) silence: Duration,
}

/// Omits the headers, which hold a key.
impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Api {
    /// Sends a request and returns the answer, whatever its status.
    pub(super) async fn ask(
        &self,
        call: Call<'_>,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, StoreError> {
        let url = format!("{}{path}", self.url);
        let answer = http_client::call(&call.services.http, &url, self.silence, |client, url| {
            let mut request = client.request(method, url);
            for (name, value) in &self.headers {
                request = request.header(*name, value);
            }
            match body {
                Some(body) => request.json(body),
                None => request,
            }
        });
        answer.await.map_err(|failure| StoreError::store(format!("{}: {failure}", self.store)))
    }

    /// Sends a request and returns the JSON of the answer; fails unless its status is a success.
    pub(super) async fn json(
        &self,
        call: Call<'_>,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, StoreError> {
        self.done(&self.ask(call, method, path, body).await?)
    }

    pub(super) fn done(&self, answer: &Answer) -> Result<Value, StoreError> {
        if answer.status.is_success() {
            return Ok(answer.json());
        }
        let (status, text) = (answer.status.as_u16(), answer.error_text());
        Err(StoreError::store(format!("{} answered {status}: {text}", self.store)))
    }
}
