//! Extracts plain text from HTML without a tree, so that deep nesting costs nothing.

use html5ever::{
    tendril::StrTendril,
    tokenizer::{
        BufferQueue, TagKind, Token, TokenSink, TokenSinkResult, Tokenizer, TokenizerOpts, states::RawKind,
    },
};
use std::cell::{Cell, RefCell};

/// Returns the texts of HTML, separated by spaces, without scripts and styles. `None` if it has no tag.
pub(crate) fn text(html: &str) -> Option<String> {
    let tokenizer = Tokenizer::new(Texts::default(), TokenizerOpts::default());
    let input = BufferQueue::default();
    input.push_back(StrTendril::from_slice(html));
    // Without scripts, nothing interrupts the tokenizer.
    let _ = tokenizer.feed(&input);
    tokenizer.end();
    let Texts { text, has_tag, .. } = tokenizer.sink;
    has_tag.get().then(|| text.into_inner())
}

#[derive(Default)]
struct Texts {
    text: RefCell<String>,
    has_tag: Cell<bool>,
    is_hidden: Cell<bool>,
}

impl TokenSink for Texts {
    type Handle = ();

    fn process_token(&self, token: Token, _: u64) -> TokenSinkResult<()> {
        match token {
            Token::CharacterTokens(characters) if !self.is_hidden.get() => {
                self.text.borrow_mut().push_str(&characters);
            }
            Token::TagToken(tag) => {
                self.text.borrow_mut().push(' ');
                let starts = tag.kind == TagKind::StartTag;
                self.has_tag.set(self.has_tag.get() || starts);
                let raw = match &*tag.name {
                    "script" => Some((RawKind::ScriptData, true)),
                    "style" => Some((RawKind::Rawtext, true)),
                    "title" | "textarea" => Some((RawKind::Rcdata, false)),
                    _ => None,
                };
                if let Some((kind, is_hidden)) = raw {
                    self.is_hidden.set(starts && is_hidden);
                    if starts {
                        return TokenSinkResult::RawData(kind);
                    }
                }
            }
            Token::CommentToken(_) | Token::DoctypeToken(_) => self.text.borrow_mut().push(' '),
            _ => {}
        }
        TokenSinkResult::Continue
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separates_texts() {
        let html = "<p>a&amp;b<b>c</b><!-- d --><script>1 < 2 </p></script><style>e</style>f</p>";
        let words: Vec<String> = text(html).expect("tags").split_whitespace().map(str::to_owned).collect();
        assert_eq!(words, ["a&b", "c", "f"]);
        assert_eq!(text("1 < 2 &amp; 3"), None);
    }
}
