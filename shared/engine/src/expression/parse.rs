//! Parses an expression, by Jinja's grammar.

use super::lexer::{Token, tokens};
use serde_json::Value;

/// How deep brackets may nest: each level recurses through the whole grammar, which takes stack.
const MAX_DEPTH: usize = 40;
/// The height of the tree: a chain of operators is a degenerate tree.
const MAX_HEIGHT: u32 = 256;
/// Operators and values of one expression.
const MAX_NODES: u32 = 1_024;
/// Bytes of an expression.
const MAX_BYTES: usize = 64 << 10;

/// A part of an expression. `id` is unique within the expression.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) id: u32,
    pub(super) kind: Expr,
    height: u32,
}

#[derive(Debug)]
pub(super) enum Expr {
    Const(Value),
    Name(String),
    Attribute(Box<Node>, String),
    Item(Box<Node>, Box<Node>),
    /// Start, end and step.
    Slice(Box<Node>, [Option<Box<Node>>; 3]),
    Call(Box<Node>, Arguments),
    Filter(Box<Node>, String, Arguments),
    Test(Box<Node>, String, Arguments),
    Not(Box<Node>),
    Negative(Box<Node>),
    Positive(Box<Node>),
    Binary(Operator, Box<Node>, Box<Node>),
    /// Joined by `~`.
    Concat(Vec<Node>),
    /// `a < b <= c`.
    Compare(Box<Node>, Vec<(Comparison, Node)>),
    And(Box<Node>, Box<Node>),
    Or(Box<Node>, Box<Node>),
    If {
        test: Box<Node>,
        then: Box<Node>,
        otherwise: Option<Box<Node>>,
    },
    List(Vec<Node>),
    Tuple(Vec<Node>),
    Map(Vec<(Node, Node)>),
}

/// The arguments of a call, a filter or a test.
#[derive(Debug, Default)]
pub(super) struct Arguments {
    pub(super) placed: Vec<Node>,
    pub(super) named: Vec<(String, Node)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    FloorDivide,
    Remainder,
    Power,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    NotIn,
}

impl Node {
    /// The node's parts, in the order of the text.
    pub(super) fn children(&self) -> Vec<&Self> {
        match &self.kind {
            Expr::Const(_) | Expr::Name(_) => Vec::new(),
            Expr::Attribute(base, _) | Expr::Not(base) | Expr::Negative(base) | Expr::Positive(base) => {
                vec![base]
            }
            Expr::Item(left, right)
            | Expr::Binary(_, left, right)
            | Expr::And(left, right)
            | Expr::Or(left, right) => vec![left, right],
            Expr::Slice(base, bounds) => {
                std::iter::once(base).chain(bounds.iter().flatten()).map(AsRef::as_ref).collect()
            }
            Expr::Call(base, arguments)
            | Expr::Filter(base, _, arguments)
            | Expr::Test(base, _, arguments) => {
                std::iter::once(base.as_ref()).chain(arguments.iter()).collect()
            }
            Expr::Concat(parts) | Expr::List(parts) | Expr::Tuple(parts) => parts.iter().collect(),
            Expr::Compare(first, rest) => {
                std::iter::once(first.as_ref()).chain(rest.iter().map(|(_, node)| node)).collect()
            }
            Expr::If { test, then, otherwise } => [Some(test), Some(then), otherwise.as_ref()]
                .into_iter()
                .flatten()
                .map(AsRef::as_ref)
                .collect(),
            Expr::Map(entries) => entries.iter().flat_map(|(key, value)| [key, value]).collect(),
        }
    }
}

impl Arguments {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Node> {
        self.placed.iter().chain(self.named.iter().map(|(_, node)| node))
    }

    /// The argument at a position, or with a name.
    pub(super) fn get(&self, index: usize, name: &str) -> Option<&Node> {
        let named = || self.named.iter().find(|(known, _)| known == name).map(|(_, node)| node);
        self.placed.get(index).or_else(named)
    }
}

/// Parses a whole expression; the error says what is wrong with it.
pub(super) fn parse(text: &str) -> Result<Node, String> {
    if text.len() > MAX_BYTES {
        return Err(format!(
            "it has {} bytes, more than {MAX_BYTES}; split it into smaller expressions",
            text.len()
        ));
    }
    let mut parser = Parser { tokens: tokens(text)?, next: 0, nodes: 0, depth: 0 };
    let node = parser.expression()?;
    match parser.peek() {
        Token::End => Ok(node),
        other => Err(format!("unexpected {} after the expression", shown(other))),
    }
}

struct Parser {
    tokens: Vec<Token>,
    next: usize,
    nodes: u32,
    depth: usize,
}

fn shown(token: &Token) -> String {
    match token {
        Token::Name(name) => format!("`{name}`"),
        Token::Literal(value) => format!("`{value}`"),
        Token::Sign(sign) => format!("`{sign}`"),
        Token::End => "end".into(),
    }
}

type Parsed = Result<Node, String>;

impl Parser {
    fn peek(&self) -> &Token {
        self.tokens.get(self.next).unwrap_or(&Token::End)
    }

    fn advance(&mut self) -> Token {
        let token = self.peek().clone();
        self.next += 1;
        token
    }

    fn is(&self, sign: &str) -> bool {
        matches!(self.peek(), Token::Sign(known) if *known == sign)
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(self.peek(), Token::Name(name) if name == word)
    }

    fn take(&mut self, sign: &str) -> bool {
        let found = self.is(sign);
        self.next += usize::from(found);
        found
    }

    fn take_word(&mut self, word: &str) -> bool {
        let found = self.is_word(word);
        self.next += usize::from(found);
        found
    }

    fn expect(&mut self, sign: &str) -> Result<(), String> {
        if self.take(sign) { Ok(()) } else { Err(format!("expected `{sign}`, not {}", shown(self.peek()))) }
    }

    fn node(&mut self, kind: Expr) -> Parsed {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(format!(
                "it has more than {MAX_NODES} operators and values; split it into smaller expressions"
            ));
        }
        let mut node = Node { id: self.nodes, kind, height: 0 };
        node.height = 1 + node.children().iter().map(|child| child.height).max().unwrap_or(0);
        if node.height > MAX_HEIGHT {
            return Err(format!(
                "it is more than {MAX_HEIGHT} operators deep; split it into smaller expressions"
            ));
        }
        Ok(node)
    }

    fn deeper(&mut self, part: impl FnOnce(&mut Self) -> Parsed) -> Parsed {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(format!(
                "its brackets nest deeper than {MAX_DEPTH}; split it into smaller expressions"
            ));
        }
        let node = part(self)?;
        self.depth -= 1;
        Ok(node)
    }

    fn expression(&mut self) -> Parsed {
        self.deeper(|parser| {
            let mut node = parser.or()?;
            while parser.take_word("if") {
                let test = Box::new(parser.or()?);
                let otherwise =
                    if parser.take_word("else") { Some(Box::new(parser.expression()?)) } else { None };
                node = parser.node(Expr::If { test, then: Box::new(node), otherwise })?;
            }
            Ok(node)
        })
    }

    fn or(&mut self) -> Parsed {
        let mut node = self.and()?;
        while self.take_word("or") {
            let right = self.and()?;
            node = self.node(Expr::Or(Box::new(node), Box::new(right)))?;
        }
        Ok(node)
    }

    fn and(&mut self) -> Parsed {
        let mut node = self.not()?;
        while self.take_word("and") {
            let right = self.not()?;
            node = self.node(Expr::And(Box::new(node), Box::new(right)))?;
        }
        Ok(node)
    }

    fn not(&mut self) -> Parsed {
        if !self.take_word("not") {
            return self.compare();
        }
        let operand = self.deeper(Self::not)?;
        self.node(Expr::Not(Box::new(operand)))
    }

    fn compare(&mut self) -> Parsed {
        let first = self.sum()?;
        let mut rest = Vec::new();
        loop {
            let comparison = match self.peek() {
                Token::Sign("==") => Comparison::Equal,
                Token::Sign("!=") => Comparison::NotEqual,
                Token::Sign("<") => Comparison::Less,
                Token::Sign("<=") => Comparison::LessOrEqual,
                Token::Sign(">") => Comparison::Greater,
                Token::Sign(">=") => Comparison::GreaterOrEqual,
                Token::Name(name) if name == "in" => Comparison::In,
                Token::Name(name)
                    if name == "not" && self.tokens.get(self.next + 1) == Some(&Token::Name("in".into())) =>
                {
                    self.next += 1;
                    Comparison::NotIn
                }
                _ => break,
            };
            self.next += 1;
            rest.push((comparison, self.sum()?));
        }
        if rest.is_empty() { Ok(first) } else { self.node(Expr::Compare(Box::new(first), rest)) }
    }

    fn binary(&mut self, operators: &[(&str, Operator)], operand: fn(&mut Self) -> Parsed) -> Parsed {
        let mut node = operand(self)?;
        while let Some((sign, operator)) = operators.iter().find(|(sign, _)| self.is(sign)) {
            self.expect(sign)?;
            let right = operand(self)?;
            node = self.node(Expr::Binary(*operator, Box::new(node), Box::new(right)))?;
        }
        Ok(node)
    }

    fn sum(&mut self) -> Parsed {
        self.binary(&[("+", Operator::Add), ("-", Operator::Subtract)], Self::concat)
    }

    fn concat(&mut self) -> Parsed {
        let first = self.product()?;
        if !self.is("~") {
            return Ok(first);
        }
        let mut parts = vec![first];
        while self.take("~") {
            parts.push(self.product()?);
        }
        self.node(Expr::Concat(parts))
    }

    fn product(&mut self) -> Parsed {
        let operators = [
            ("*", Operator::Multiply),
            ("//", Operator::FloorDivide),
            ("/", Operator::Divide),
            ("%", Operator::Remainder),
        ];
        self.binary(&operators, Self::power)
    }

    fn power(&mut self) -> Parsed {
        self.binary(&[("**", Operator::Power)], |parser| parser.unary(true))
    }

    fn unary(&mut self, with_filters: bool) -> Parsed {
        let node = if self.take("-") {
            let operand = self.deeper(|parser| parser.unary(false))?;
            self.node(Expr::Negative(Box::new(operand)))?
        } else if self.take("+") {
            let operand = self.deeper(|parser| parser.unary(false))?;
            self.node(Expr::Positive(Box::new(operand)))?
        } else {
            self.primary()?
        };
        let node = self.postfix(node)?;
        if with_filters { self.filters(node) } else { Ok(node) }
    }

    fn primary(&mut self) -> Parsed {
        match self.advance() {
            Token::Name(name) => match name.as_str() {
                "true" | "True" => self.node(Expr::Const(true.into())),
                "false" | "False" => self.node(Expr::Const(false.into())),
                "none" | "None" => self.node(Expr::Const(Value::Null)),
                "and" | "or" | "not" | "if" | "else" | "in" | "is" => Err(format!("unexpected `{name}`")),
                _ => self.node(Expr::Name(name)),
            },
            Token::Literal(Value::String(mut text)) => {
                while let Token::Literal(Value::String(more)) = self.peek() {
                    text.push_str(more);
                    self.next += 1;
                }
                self.node(Expr::Const(text.into()))
            }
            Token::Literal(value) => self.node(Expr::Const(value)),
            Token::Sign("(") => self.parentheses(),
            Token::Sign("[") => {
                let items = self.items("]")?;
                self.node(Expr::List(items))
            }
            Token::Sign("{") => self.map(),
            other => Err(format!("unexpected {}", shown(&other))),
        }
    }

    fn parentheses(&mut self) -> Parsed {
        if self.take(")") {
            return self.node(Expr::Tuple(Vec::new()));
        }
        let first = self.expression()?;
        if self.take(")") {
            return Ok(first);
        }
        self.expect(",")?;
        let mut items = vec![first];
        items.extend(self.items(")")?);
        self.node(Expr::Tuple(items))
    }

    /// Parses a list of expressions up to `end`.
    fn items(&mut self, end: &str) -> Result<Vec<Node>, String> {
        let mut items = Vec::new();
        while !self.take(end) {
            items.push(self.expression()?);
            if !self.is(end) {
                self.expect(",")?;
            }
        }
        Ok(items)
    }

    fn map(&mut self) -> Parsed {
        let mut entries = Vec::new();
        while !self.take("}") {
            let key = self.expression()?;
            self.expect(":")?;
            entries.push((key, self.expression()?));
            if !self.is("}") {
                self.expect(",")?;
            }
        }
        self.node(Expr::Map(entries))
    }

    fn postfix(&mut self, mut node: Node) -> Parsed {
        loop {
            if self.take(".") {
                node = match self.advance() {
                    Token::Name(name) => self.node(Expr::Attribute(Box::new(node), name))?,
                    Token::Literal(index @ Value::Number(_)) => {
                        let index = Box::new(self.node(Expr::Const(index))?);
                        self.node(Expr::Item(Box::new(node), index))?
                    }
                    other => {
                        return Err(format!("expected a name or a number after `.`, not {}", shown(&other)));
                    }
                };
            } else if self.take("[") {
                node = self.subscript(node)?;
            } else if self.take("(") {
                let arguments = self.arguments()?;
                node = self.node(Expr::Call(Box::new(node), arguments))?;
            } else {
                return Ok(node);
            }
        }
    }

    fn subscript(&mut self, base: Node) -> Parsed {
        let mut bounds = [None, None, None];
        let mut colons = 0;
        loop {
            if self.take("]") {
                break;
            }
            if self.take(":") {
                colons += 1;
                if colons > 2 {
                    return Err("a slice has at most two colons".into());
                }
                continue;
            }
            bounds[colons] = Some(Box::new(self.expression()?));
            if !self.is("]") && !self.is(":") {
                return Err(format!("expected `]`, not {}", shown(self.peek())));
            }
        }
        match bounds {
            [Some(key), None, None] if colons == 0 => self.node(Expr::Item(Box::new(base), key)),
            [None, None, None] if colons == 0 => Err("expected a key between `[` and `]`".into()),
            bounds => self.node(Expr::Slice(Box::new(base), bounds)),
        }
    }

    /// Parses arguments after the opening bracket.
    fn arguments(&mut self) -> Result<Arguments, String> {
        let mut arguments = Arguments::default();
        while !self.take(")") {
            let name = match (self.peek(), self.tokens.get(self.next + 1)) {
                (Token::Name(name), Some(Token::Sign("="))) => Some(name.clone()),
                _ => None,
            };
            if let Some(name) = name {
                self.next += 2;
                let value = self.expression()?;
                arguments.named.push((name, value));
            } else if arguments.named.is_empty() {
                arguments.placed.push(self.expression()?);
            } else {
                return Err("a positional argument follows a named one".into());
            }
            if !self.is(")") {
                self.expect(",")?;
            }
        }
        Ok(arguments)
    }

    /// Parses filters and tests, and calls of their results.
    fn filters(&mut self, mut node: Node) -> Parsed {
        loop {
            if self.take("|") {
                let name = self.dotted("a filter")?;
                let arguments = if self.take("(") { self.arguments()? } else { Arguments::default() };
                node = self.node(Expr::Filter(Box::new(node), name, arguments))?;
            } else if self.take_word("is") {
                node = self.test(node)?;
            } else if self.take("(") {
                let arguments = self.arguments()?;
                node = self.node(Expr::Call(Box::new(node), arguments))?;
            } else {
                return Ok(node);
            }
        }
    }

    fn dotted(&mut self, what: &str) -> Result<String, String> {
        let mut name = match self.advance() {
            Token::Name(name) => name,
            other => return Err(format!("expected the name of {what}, not {}", shown(&other))),
        };
        while self.take(".") {
            match self.advance() {
                Token::Name(part) => name.extend([".", &part]),
                other => return Err(format!("expected the name of {what}, not {}", shown(&other))),
            }
        }
        Ok(name)
    }

    fn test(&mut self, node: Node) -> Parsed {
        let negated = self.take_word("not");
        let name = self.dotted("a test")?;
        let arguments = if self.take("(") {
            self.arguments()?
        } else if self.begins_argument() {
            let argument = self.primary()?;
            let argument = self.postfix(argument)?;
            Arguments { placed: vec![argument], named: Vec::new() }
        } else {
            Arguments::default()
        };
        let test = self.node(Expr::Test(Box::new(node), name, arguments))?;
        if negated { self.node(Expr::Not(Box::new(test))) } else { Ok(test) }
    }

    fn begins_argument(&self) -> bool {
        match self.peek() {
            Token::Name(name) => !matches!(name.as_str(), "else" | "or" | "and" | "is" | "if" | "in" | "not"),
            Token::Literal(_) => true,
            Token::Sign(sign) => matches!(*sign, "(" | "[" | "{"),
            Token::End => false,
        }
    }
}
