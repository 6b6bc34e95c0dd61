//! Query parameters: read by name, all that is wrong told at once; unknown ones are ignored.

use crate::error::Error;
use runyard_runs::FieldErrors;
use std::str::FromStr;

/// The parameters of one request.
pub(crate) struct Query {
    pairs: Vec<(String, String)>,
    errors: FieldErrors,
}

/// Which page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PageParameters {
    /// From 1; `None` if not given.
    pub(crate) page: Option<u64>,
    /// 1 to [`LARGEST_PAGE`].
    pub(crate) page_size: u32,
}

const PAGE_SIZE: u32 = 25;
const LARGEST_PAGE: u32 = 100;

impl Query {
    pub(crate) fn of(uri: &http::Uri) -> Self {
        let pairs = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
        Self { pairs, errors: FieldErrors::new() }
    }

    /// Notes what is wrong with a parameter, unless something is noted already.
    pub(crate) fn wrong(&mut self, parameter: &str, problem: impl Into<String>) {
        self.errors.entry(parameter.to_owned()).or_insert_with(|| problem.into());
    }

    /// All that is wrong.
    pub(crate) fn check(self) -> Result<(), Error> {
        if self.errors.is_empty() { Ok(()) } else { Err(Error::invalid(self.errors)) }
    }

    /// All values of a parameter.
    pub(crate) fn all(&self, parameter: &str) -> Vec<String> {
        self.pairs.iter().filter(|(name, _)| name == parameter).map(|(_, value)| value.clone()).collect()
    }

    /// All parameters whose names begin so: the rest of the name, and the value.
    pub(crate) fn starting_with(&self, prefix: &str) -> Vec<(String, String)> {
        let rest =
            |(name, value): &(String, String)| Some((name.strip_prefix(prefix)?.to_owned(), value.clone()));
        self.pairs.iter().filter_map(rest).collect()
    }

    /// A parameter that may be given once.
    pub(crate) fn one(&mut self, parameter: &str) -> Option<String> {
        let mut values = self.all(parameter);
        if values.len() > 1 {
            self.wrong(parameter, "is given more than once");
        }
        values.pop()
    }

    /// The same, read as something.
    pub(crate) fn parsed<T: FromStr>(&mut self, parameter: &str, problem: &str) -> Option<T> {
        let parsed = self.one(parameter)?.parse().ok();
        if parsed.is_none() {
            self.wrong(parameter, problem);
        }
        parsed
    }

    /// `page` and `page_size`.
    pub(crate) fn page(&mut self) -> PageParameters {
        let (page_problem, size_problem) = ("must be a number from 1 on", "must be a number from 1 to 100");
        let page = self.parsed("page", page_problem);
        if page == Some(0) {
            self.wrong("page", page_problem);
        }
        let page_size = self.parsed("page_size", size_problem).unwrap_or(PAGE_SIZE);
        if !(1..=LARGEST_PAGE).contains(&page_size) {
            self.wrong("page_size", size_problem);
        }
        PageParameters { page, page_size: page_size.clamp(1, LARGEST_PAGE) }
    }

    /// The terms of `sort`, each a name and whether `-` stands before it; `None` if not given.
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
                    let problem =
                        format!("must be of {}, comma separated, with `-` for descending", known.join(", "));
                    self.wrong("sort", problem);
                }
                Some((_, by)) if terms.iter().any(|(named, _)| named == by) => {
                    self.wrong("sort", format!("names {name} twice"));
                }
                Some((_, by)) => terms.push((*by, descending)),
            }
        }
        Some(terms)
    }
}
