//! Reads the environment. An empty variable counts as not set, since templates cannot omit one.

use std::{fmt::Display, str::FromStr};

/// A variable that is missing or invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name} {problem}")]
pub struct BadVariable {
    /// Name of the variable.
    pub name: &'static str,
    /// What is wrong, and what to do.
    pub problem: String,
}

impl BadVariable {
    /// An error in the variable `name`; `problem` completes the sentence.
    pub fn new(name: &'static str, problem: impl Into<String>) -> Self {
        Self { name, problem: problem.into() }
    }
}

/// An environment.
pub struct Env(Box<Read>);

type Read = dyn Fn(&str) -> Option<String>;

impl Env {
    /// The environment of this process.
    pub fn of_process() -> Self {
        Self(Box::new(|name| std::env::var(name).ok()))
    }

    /// An environment with these variables, for tests.
    pub fn of(variables: &[(&str, &str)]) -> Self {
        let variables: Vec<(String, String)> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self(Box::new(move |name| {
            variables.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
        }))
    }

    /// Returns the variable, trimmed, if it is set.
    pub fn text(&self, name: &'static str) -> Option<String> {
        (self.0)(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    /// Returns the variable; `what` completes the error "is not set: give …".
    pub fn required(&self, name: &'static str, what: &str) -> Result<String, BadVariable> {
        self.text(name).ok_or_else(|| BadVariable::new(name, format!("is not set: give {what}")))
    }

    /// Returns the variable as a `T`, if it is set; `what` completes the error "is …, and must be …".
    pub fn parsed<T: FromStr<Err: Display>>(
        &self,
        name: &'static str,
        what: &str,
    ) -> Result<Option<T>, BadVariable> {
        let Some(text) = self.text(name) else { return Ok(None) };
        match text.parse() {
            Ok(value) => Ok(Some(value)),
            Err(error) => Err(BadVariable::new(name, format!("is {text:?}, and must be {what}: {error}"))),
        }
    }

    /// Returns the comma-separated items of the variable, trimmed, without empty ones.
    pub fn list(&self, name: &'static str) -> Vec<String> {
        let text = self.text(name).unwrap_or_default();
        text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Env;

    #[test]
    fn an_error_names_the_variable_and_what_it_must_be() {
        let env = Env::of(&[("A", " x "), ("B", ""), ("C", "a, b,,c"), ("D", "12")]);
        assert_eq!(env.text("A").as_deref(), Some("x"));
        assert_eq!(env.text("B"), None);
        assert_eq!(env.list("C"), ["a", "b", "c"]);
        assert_eq!(env.parsed("D", "a number"), Ok(Some(12)));
        assert_eq!(env.parsed::<u32>("B", "a number"), Ok(None));
        let error = env.parsed::<u32>("A", "a number").unwrap_err();
        assert_eq!(error.to_string(), "A is \"x\", and must be a number: invalid digit found in string");
        let error = env.required("B", "the table's name").unwrap_err();
        assert_eq!(error.to_string(), "B is not set: give the table's name");
    }
}
