//! The `JSONPath` dialect of workflow files: exactly what `jsonpath-ng` 1.6 accepts.
//!
//! Its grammar is unusual, and files rely on it. `.` binds weaker than `|`, `&` and `where`. Brackets bind weakest, so
//! `$..a[0]` is `($..a)[0]`. Text that its *parser* refuses is a literal; text that its *lexer* refuses fails the node.
//! Therefore the parser reads one token at a time, and stops at the first error of either.

/// Steps, names and operators of one path. Following a path recurses at most this deep.
const MAX_PARTS: usize = 256;
/// How deep parentheses may nest.
const MAX_NESTING: usize = 32;

/// A parsed path.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Path {
    Root,
    This,
    Parent,
    Fields(Vec<String>),
    Index(i64),
    Slice { start: Option<i64>, end: Option<i64>, step: Option<i64> },
    Child(Box<Path>, Box<Path>),
    Descendants(Box<Path>, Box<Path>),
    Where(Box<Path>, Box<Path>),
    Union(Box<Path>, Box<Path>),
    Intersect(Box<Path>, Box<Path>),
}

/// Why a text is not a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It contains a character that paths cannot contain.
    Lexer(String),
    /// Its tokens do not form a path.
    Parser(String),
    /// It exceeds the limit on length or nesting.
    Limit(String),
}

/// Parses a path.
pub(crate) fn parse(text: &str) -> Result<Path, Refusal> {
    let mut parser = Parser { lexer: Lexer { rest: text }, ahead: None, parts: 0, nesting: 0 };
    let path = parser.expression(0)?;
    match parser.peek()? {
        Token::End => Ok(path),
        other => Err(other.unexpected()),
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Name(String),
    Number(i64),
    Operator(String),
    DoubleDot,
    Where,
    Sign(char),
    End,
}

impl Token {
    fn unexpected(&self) -> Refusal {
        Refusal::Parser(match self {
            Self::End => "parse error near the end of the path".into(),
            other => format!("parse error near {other:?}"),
        })
    }

    /// The precedence of an operator; 0 for other tokens.
    fn precedence(&self) -> u8 {
        match self {
            Self::DoubleDot => 2,
            Self::Sign('.') => 3,
            Self::Sign('|') => 4,
            Self::Sign('&') => 5,
            Self::Where => 6,
            _ => 0,
        }
    }
}

struct Parser<'t> {
    lexer: Lexer<'t>,
    ahead: Option<Token>,
    parts: usize,
    nesting: usize,
}

impl Parser<'_> {
    fn peek(&mut self) -> Result<Token, Refusal> {
        if self.ahead.is_none() {
            self.ahead = Some(self.lexer.next()?);
        }
        Ok(self.ahead.clone().unwrap_or(Token::End))
    }

    fn next(&mut self) -> Result<Token, Refusal> {
        let token = self.peek()?;
        self.ahead = None;
        Ok(token)
    }

    fn expect(&mut self, sign: char) -> Result<(), Refusal> {
        match self.next()? {
            Token::Sign(found) if found == sign => Ok(()),
            other => Err(other.unexpected()),
        }
    }

    /// Counts a part of the path.
    fn part(&mut self) -> Result<(), Refusal> {
        self.parts += 1;
        if self.parts > MAX_PARTS {
            return Err(Refusal::Limit(format!("a path has at most {MAX_PARTS} steps; shorten it")));
        }
        Ok(())
    }

    /// Parses an expression of operators with a precedence above `floor`.
    fn expression(&mut self, floor: u8) -> Result<Path, Refusal> {
        let mut left = self.primary()?;
        loop {
            let token = self.peek()?;
            if token == Token::Sign('[') && floor == 0 {
                left = Path::Child(Box::new(left), Box::new(self.brackets()?));
                continue;
            }
            let precedence = token.precedence();
            if precedence <= floor {
                return Ok(left);
            }
            self.ahead = None;
            let (left_side, right) = (Box::new(left), Box::new(self.expression(precedence)?));
            left = match token {
                Token::DoubleDot => Path::Descendants(left_side, right),
                Token::Where => Path::Where(left_side, right),
                Token::Sign('|') => Path::Union(left_side, right),
                Token::Sign('&') => Path::Intersect(left_side, right),
                _ => Path::Child(left_side, right),
            };
        }
    }

    fn primary(&mut self) -> Result<Path, Refusal> {
        self.part()?;
        match self.peek()? {
            Token::Sign('[') => self.brackets(),
            Token::Sign('$') => self.skip(Path::Root),
            Token::Sign('*') => self.skip(Path::Fields(vec!["*".into()])),
            Token::Sign('(') => {
                self.ahead = None;
                self.nesting += 1;
                if self.nesting > MAX_NESTING {
                    let problem = format!("the parentheses of a path nest at most {MAX_NESTING} deep");
                    return Err(Refusal::Limit(problem));
                }
                let inner = self.expression(0)?;
                self.expect(')')?;
                self.nesting -= 1;
                Ok(inner)
            }
            Token::Name(_) => self.fields(),
            Token::Operator(name) => match name.as_str() {
                "this" => self.skip(Path::This),
                "parent" => self.skip(Path::Parent),
                _ => Err(Refusal::Parser(format!("unknown operator `{name}`"))),
            },
            other => Err(other.unexpected()),
        }
    }

    #[expect(clippy::unnecessary_wraps, reason = "used in match arms next to calls that can fail")]
    fn skip(&mut self, path: Path) -> Result<Path, Refusal> {
        self.ahead = None;
        Ok(path)
    }

    fn fields(&mut self) -> Result<Path, Refusal> {
        let mut names = Vec::new();
        loop {
            match self.next()? {
                Token::Name(name) => names.push(name),
                other => return Err(other.unexpected()),
            }
            if self.peek()? != Token::Sign(',') {
                return Ok(Path::Fields(names));
            }
            self.part()?;
            self.ahead = None;
        }
    }

    fn brackets(&mut self) -> Result<Path, Refusal> {
        self.part()?;
        self.expect('[')?;
        let path = match self.peek()? {
            Token::Name(_) => self.fields()?,
            Token::Sign('*') => self.skip(Path::Slice { start: None, end: None, step: None })?,
            Token::Number(number) => {
                self.ahead = None;
                if self.peek()? == Token::Sign(':') { self.slice(Some(number))? } else { Path::Index(number) }
            }
            Token::Sign(':') => self.slice(None)?,
            other => return Err(other.unexpected()),
        };
        self.expect(']')?;
        Ok(path)
    }

    fn slice(&mut self, start: Option<i64>) -> Result<Path, Refusal> {
        self.expect(':')?;
        let end = self.number()?;
        let mut step = None;
        if self.peek()? == Token::Sign(':') {
            self.ahead = None;
            step = self.number()?;
        }
        Ok(Path::Slice { start, end, step })
    }

    fn number(&mut self) -> Result<Option<i64>, Refusal> {
        if let Token::Number(number) = self.peek()? {
            self.ahead = None;
            return Ok(Some(number));
        }
        Ok(None)
    }
}

struct Lexer<'t> {
    rest: &'t str,
}

impl Lexer<'_> {
    fn next(&mut self) -> Result<Token, Refusal> {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n']);
        let mut characters = self.rest.chars();
        let Some(first) = characters.next() else { return Ok(Token::End) };
        let second = characters.next();
        let token = match first {
            'a'..='z' | 'A'..='Z' | '_' | '@' => {
                let name = self.take(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '@' | '-'));
                return Ok(if name == "where" { Token::Where } else { Token::Name(name) });
            }
            '-' if second.is_some_and(|second| second.is_ascii_digit()) => {
                self.rest = &self.rest[1..];
                return Ok(Token::Number(-self.digits()));
            }
            '0'..='9' => return Ok(Token::Number(self.digits())),
            '\'' | '"' => return self.quoted(first).map(Token::Name),
            '`' => return self.quoted(first).map(Token::Operator),
            '.' if second == Some('.') => {
                self.rest = &self.rest[2..];
                return Ok(Token::DoubleDot);
            }
            '*' | '.' | '[' | ']' | '(' | ')' | '$' | ',' | ':' | '|' | '&' | '~' => Token::Sign(first),
            _ => return Err(Refusal::Lexer(format!("unexpected character: {first}"))),
        };
        self.rest = &self.rest[1..];
        Ok(token)
    }

    fn take(&mut self, belongs: impl Fn(char) -> bool) -> String {
        let end = self.rest.find(|c| !belongs(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken.to_owned()
    }

    /// A number. One that is too large for an index is clamped; it matches nothing.
    fn digits(&mut self) -> i64 {
        self.take(|c| c.is_ascii_digit()).parse().unwrap_or(i64::MAX)
    }

    fn quoted(&mut self, quote: char) -> Result<String, Refusal> {
        let mut text = String::new();
        let mut characters = self.rest[1..].char_indices();
        while let Some((index, character)) = characters.next() {
            match character {
                '\\' => match characters.next() {
                    Some((_, escaped)) if escaped != '\n' => text.push(escaped),
                    _ => return Err(Refusal::Lexer("unexpected character: \\".into())),
                },
                _ if character == quote => {
                    self.rest = &self.rest[index + 2..];
                    return Ok(text);
                }
                _ => text.push(character),
            }
        }
        Err(Refusal::Lexer("unexpected end in a string literal or identifier".into()))
    }
}
