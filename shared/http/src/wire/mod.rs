//! The JSON that callers send and receive. Fields without a value are omitted; times are RFC 3339 in UTC.

mod event;
mod request;
mod run;

pub(crate) use event::{EventList, RunEvent};
pub(crate) use request::{AnswerInput, CreateRun, CreateRunForm, MOST_FILES, UploadFileForm};
pub(crate) use run::{
    FileAnswer, InputRequest, InputRequestType, Message, Pagination, RunAnswer, RunError, RunList, RunStatus,
};

use runyard_runs::Timestamp;
use serde::Serializer;

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde requires this signature")]
fn time<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(time)
}

#[expect(clippy::ref_option, reason = "serde requires this signature")]
fn optional_time<S: Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => time(at, serializer),
        None => serializer.serialize_none(),
    }
}
