//! Reads query parameters by name, and reports all errors at once; unknown ones are ignored.

use crate::error::Error;
use runyard_runs::FieldErrors;
use std::str::FromStr;

/// The query parameters of one request.
pub(crate) struct Query {
    pairs: Vec<(String, String)>,
    errors: FieldErrors,
}

/// The requested page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PageParameters {
    /// Page number, from 1; `None` if not given.
    pub(crate) page: Option<u64>,
    /// Page size, 1 to [`MAX_PAGE_SIZE`].
    pub(crate) page_size: u32,
}

const DEFAULT_PAGE_SIZE: u32 = 25;
const MAX_PAGE_SIZE: u32 = 100;

impl Query {
    pub(crate) fn of(uri: &http::Uri) -> Self {
        let pairs = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
        Self { pairs, errors: FieldErrors::new() }
    }

    /// Records an error in a parameter, unless it already has one.
    pub(crate) fn wrong(&mut self, parameter: &str, problem: impl Into<String>) {
        self.errors.entry(parameter.to_owned()).or_insert_with(|| problem.into());
    }

    /// Returns all errors.
    pub(crate) fn check(self) -> Result<(), Error> {
        if self.errors.is_empty() { Ok(()) } else { Err(Error::invalid(self.errors)) }
    }

    /// Returns all values of a parameter.
    pub(crate) fn all(&self, parameter: &str) -> Vec<String> {
        self.pairs.iter().filter(|(name, _)| name == parameter).map(|(_, value)| value.clone()).collect()
    }

    /// Returns all parameters whose names have this prefix: the rest of the name, and the value.
    pub(crate) fn starting_with(&self, prefix: &str) -> Vec<(String, String)> {
        let rest =
            |(name, value): &(String, String)| Some((name.strip_prefix(prefix)?.to_owned(), value.clone()));
        self.pairs.iter().filter_map(rest).collect()
    }

    /// Returns a parameter that may be given once.
    pub(crate) fn one(&mut self, parameter: &str) -> Option<String> {
        let mut values = self.all(parameter);
        if values.len() > 1 {
            self.wrong(parameter, "is given more than once");
        }
        values.pop()
    }

    /// Returns a parameter that may be given once, parsed as a `T`.
    pub(crate) fn parsed<T: FromStr>(&mut self, parameter: &str, problem: &str) -> Option<T> {
        let parsed = self.one(parameter)?.parse().ok();
        if parsed.is_none() {
            self.wrong(parameter, problem);
        }
        parsed
    }

    /// Returns `page` and `page_size`.
    pub(crate) fn page(&mut self) -> PageParameters {
        let (page_problem, size_problem) = ("must be an integer from 1", "must be an integer from 1 to 100");
        let page = self.parsed("page", page_problem);
        if page == Some(0) {
            self.wrong("page", page_problem);
        }
        let page_size = self.parsed("page_size", size_problem).unwrap_or(DEFAULT_PAGE_SIZE);
        if !(1..=MAX_PAGE_SIZE).contains(&page_size) {
            self.wrong("page_size", size_problem);
        }
        PageParameters { page, page_size: page_size.clamp(1, MAX_PAGE_SIZE) }
    }

    /// Returns the terms of `sort`: the value of the name, and whether it has the prefix `-`. `None` if not given.
    pub(crate) fn sort<T: PartialEq + Copy>(
        &mut self,
        names: &[(&'static str, T)],
    ) -> Option<Vec<(T, bool)>> {
        let text = self.one("sort")?;
        let mut terms: Vec<(T, bool)> = Vec::new();
        for term in text.split(',') {
            let (descending, name) = match term.trim().strip_prefix('-') {
                Some(name) => (true, name),
                None => (false, term.trim()),
            };
            match names.iter().find(|(known, _)| *known == name) {
                None => {
                    let known: Vec<&str> = names.iter().map(|(known, _)| *known).collect();
                    let problem = format!(
                        "must be a comma-separated list of {}, with `-` for descending",
                        known.join(", ")
                    );
                    self.wrong("sort", problem);
                }
                Some((_, by)) if terms.iter().any(|(named, _)| named == by) => {
                    self.wrong("sort", format!("has {name} twice"));
                }
                Some((_, by)) => terms.push((*by, descending)),
            }
        }
        Some(terms)
    }
}
