//! The separators of source code and markup, by language, for the largest parts first. They are regular expressions.

/// The starts of lines that begin a part.
#[rustfmt::skip]
const LINES: &[(&str, &[&str])] = &[
    ("c", &["void ", "int ", "float ", "double ", "struct ", "if ", "for ", "while ", "switch ", "case "]),
    ("cobol", &[
        "IDENTIFICATION DIVISION.", "ENVIRONMENT DIVISION.", "DATA DIVISION.", "PROCEDURE DIVISION.",
        "WORKING-STORAGE SECTION.", "LINKAGE SECTION.", "FILE SECTION.", "INPUT-OUTPUT SECTION.", "OPEN ", "CLOSE ",
        "READ ", "WRITE ", "IF ", "ELSE ", "MOVE ", "PERFORM ", "UNTIL ", "VARYING ", "ACCEPT ", "DISPLAY ",
        "STOP RUN.",
    ]),
    ("cpp", &["class ", "void ", "int ", "float ", "double ", "if ", "for ", "while ", "switch ", "case "]),
    ("csharp", &[
        "interface ", "enum ", "implements ", "delegate ", "event ", "class ", "abstract ", "public ", "protected ",
        "private ", "static ", "return ", "if ", "continue ", "for ", "foreach ", "while ", "switch ", "break ",
        "case ", "else ", "try ", "throw ", "finally ", "catch ",
    ]),
    ("elixir", &[
        "def ", "defp ", "defmodule ", "defprotocol ", "defmacro ", "defmacrop ", "if ", "unless ", "while ",
        "case ", "cond ", "with ", "for ", "do ", "else ", "end ", "|>",
    ]),
    ("go", &["func ", "var ", "const ", "type ", "if ", "for ", "switch ", "case "]),
    ("haskell", &[
        "main :: ", "main = ", "let ", "in ", "do ", "where ", "if ", "then ", "else ", "case ", "of ", "class ",
        "instance ", "module ", "import ", "data ", "type ", "newtype ",
    ]),
    ("java", &["class ", "public ", "protected ", "private ", "static ", "if ", "for ", "while ", "switch ", "case "]),
    ("js", &["function ", "const ", "let ", "var ", "class ", "if ", "for ", "while ", "switch ", "case ", "default "]),
    ("kotlin", &["class ", "fun ", "val ", "var ", "if ", "for ", "while ", "when ", "case "]),
    ("lua", &["local ", "function ", "if ", "for ", "while ", "repeat "]),
    ("perl", &[
        "sub ", "my ", "our ", "local ", "if ", "elsif ", "else ", "foreach ", "for ", "while ", "until ", "do ",
    ]),
    ("php", &["function ", "class ", "if ", "foreach ", "while ", "do ", "switch ", "case "]),
    ("powershell", &[
        "function ", "param ", "if ", "elseif ", "else ", "for ", "foreach ", "while ", "switch ", "trap ", "try ",
        "catch ", "finally ",
    ]),
    ("proto", &["message ", "service ", "enum ", "option ", "import ", "syntax "]),
    ("python", &["class ", "def ", "\tdef "]),
    ("ruby", &["def ", "class ", "if ", "unless ", "while ", "for ", "do ", "begin ", "rescue "]),
    ("rust", &["fn ", "const ", "let ", "if ", "while ", "for ", "loop ", "match ", "const "]),
    ("scala", &["class ", "object ", "def ", "val ", "var ", "if ", "for ", "while ", "match ", "case "]),
    ("sol", &[
        "pragma ", "using ", "contract ", "interface ", "library ", "constructor ", "type ", "function ", "event ",
        "modifier ", "error ", "struct ", "enum ", "if ", "for ", "while ", "do while ", "assembly ",
    ]),
    ("swift", &["func ", "class ", "struct ", "enum ", "if ", "for ", "while ", "do ", "switch ", "case "]),
    ("ts", &[
        "function ", "const ", "let ", "var ", "class ", "interface ", "type ", "enum ", "if ", "for ", "while ",
        "switch ", "case ", "default ",
    ]),
    ("visualbasic6", &[
        "Sub ", "Function ", "Class ", "Module ", "Property ", "If ", "ElseIf ", "Else ", "For ", "While ", "Do ",
        "Select Case ", "End Sub", "End Function", "End Class", "End Module", "End Property", "End If", "Next",
        "Loop", "Wend", "End Select",
    ]),
];

/// Further separators of every language in [`LINES`].
const TAIL: &[&str] = &["\n\n", "\n", " ", ""];

/// Languages whose parts do not all begin at the start of a line.
#[rustfmt::skip]
const OTHERS: &[(&str, &[&str])] = &[
    ("html", &[
        "<body", "<div", "<p", "<br", "<li", "<h1", "<h2", "<h3", "<h4", "<h5", "<h6", "<span", "<table", "<tr",
        "<td", "<th", "<ul", "<ol", "<header", "<footer", "<nav", "<head", "<style", "<script", "<meta", "<title",
        "",
    ]),
    ("latex", &[
        "\n\\\\chapter{", "\n\\\\section{", "\n\\\\subsection{", "\n\\\\subsubsection{", "\n\\\\begin{enumerate}",
        "\n\\\\begin{itemize}", "\n\\\\begin{description}", "\n\\\\begin{list}", "\n\\\\begin{quote}",
        "\n\\\\begin{quotation}", "\n\\\\begin{verse}", "\n\\\\begin{verbatim}", "\n\\\\begin{align}", "$$", "$",
        " ", "",
    ]),
    ("markdown", &["\n#{1,6} ", "```\n", "\n\\*\\*\\*+\n", "\n---+\n", "\n___+\n", "\n\n", "\n", " ", ""]),
    ("rst", &["\n=+\n", "\n-+\n", "\n\\*+\n", "\n\n.. *\n\n", "\n\n", "\n", " ", ""]),
];

/// The names of the languages in workflow files.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    LINES.iter().chain(OTHERS).map(|(name, _)| *name)
}

/// The separators of a language, if it is known.
pub(super) fn separators(language: &str) -> Option<Vec<String>> {
    let of = |table: &'static [(&str, &[&'static str])]| {
        table.iter().find(|(name, _)| *name == language).map(|(_, parts)| *parts)
    };
    if let Some(parts) = of(OTHERS) {
        return Some(parts.iter().map(ToString::to_string).collect());
    }
    let lines = of(LINES)?.iter().map(|line| format!("\n{line}"));
    Some(lines.chain(TAIL.iter().map(ToString::to_string)).collect())
}
