//! `TimeWeightedDocumentRanker`: sorts documents by their score, weighted by age.

use super::Registered;
use crate::{
    document::Document,
    flow::{Call, Halt, Kind, NodeError},
    load::Fields,
    nodes::admit::InputCheck,
    python_text,
};
use async_trait::async_trait;
use jiff::{civil::DateTime, fmt::strtime, tz::TimeZone};
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) const TIME_WEIGHTED_RANKER: Registered = Registered {
    class: "rankers.TimeWeightedDocumentRanker",
    name: Some("time-weighted-document-ranker"),
    timeout: None,
    build: |_, fields, _| Some(Box::new(TimeWeightedRanker::read(fields))),
};

/// The rate at which weights decay: at the age of `max_days`, 1/20 of the difference between 1 and `min_weight`
/// remains.
const DECAY: f64 = 3.0;

#[derive(Debug)]
struct TimeWeightedRanker {
    /// The age from which a document has the minimum weight.
    max_days: f64,
    min_weight: f64,
    date_field: String,
    date_format: String,
}

impl TimeWeightedRanker {
    fn read(fields: Fields<'_>) -> Self {
        // The reference accepts it as well, but returns all documents.
        fields.count("top_k");
        Self {
            max_days: fields.count("max_days").unwrap_or(3600).into(),
            min_weight: fields.float("min_coefficient").unwrap_or(0.9),
            date_field: fields.text("date_field").unwrap_or("date").to_owned(),
            date_format: fields.text("date_format").unwrap_or("%d %B, %Y").to_owned(),
        }
    }

    fn weight(&self, days: f64) -> f64 {
        if days <= 0.0 {
            1.0
        } else if days >= self.max_days {
            self.min_weight
        } else {
            self.min_weight + (1.0 - self.min_weight) * (-DECAY * days / self.max_days).exp()
        }
    }

    fn rank(&self, documents: &mut [Document], now: DateTime) -> Result<(), NodeError> {
        for document in documents.iter_mut() {
            let Some(metadata) = &document.metadata else {
                return Err(NodeError::new(
                    "AttributeError",
                    "a document has no metadata, so it has no date",
                ));
            };
            let Some(date) = metadata.get(&self.date_field).filter(|date| !date.is_null() && *date != "")
            else {
                continue;
            };
            let days = self.days(date, now)?;
            let Some(score) = &mut document.score else { return Err(unscored()) };
            *score *= self.weight(days);
        }
        if documents.len() > 1 && documents.iter().any(|document| document.score.is_none()) {
            return Err(unscored());
        }
        documents.sort_by(|left, right| {
            let score = |document: &Document| document.score.unwrap_or(0.0);
            score(right).total_cmp(&score(left))
        });
        Ok(())
    }

    /// The number of whole days since a date.
    fn days(&self, date: &Value, now: DateTime) -> Result<f64, NodeError> {
        let Some(text) = date.as_str() else {
            let given = python_text::type_name(date);
            return Err(NodeError::new("TypeError", format!("a date must be text, but it is {given}")));
        };
        let parsed_date = strtime::parse(&self.date_format, text).and_then(|parsed| {
            let time = parsed.to_time().unwrap_or_default();
            Ok(parsed.to_date()?.to_datetime(time))
        });
        let date = parsed_date.map_err(|_| {
            NodeError::new(
                "ValueError",
                format!("the date `{text}` does not match the format `{}`", self.date_format),
            )
        })?;
        Ok((now.duration_since(date).as_secs_f64() / 86_400.0).floor())
    }
}

fn unscored() -> NodeError {
    NodeError::new("TypeError", "a document has no score")
}

#[async_trait]
impl Kind for TimeWeightedRanker {
    async fn execute(&self, call: Call<'_>, input: &Arc<Value>) -> Result<Arc<Value>, Halt> {
        let mut documents = Document::read_list(input.get("documents"))?;
        let now = jiff::Timestamp::from_millisecond(call.run.now().0).unwrap_or_default();
        self.rank(&mut documents, now.to_zoned(TimeZone::UTC).datetime())?;
        Ok(Arc::new(json!({"documents": Document::list(documents)})))
    }

    fn admit(&self, input: Arc<Value>) -> Result<Arc<Value>, NodeError> {
        let mut input = InputCheck::of(&input, "a TimeWeightedDocumentRanker")?;
        let documents = Document::read_list(input.given("documents"))?;
        input.set("documents", Document::list(documents));
        Ok(input.done())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;

    #[test]
    fn sorts_newer_documents_first() {
        let ranker = TimeWeightedRanker {
            max_days: 100.0,
            min_weight: 0.5,
            date_field: "date".into(),
            date_format: "%d %B, %Y".into(),
        };
        let document = |id: &str, score, date: &str| {
            let metadata = json!({"date": date}).as_object().cloned();
            Document { id: Some(id.into()), score: Some(score), metadata, ..Document::default() }
        };
        let mut documents = vec![
            document("old", 0.9, "01 January, 2020"),
            document("half", 0.8, "12 November, 2026"),
            document("today", 0.7, "01 January, 2027"),
            document("undated", 0.6, ""),
        ];
        let now = date(2027, 1, 1).at(12, 0, 0, 0);
        ranker.rank(&mut documents, now).expect("ranked");
        let ids: Vec<&str> = documents.iter().filter_map(|document| document.id.as_deref()).collect();
        assert_eq!(ids, ["today", "undated", "half", "old"]);
        let scores: Vec<f64> = documents.iter().filter_map(|document| document.score).collect();
        let half = 0.8 * (0.5 + 0.5 * (-1.5_f64).exp());
        assert!((scores[0] - 0.7).abs() < 1e-9 && (scores[2] - half).abs() < 1e-9, "{scores:?}");
        assert!((scores[3] - 0.45).abs() < 1e-9, "{scores:?}");
        let mut wrong = vec![document("x", 1.0, "2020-01-01")];
        assert_eq!(ranker.rank(&mut wrong, now).expect_err("no such date").kind, "ValueError");
    }
}
