//! Following a run to its end, across lost connections.

use super::{Call, Client, Refused, Response, sse};
use anyhow::{Context, Result, anyhow};
use futures::{Stream, StreamExt, stream};
use serde_json::Value;
use std::{collections::VecDeque, time::Duration};

/// A stream that sends nothing for this long, not even a heartbeat, counts as a lost connection.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(45);
/// Consecutive failed attempts before giving up, about 60 s in all.
const MAX_FAILURES: u32 = 15;

/// Returns the events of a run after the sequence `after`, in the API's format, up to the terminal one, each exactly
/// once. `open` is an already open stream.
pub(crate) fn follow(
    client: Client,
    run: String,
    after: u64,
    open: Option<Response>,
) -> impl Stream<Item = Result<Value>> {
    let state = State {
        client,
        run,
        last: after,
        body: open.map(|response| response.body),
        parser: sse::Parser::default(),
        ready: VecDeque::new(),
        failures: 0,
        ended: false,
    };
    stream::try_unfold(state, |mut state| async move {
        let event = state.next().await?;
        Ok(event.map(|event| (event, state)))
    })
}

/// Whether an event ends its run.
pub(crate) fn is_terminal(event: &Value) -> bool {
    matches!(event["type"].as_str(), Some("run.completed" | "run.failed" | "run.canceled"))
}

struct State {
    client: Client,
    run: String,
    last: u64,
    body: Option<stream::BoxStream<'static, Result<bytes::Bytes>>>,
    parser: sse::Parser,
    ready: VecDeque<Value>,
    failures: u32,
    ended: bool,
}

impl State {
    async fn next(&mut self) -> Result<Option<Value>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                self.ended = is_terminal(&event);
                return Ok(Some(event));
            }
            if self.ended {
                return Ok(None);
            }
            match self.piece().await {
                Ok(()) => {}
                Err(error) if is_final(&error) => return Err(error),
                Err(error) => {
                    self.body = None;
                    self.failures += 1;
                    if self.failures > MAX_FAILURES {
                        let run = &self.run;
                        return Err(error.context(format!(
                            "lost the event stream; the run itself goes on: follow it with `runyard runs tail {run}`"
                        )));
                    }
                    let wait = Duration::from_millis(100 << self.failures.min(6)).min(Duration::from_secs(5));
                    tokio::time::sleep(wait).await;
                }
            }
        }
    }

    /// Reads one piece of the stream; opens the stream first if needed.
    async fn piece(&mut self) -> Result<()> {
        if self.body.is_none() {
            let call = Call::get(format!("/v1/runs/{}/stream", self.run))
                .header("accept", "text/event-stream")
                .header(
                    "last-event-id",
                    if self.last == 0 { "-1".to_owned() } else { self.last.to_string() },
                );
            self.parser = sse::Parser::default();
            self.body = Some(self.client.send(&call).await?.body);
        }
        let Some(body) = &mut self.body else { return Ok(()) };
        let piece = tokio::time::timeout(SILENCE_TIMEOUT, body.next())
            .await
            .context("the server sent nothing for 45 s")?
            .ok_or_else(|| anyhow!("the stream ended before the run did"))??;
        // Any bytes show that the server works: a stream may end and reopen many times while a run waits.
        self.failures = 0;
        for message in self.parser.push(&piece) {
            let event: Value = serde_json::from_str(&message.data).context("an event is not JSON")?;
            let sequence = event["sequence"].as_u64().context("an event has no sequence")?;
            if sequence > self.last {
                self.last = sequence;
                self.ready.push_back(event);
            }
        }
        Ok(())
    }
}

/// Returns whether a retry cannot help.
fn is_final(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Refused>().is_some_and(|refused| refused.status < 500 && refused.status != 429)
}
