//! Expressions over named values: the body of a Jinja variable, computed as Python computes it.
//!
//! There are three ways to treat missing values:
//!
//! | mode | used by | a missing value |
//! | --- | --- | --- |
//! | [`Mode::Plain`] | Expression nodes | is false, empty and equal to nothing; arithmetic fails |
//! | [`Mode::Strict`] | derived values and messages of Rules | any use fails; its members are missing too |
//! | [`Mode::Check`] | checks of Rules | as `Strict`; null fails too where the check needs a value |

mod dates;
mod eval;
mod filters;
mod helpers;
mod lexer;
mod message;
mod methods;
mod notes;
mod parse;
mod reads;
mod scope;
mod value;

pub(crate) use dates::{date, quoted};
pub(crate) use message::Message;
pub(crate) use reads::{GLOBALS, RESERVED, Reads};
pub(crate) use scope::{Path, Scope};
pub(crate) use value::{Evaluated, Fault, Unreadable, Val};

use eval::Evaluation;
use jiff::civil::Date;
use notes::Notes;
use parse::Node;

/// How missing values are treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Plain,
    Strict,
    Check,
}

/// A compiled expression.
#[derive(Debug)]
pub(crate) struct Expression {
    root: Node,
    mode: Mode,
    pub(crate) reads: Reads,
    notes: Notes,
    /// Why every evaluation fails, if a name is both read and called.
    clash: Option<String>,
}

/// The result of an evaluation, and the values that helpers could not parse.
#[derive(Debug)]
pub(crate) struct Outcome<'a> {
    pub(crate) result: Evaluated<'a>,
    pub(crate) misread: Vec<Unreadable>,
}

impl Expression {
    /// Compiles `text`; the error says what is wrong with it.
    pub(crate) fn new(text: &str, mode: Mode) -> Result<Self, String> {
        let root = parse::parse(text)?;
        let reads = Reads::of(&[&root]);
        if let Some((kind, name, _)) = reads.unknown_names.iter().find(|(_, _, in_branch)| !in_branch) {
            return Err(format!("there is no {kind} `{name}`"));
        }
        if reads.all().any(|path| path.root() == "self") {
            return Err("the name `self` cannot be read in an expression; rename the input".into());
        }
        let clash =
            reads.clash().map(|name| format!("it reads `{name}` as a value and calls it as a helper"));
        let helper = reads.clash().is_some_and(|name| RESERVED.contains(&name) || !is_helper(name));
        match clash {
            Some(problem) if helper => Err(problem),
            clash => {
                let notes = if mode == Mode::Check { Notes::of(&root, &reads) } else { Notes::default() };
                Ok(Self { root, mode, reads, notes, clash })
            }
        }
    }

    /// Evaluates the expression for a record. `today` is the value of `today()`.
    pub(crate) fn evaluate<'a>(&self, scope: &Scope<'a>, today: Date) -> Outcome<'a> {
        if let Some(problem) = &self.clash {
            return Outcome { result: Err(Fault::type_error(problem.clone())), misread: Vec::new() };
        }
        let evaluation = Evaluation::new(self, scope, today);
        let result = evaluation.eval(&self.root);
        Outcome { result, misread: evaluation.misread.into_inner() }
    }

    /// Evaluates the verdict of a check: a lazy value counts as the list of its items, and a method is an error.
    pub(crate) fn holds(&self, scope: &Scope<'_>, today: Date) -> (Result<bool, Fault>, Vec<Unreadable>) {
        let Outcome { result, misread } = self.evaluate(scope, today);
        let verdict = result.and_then(|value| match value {
            Val::Missing(missing) => Err(*missing.fault),
            Val::Method(_, name) => Err(Fault::type_error(format!("read the method {name}(…), not a value"))),
            value => value.concrete().map(|value| value.is_true()),
        });
        (verdict, misread)
    }
}

fn is_helper(name: &str) -> bool {
    GLOBALS.iter().take_while(|known| **known != "range").any(|known| *known == name)
}
