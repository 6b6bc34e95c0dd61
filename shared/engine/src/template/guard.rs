//! Rewrites a template so that the budget is charged for each value that it builds from others.
//!
//! The library charges for what an instruction creates. It does not charge for comparing, printing or hashing a list
//! that contains the same list many times, or itself: after forty assignments like `{% set x = [x, x] %}`, a comparison
//! would never end. Therefore values are charged for where they are built or assigned: `[x, x]` becomes `([x,
//! x]|__kept)`, and likewise assigned values and the parameters of macros. The filter counts everything in a value, as
//! often as it occurs.
//!
//! Line numbers do not change, so that errors name the right line.

use super::{FACTOR, KEPT, MEMBER};
use minijinja::{
    machinery::{Token, tokenize},
    syntax::SyntaxConfig,
};
use std::ops::Range;

/// Words after which a value begins.
const OPERATORS: &[&str] = &["and", "elif", "else", "if", "in", "is", "not", "or"];

/// Words that are values, not names of variables.
const CONSTANTS: &[&str] = &["False", "None", "True", "false", "none", "true"];

/// The text of a template with the filters inserted. A text that is not a template is returned unchanged.
pub(super) fn guarded(text: &str) -> String {
    let mut tokens = Vec::new();
    for token in tokenize(text, false, SyntaxConfig::default()) {
        let Ok((token, span)) = token else { return text.to_owned() };
        tokens.push(Lexeme { token, span: span.start_offset as usize..span.end_offset as usize });
    }
    let mut guard = Guard { text, tokens: &tokens, added: Vec::new() };
    guard.literals();
    guard.factors();
    for (at, lexeme) in tokens.iter().enumerate() {
        if matches!(lexeme.token, Token::BlockStart) {
            guard.statement(at + 1);
        }
    }
    guard.written()
}

struct Lexeme<'t> {
    token: Token<'t>,
    span: Range<usize>,
}

/// An open bracket.
#[expect(clippy::struct_excessive_bools, reason = "four independent facts of one bracket")]
struct Open {
    start: usize,
    /// Whether it begins a list, a mapping or a tuple, instead of an index or the arguments of a call.
    is_literal: bool,
    is_round: bool,
    has_comma: bool,
    has_variable: bool,
}

struct Guard<'t> {
    text: &'t str,
    tokens: &'t [Lexeme<'t>],
    /// Insertions, with their byte offsets.
    added: Vec<(usize, String)>,
}

impl Guard<'_> {
    fn word(&self, at: usize) -> Option<&str> {
        match self.tokens.get(at).map(|lexeme| &lexeme.token) {
            Some(Token::Ident(word)) => Some(word),
            _ => None,
        }
    }

    /// Whether the previous token ends a value. A bracket here is then an index or a call of that value.
    fn follows_value(&self, at: usize) -> bool {
        let Some(before) = at.checked_sub(1) else { return false };
        match &self.tokens[before].token {
            Token::Ident(word) => {
                // After `is`, a word is the name of a test.
                let is_test = before > 0
                    && matches!(self.word(before - 1), Some("is" | "not"))
                    && (self.word(before - 1) == Some("is")
                        || (before > 1 && self.word(before - 2) == Some("is")))
                    && *word != "not";
                is_test || !OPERATORS.contains(word)
            }
            Token::Str(_)
            | Token::String(_)
            | Token::Int(_)
            | Token::Int128(_)
            | Token::Float(_)
            | Token::BracketClose
            | Token::ParenClose
            | Token::BraceClose => true,
            _ => false,
        }
    }

    /// Guards lists, mappings and tuples that contain variables.
    fn literals(&mut self) {
        let mut open: Vec<Open> = Vec::new();
        for (at, lexeme) in self.tokens.iter().enumerate() {
            match &lexeme.token {
                Token::BracketOpen | Token::BraceOpen | Token::ParenOpen => open.push(Open {
                    start: lexeme.span.start,
                    is_literal: !self.follows_value(at),
                    is_round: matches!(lexeme.token, Token::ParenOpen),
                    has_comma: false,
                    has_variable: false,
                }),
                Token::BracketClose | Token::BraceClose | Token::ParenClose => {
                    let Some(closed) = open.pop() else { continue };
                    if closed.is_literal && closed.has_variable && (closed.has_comma || !closed.is_round) {
                        self.added.push((closed.start, "(".into()));
                        self.added.push((lexeme.span.end, format!("|{KEPT})")));
                    }
                }
                Token::Comma => {
                    if let Some(innermost) = open.last_mut() {
                        innermost.has_comma = true;
                    }
                }
                // The library folds constant repetitions before it charges, unless a filter is applied.
                Token::Mul => open.iter_mut().for_each(|open| open.has_variable = true),
                Token::Ident(word) if !CONSTANTS.contains(word) => {
                    for open in &mut open {
                        open.has_variable = true;
                    }
                }
                Token::VariableEnd | Token::BlockEnd => open.clear(),
                _ => {}
            }
        }
    }

    /// Guards factors: a repeated list is lazy, and costs nothing until it is read.
    fn factors(&mut self) {
        for at in 1..self.tokens.len() {
            if !matches!(self.tokens[at].token, Token::Mul) {
                continue;
            }
            let mut depth = 0_usize;
            let mut end = at + 1;
            while let Some(lexeme) = self.tokens.get(end) {
                let after_operator = end == at + 1 || matches!(self.tokens[end - 1].token, Token::Pow);
                match &lexeme.token {
                    Token::BracketOpen | Token::BraceOpen | Token::ParenOpen => depth += 1,
                    Token::BlockEnd | Token::VariableEnd => break,
                    Token::BracketClose | Token::BraceClose | Token::ParenClose if depth == 0 => break,
                    Token::BracketClose | Token::BraceClose | Token::ParenClose => depth -= 1,
                    _ if depth > 0 => {}
                    Token::Minus | Token::Plus if after_operator => {}
                    Token::Dot | Token::Pipe | Token::Pow => {}
                    Token::Ident(word) if !OPERATORS.contains(word) => {}
                    Token::Str(_) | Token::String(_) | Token::Int(_) | Token::Int128(_) | Token::Float(_) => {
                    }
                    _ => break,
                }
                end += 1;
            }
            for last in [at - 1, end - 1] {
                if last != at {
                    self.added.push((self.tokens[last].span.end, format!("|{FACTOR}")));
                }
            }
        }
    }

    /// The token that ends the tag around this token.
    fn end(&self, mut at: usize) -> Option<usize> {
        while !matches!(self.tokens.get(at)?.token, Token::BlockEnd) {
            at += 1;
        }
        Some(at)
    }

    fn statement(&mut self, at: usize) {
        let Some(end) = self.end(at) else { return };
        match self.word(at) {
            Some("set") => {
                let Some(sign) = (at..end).find(|at| matches!(self.tokens[*at].token, Token::Assign)) else {
                    return;
                };
                let is_member = (at..sign).any(|at| matches!(self.tokens[at].token, Token::Dot));
                self.keep(sign, end, if is_member { MEMBER } else { KEPT });
            }
            Some("with") => self.assignments(at + 1, end),
            Some("macro" | "call") => self.parameters(at + 1, end),
            _ => {}
        }
    }

    /// Applies a filter to the value between the token `sign` and the token `end`.
    fn keep(&mut self, sign: usize, end: usize, filter: &str) {
        if sign + 1 < end {
            self.added.push((self.tokens[sign].span.end, "(".into()));
            self.added.push((self.tokens[end - 1].span.end, format!(")|{filter}")));
        }
    }

    fn assignments(&mut self, start: usize, end: usize) {
        let (mut depth, mut sign) = (0_usize, None);
        for at in start..=end {
            match self.tokens[at].token {
                Token::BracketOpen | Token::BraceOpen | Token::ParenOpen => depth += 1,
                Token::BracketClose | Token::BraceClose | Token::ParenClose => {
                    depth = depth.saturating_sub(1);
                }
                Token::Assign if depth == 0 => sign = Some(at),
                Token::Comma | Token::BlockEnd if depth == 0 => {
                    if let Some(sign) = sign.take() {
                        self.keep(sign, at, KEPT);
                    }
                }
                _ => {}
            }
        }
    }

    /// Guards the parameters of a macro, or of the block of a call, by assigning them to themselves.
    fn parameters(&mut self, start: usize, end: usize) {
        let Some(open) = (start..end).find(|at| matches!(self.tokens[*at].token, Token::ParenOpen)) else {
            return;
        };
        // `{% call name(…) %}` has arguments there, not parameters.
        if self.word(start - 1) == Some("call") && open != start {
            return;
        }
        let mut names = Vec::new();
        let mut depth = 0_usize;
        for at in open..end {
            match self.tokens[at].token {
                Token::BracketOpen | Token::BraceOpen | Token::ParenOpen => depth += 1,
                Token::BracketClose | Token::BraceClose | Token::ParenClose => {
                    depth -= 1;
                    if depth == 0 {
                        break;
                    }
                }
                _ => {}
            }
            if depth == 1
                && matches!(self.tokens[at].token, Token::ParenOpen | Token::Comma)
                && let Some(name) = self.word(at + 1)
            {
                names.push(name.to_owned());
            }
        }
        let Range { start, end } = self.tokens[end].span.clone();
        // The last inserted tag ends with the same whitespace control as this one.
        let close = self.text.get(start..end).unwrap_or("%}").trim_start();
        let count = names.len();
        for (index, name) in names.into_iter().enumerate() {
            let close = if index + 1 == count { close } else { "%}" };
            self.added.push((end, format!("{{% set {name} = {name}|{KEPT} {close}")));
        }
    }

    fn written(mut self) -> String {
        // A stable sort: of insertions at the same offset, earlier ones belong inside later ones.
        self.added.sort_by_key(|(offset, _)| *offset);
        let mut text = String::with_capacity(self.text.len() + 16 * self.added.len());
        let mut done = 0;
        for (offset, added) in &self.added {
            text.push_str(self.text.get(done..*offset).unwrap_or_default());
            text.push_str(added);
            done = *offset;
        }
        text.push_str(self.text.get(done..).unwrap_or_default());
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guards_values_that_are_built_or_assigned() {
        for (text, expected) in [
            ("{{ a }} [b] {# {% set c = [c, c] %} #}", "{{ a }} [b] {# {% set c = [c, c] %} #}"),
            ("{{ ['a', 1, true] }}{{ a['b'] }}{{ a[b] }}", "{{ ['a', 1, true] }}{{ a['b'] }}{{ a[b] }}"),
            ("{{ [a] ~ {'k': a}.k }}", "{{ ([a]|__kept) ~ ({'k': a}|__kept).k }}"),
            ("{{ (a, b) }}{{ (a) }}{{ f(a, b) }}", "{{ ((a, b)|__kept) }}{{ (a) }}{{ f(a, b) }}"),
            ("{% for (a, b) in [c, (d, e)] %}", "{% for (a, b) in ([c, ((d, e)|__kept)]|__kept) %}"),
            ("{% if a is in [b] or a not in [b] %}", "{% if a is in[b] or a not in ([b]|__kept) %}"),
            ("{%- set a = b, c -%}", "{%- set a =( b, c)|__kept -%}"),
            ("{% set a.b=[a]%}", "{% set a.b=(([a]|__kept))|__member%}"),
            ("{% set a %}x{% endset %}", "{% set a %}x{% endset %}"),
            ("{% with a=b, c = f(d, e=1) %}", "{% with a=(b)|__kept, c =( f(d, e=1))|__kept %}"),
            (
                "{% macro m(a, b=[1, 2]) -%} x",
                "{% macro m(a, b=[1, 2]) -%}{% set a = a|__kept %}{% set b = b|__kept -%} x",
            ),
            ("{% call(a) m(b, c) %}x", "{% call(a) m(b, c) %}{% set a = a|__kept %}x"),
            ("{{ [[1] * 9] }}", "{{ ([[1]|__factor * 9|__factor]|__kept) }}"),
            ("{{ a.b * -c[d]|f(1) ~ e }}", "{{ a.b|__factor * -c[d]|f(1)|__factor ~ e }}"),
            (
                "{% set x = a*(b+c)*2 if d else 1 %}",
                "{% set x =( a|__factor*(b+c)|__factor|__factor*2|__factor if d else 1)|__kept %}",
            ),
            ("{% call m(b, c) %}x", "{% call m(b, c) %}x"),
            ("{% set a = ", "{% set a = "),
        ] {
            let expected = expected.replace("is in[", "is in [");
            assert_eq!(guarded(text), expected, "{text}");
        }
    }
}
