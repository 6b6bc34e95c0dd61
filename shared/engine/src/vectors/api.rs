//! The HTTP API of a store that is a service.

use super::StoreError;
use crate::{
    flow::Call,
    rest::{self, Answer},
};
use reqwest::Method;
use serde_json::Value;
use std::{fmt, time::Duration};

/// Where a store's API is, and what every request brings along.
#[derive(Clone)]
pub(super) struct Api {
    /// The store's name, for messages.
    pub(super) store: &'static str,
    /// What the paths of requests follow, without a slash at the end.
    pub(super) url: String,
    pub(super) headers: Vec<(&'static str, String)>,
    /// How long nothing may come.
    pub(super) silence: Duration,
}

/// Without the headers, which hold a key.
impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Api {
    /// What is answered, whatever its status.
    pub(super) async fn ask(
        &self,
        call: Call<'_>,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, StoreError> {
        let url = format!("{}{path}", self.url);
        let answer = rest::call(&call.services.http, &url, self.silence, |client, url| {
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

    /// The JSON that is answered; an answer that is an error is one.
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
        let (status, said) = (answer.status.as_u16(), answer.error_text());
        Err(StoreError::store(format!("{} answered {status}: {said}", self.store)))
    }
}
