//! Limits on the size and depth of a template, checked on its tokens before it is parsed. The parser, and code that
//! walks its tree, recurse for each operator in a chain, and the parser's own limit does not count those.

use minijinja::{
    machinery::{Token, tokenize},
    syntax::SyntaxConfig,
};

/// Bytes of a template.
const MAX_BYTES: usize = 256 << 10;
/// How deep blocks may nest; each `elif` counts as one level.
const MAX_BLOCKS: usize = 64;
/// How deep brackets may nest within a tag.
const MAX_BRACKETS: usize = 32;
/// Chained operators, filters, calls and subscripts within a tag, including those of the brackets around them.
const MAX_CHAIN: usize = 200;

/// The error says which limit a template exceeds. Syntax errors are left to the parser.
pub(super) fn check(text: &str) -> Result<(), String> {
    if text.len() > MAX_BYTES {
        return Err(format!("a template has at most {MAX_BYTES} bytes, but this one has {}", text.len()));
    }
    // Everything but plain text begins with `{{`, `{%` or `{#`.
    if !text.contains('{') {
        return Ok(());
    }
    let (mut tag, mut blocks) = (Tag::default(), Blocks::default());
    for token in tokenize(text, false, SyntaxConfig::default()) {
        let Ok((token, span)) = token else { break };
        let problem = match token {
            Token::VariableStart | Token::BlockStart => {
                tag = Tag::default();
                tag.is_block = matches!(token, Token::BlockStart);
                None
            }
            Token::BlockEnd => blocks.end_of(&tag).err(),
            token => tag.take(&token).err().or_else(|| blocks.word(&mut tag, &token)),
        };
        if let Some(problem) = problem {
            return Err(format!("{problem} (line {} of the template)", span.start_line));
        }
    }
    Ok(())
}

/// The content of a tag, between `{{` or `{%` and its end.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts of one tag")]
struct Tag {
    is_block: bool,
    /// Whether its first word was seen.
    began: bool,
    /// Whether it is a `set`, and whether it has an `=`.
    sets: bool,
    assigns: bool,
    /// The length of the current chain of operators in each open bracket.
    chains: Vec<usize>,
    /// The sum of `chains` and `outside`.
    chain: usize,
    /// The length of the current chain outside all brackets.
    outside: usize,
}

impl Tag {
    fn take(&mut self, token: &Token<'_>) -> Result<(), String> {
        match token {
            Token::ParenOpen | Token::BracketOpen | Token::BraceOpen => {
                self.longer()?;
                self.chains.push(0);
                if self.chains.len() > MAX_BRACKETS {
                    return Err(format!("brackets nest deeper than {MAX_BRACKETS}"));
                }
            }
            Token::ParenClose | Token::BracketClose | Token::BraceClose => {
                self.chain -= self.chains.pop().unwrap_or(0);
            }
            // Ends the chain of this bracket.
            Token::Comma | Token::Colon => {
                let chain = std::mem::take(self.chains.last_mut().unwrap_or(&mut self.outside));
                self.chain -= chain;
            }
            Token::Assign if self.chains.is_empty() => self.assigns = true,
            Token::Plus
            | Token::Minus
            | Token::Mul
            | Token::Div
            | Token::FloorDiv
            | Token::Pow
            | Token::Mod
            | Token::Dot
            | Token::Tilde
            | Token::Pipe
            | Token::Eq
            | Token::Ne
            | Token::Gt
            | Token::Gte
            | Token::Lt
            | Token::Lte
            | Token::Ident("and" | "or" | "not" | "is" | "in" | "if" | "else") => self.longer()?,
            _ => {}
        }
        Ok(())
    }

    fn longer(&mut self) -> Result<(), String> {
        *self.chains.last_mut().unwrap_or(&mut self.outside) += 1;
        self.chain += 1;
        if self.chain > MAX_CHAIN {
            return Err(format!(
                "more than {MAX_CHAIN} operators follow each other; split the expression with `set`"
            ));
        }
        Ok(())
    }
}

/// The blocks that are open.
#[derive(Default)]
struct Blocks {
    /// How many levels each open block adds.
    open: Vec<usize>,
    levels: usize,
}

impl Blocks {
    /// Processes the first word of a block tag.
    fn word(&mut self, tag: &mut Tag, token: &Token<'_>) -> Option<String> {
        if !tag.is_block || std::mem::replace(&mut tag.began, true) {
            return None;
        }
        let Token::Ident(word) = token else { return None };
        match *word {
            "set" => tag.sets = true,
            "elif" => return self.deeper(),
            "for" | "if" | "with" | "filter" | "block" | "macro" | "call" | "autoescape" => {
                self.open.push(0);
                return self.deeper();
            }
            word if word.starts_with("end") => self.levels -= self.open.pop().unwrap_or(0),
            _ => {}
        }
        None
    }

    /// A `set` without an `=` is a block.
    fn end_of(&mut self, tag: &Tag) -> Result<(), String> {
        if tag.sets && !tag.assigns {
            self.open.push(0);
            return self.deeper().map_or(Ok(()), Err);
        }
        Ok(())
    }

    fn deeper(&mut self) -> Option<String> {
        *self.open.last_mut()? += 1;
        self.levels += 1;
        (self.levels > MAX_BLOCKS)
            .then(|| format!("blocks nest deeper than {MAX_BLOCKS} levels; each `elif` counts as one"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Template;

    /// Compiles on a stack that is smaller than those of the server's threads.
    fn compiled(text: String) -> Result<(), String> {
        let compile = move || Template::new(&text).map(drop);
        let thread = std::thread::Builder::new().stack_size(1 << 20).spawn(compile).expect("a thread");
        thread.join().expect("no overflow")
    }

    #[test]
    fn templates_within_the_limits_compile_on_a_small_stack() {
        for text in [
            format!("{{{{ {}1{} }}}}", "(".repeat(31), ")".repeat(31)),
            format!("{{{{ {}1 }}}}", "-".repeat(199)),
            format!("{{{{ {}a }}}}", "not ".repeat(199)),
            format!("{{{{ a{} }}}}", ".b".repeat(199)),
            format!("{{{{ a{} }}}}", "|upper".repeat(199)),
            format!("{{{{ a{} }}}}", "[0]".repeat(99)),
            format!("{{{{ 1{} }}}}", " + 1".repeat(199)),
            format!("{{{{ 1{} }}}}", " if a else 1".repeat(90)),
            format!("{{{{ {}1{} }}}}", "[".repeat(31), "]".repeat(31)),
            format!("{}x{}", "{% if a %}".repeat(63), "{% endif %}".repeat(63)),
            format!("{}x{}", "{% for i in a %}".repeat(63), "{% endfor %}".repeat(63)),
            format!("{{% if a %}}x{}{{% endif %}}", "{% elif b %}y".repeat(62)),
            format!("{{% set x = [{}] %}}{{{{ x }}}}", "[1, 'a', -2], ".repeat(5_000)),
            "{{ a + b }}{% if a %}{{ b }}{% endif %}".repeat(5_000),
            "{% set x = 1 %}".repeat(1_000),
            "{ plain {text} with # and % }".repeat(1_000),
        ] {
            let begin = text[..40.min(text.len())].to_owned();
            assert_eq!(compiled(text), Ok(()), "{begin}");
        }
    }

    #[test]
    fn templates_that_exceed_a_limit_are_refused_without_overflow() {
        for (text, problem) in [
            (format!("{{{{ {}1{} }}}}", "(".repeat(100_000), ")".repeat(100_000)), "brackets nest"),
            (format!("{{{{ {}1 }}}}", "-".repeat(200_000)), "operators follow"),
            (format!("{{{{ {}a }}}}", "not ".repeat(50_000)), "operators follow"),
            (format!("{{{{ {}1{} }}}}", "{'a': ".repeat(20_000), "}".repeat(20_000)), "brackets nest"),
            (format!("{{{{ a{} }}}}", ".b".repeat(100_000)), "operators follow"),
            (format!("{{{{ a{} }}}}", "|upper".repeat(30_000)), "operators follow"),
            (format!("{{{{ a{} }}}}", "()".repeat(50_000)), "operators follow"),
            (format!("{{{{ 1{} }}}}", " ~ 1".repeat(50_000)), "operators follow"),
            (format!("{{{{ 1{} }}}}", " if a else 1".repeat(20_000)), "operators follow"),
            (format!("{{{{ 1{} }}}}", "(0, 1".repeat(20_000)), "brackets nest"),
            (format!("{{% set {}a{} = 1 %}}", "(".repeat(50_000), ")".repeat(50_000)), "brackets nest"),
            ("{% if a %}".repeat(20_000), "blocks nest"),
            (format!("{{% if a %}}{}{{% endif %}}", "{% elif b %}".repeat(20_000)), "blocks nest"),
            ("{% set x %}".repeat(20_000), "blocks nest"),
            ("{%for a in b%}{%if a%}".repeat(10_000), "blocks nest"),
            (format!("{{% raw %}}{{{{ ' {{% endraw %}}{{{{ {}1 }}}}", "-".repeat(1_000)), "operators follow"),
            (format!("{{# {{{{ ' #}}{{{{ {}1 }}}}", "-".repeat(1_000)), "operators follow"),
            ("x".repeat(300_000), "at most 262144 bytes"),
        ] {
            let begin = text[..40.min(text.len())].to_owned();
            let refusal = compiled(text).expect_err(&begin);
            assert!(refusal.contains(problem), "{begin}: {refusal}");
        }
    }
}
