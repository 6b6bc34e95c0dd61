//! `GET /v1/runs/{run_id}/events` and `…/stream`: a run's events.

use super::{Ports, RunService, create::Created, get, live::News};
use crate::{App, Entry, LogRange, RunEvent, RunId, Sequence, StoreError};
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use std::time::Duration;
use tokio::sync::broadcast;

/// A page of events.
#[derive(Clone, Debug, PartialEq)]
pub struct EventPage {
    /// The events.
    pub events: Vec<RunEvent>,
    /// The number of events on all pages.
    pub total_count: u64,
}

/// Why events were not listed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such run of this app.
    #[error("no such run")]
    NotFound,
    /// The events of the page exceed [`EVENTS_BYTES`].
    #[error("the events of this page have more than {} MiB", EVENTS_BYTES >> 20)]
    TooLarge,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Maximum bytes of all events of a page; a page of one event may exceed it.
pub const EVENTS_BYTES: usize = 4 << 20;

/// Bytes of a log that are read at once, and held for a follower that does not read on.
const PIECE_BYTES: usize = 64 << 10;

/// How long a follower waits for news before it reads the log.
const READ_INTERVAL: Duration = Duration::from_secs(10);

impl RunService {
    /// Returns a page of a run's events: `page` from 1, `page_size` up to 100, by ascending or descending sequence.
    pub async fn events(
        &self,
        app: &App,
        id: RunId,
        page: u64,
        page_size: u32,
        descending: bool,
    ) -> Result<EventPage, Error> {
        let _permit = self.reads.acquire().await;
        let head = self.ports.runs.head(id).await?;
        let head = head.filter(|head| head.app == app.id).ok_or(Error::NotFound)?;
        let total_count = head.last.as_ref().map_or(0, Entry::last);
        let skipped = page.saturating_sub(1).saturating_mul(u64::from(page_size));
        let (after, upto) = if descending {
            let upto = total_count.saturating_sub(skipped);
            (upto.saturating_sub(u64::from(page_size)), upto)
        } else {
            (skipped, skipped.saturating_add(u64::from(page_size)).min(total_count))
        };
        let mut events: Vec<RunEvent> = Vec::new();
        let (mut next, mut bytes) = (after, 0);
        while next < upto {
            let range = LogRange { from: next + 1, to: upto, bytes: PIECE_BYTES };
            let log = self.ports.runs.read_range(id, range).await?.ok_or(Error::NotFound)?;
            let Some(last) = log.entries.last().map(Entry::last) else { break };
            for event in log.entries.iter().flat_map(|entry| entry.events_after(next)) {
                if event.sequence > upto {
                    break;
                }
                bytes += event.body.bytes();
                if bytes > EVENTS_BYTES && !events.is_empty() {
                    return Err(Error::TooLarge);
                }
                events.push(event);
            }
            next = last;
        }
        if descending {
            events.reverse();
        }
        Ok(EventPage { events, total_count })
    }

    /// Returns the events of a run after the sequence `after` (0: all) as a stream that ends with the terminal event.
    /// Events are only shown once they are on disk.
    pub async fn follow(
        &self,
        app: &App,
        id: RunId,
        after: Sequence,
    ) -> Result<BoxStream<'static, Result<RunEvent, StoreError>>, get::Error> {
        let head = self.ports.runs.head(id).await?;
        head.filter(|head| head.app == app.id).ok_or(get::Error::NotFound)?;
        // Subscribed before the log is read, so that no entry is missed in between.
        let live = self.live.find(id).map(|live| live.subscribe());
        Ok(Follower { ports: self.ports.clone(), run: id, after, live, lagging: true, over: false }.events())
    }

    /// [`RunService::follow`] from the start, for a run that was just created.
    pub fn follow_created(&self, created: Created) -> BoxStream<'static, Result<RunEvent, StoreError>> {
        let live = created.live.and_then(|live| live.take_expected());
        let lagging = live.is_none();
        let run = created.run.new.id;
        Follower { ports: self.ports.clone(), run, after: 0, live, lagging, over: false }.events()
    }
}

/// Follows the log of one run: gets entries from an execution in this process as it writes them, else reads the store.
struct Follower {
    ports: Ports,
    run: RunId,
    /// The last sequence that was returned.
    after: Sequence,
    live: Option<broadcast::Receiver<News>>,
    /// Whether the store may have entries that `live` will not send.
    lagging: bool,
    over: bool,
}

impl Follower {
    fn events(self) -> BoxStream<'static, Result<RunEvent, StoreError>> {
        stream::unfold(self, |mut follower| async move {
            if follower.over {
                return None;
            }
            let batch = match follower.next().await {
                Ok(events) => events.into_iter().map(Ok).collect(),
                Err(error) => {
                    follower.over = true;
                    vec![Err(error)]
                }
            };
            Some((stream::iter(batch), follower))
        })
        .flatten()
        .boxed()
    }

    /// Returns the next events, at least one unless the stream is over.
    async fn next(&mut self) -> Result<Vec<RunEvent>, StoreError> {
        loop {
            if self.lagging {
                self.lagging = false;
                let events = self.read().await?;
                if !events.is_empty() || self.over {
                    return Ok(events);
                }
            }
            let Some(live) = &mut self.live else {
                self.ports.runs.changed(self.run, self.after, READ_INTERVAL).await;
                self.lagging = true;
                continue;
            };
            match tokio::time::timeout(READ_INTERVAL, live.recv()).await {
                Ok(Ok(News::Entry(entry))) if entry.first > self.after + 1 => self.lagging = true,
                Ok(Ok(News::Entry(entry))) if entry.last() > self.after => {
                    return Ok(self.take(&[entry.as_ref()]));
                }
                Ok(Ok(News::Entry(_))) => {}
                Ok(Ok(News::Look) | Err(broadcast::error::RecvError::Lagged(_))) => self.lagging = true,
                // The execution is over: the run has ended, or others execute it or wrote the last entry.
                Ok(Err(broadcast::error::RecvError::Closed)) => {
                    self.live = None;
                    self.lagging = true;
                }
                Err(_) => self.lagging = true,
            }
        }
    }

    async fn read(&mut self) -> Result<Vec<RunEvent>, StoreError> {
        let range = LogRange { bytes: PIECE_BYTES, ..LogRange::from(self.after + 1) };
        let Some(log) = self.ports.runs.read_range(self.run, range).await? else {
            self.over = true;
            return Ok(Vec::new());
        };
        self.lagging = log.more;
        // A follower may start at the end of the log, or beyond it.
        self.over = log.entries.is_empty() && log.record.status.is_terminal();
        let entries: Vec<&Entry> = log.entries.iter().collect();
        Ok(self.take(&entries))
    }

    fn take(&mut self, entries: &[&Entry]) -> Vec<RunEvent> {
        let after = self.after;
        if let Some(last) = entries.last() {
            self.after = last.last();
            self.over = last.state.status.is_terminal();
        }
        entries.iter().flat_map(|entry| entry.events_after(after)).collect()
    }
}
