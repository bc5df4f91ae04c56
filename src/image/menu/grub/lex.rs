//! GRUB's words, as its own `yylex.l` splits them: quotes, escapes, variables, comments, continued lines.
//!
//! Where GRUB gives up on a line (an unclosed quote, a `$` before no name), this goes on and takes it literally.

use std::iter::Peekable;
use std::str::Chars;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Token {
    Word(Word),
    /// A newline or `;`.
    End,
    Open,
    Close,
}

/// A word of the script: it becomes one argument, or several, or none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Word(pub Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    Plain(String),
    /// Makes an argument even if it is empty.
    Quoted(String),
    Variable {
        name: String,
        /// In quotes it is one argument, without it is split at blanks.
        quoted: bool,
    },
}

impl Word {
    /// The word if nothing in it is quoted or variable: what may be a keyword.
    pub fn plain(&self) -> Option<&str> {
        match self.0.as_slice() {
            [Part::Plain(text)] => Some(text),
            _ => None,
        }
    }
}

pub fn tokens(text: &str) -> Vec<Token> {
    let mut lexer = Lexer { chars: text.chars().peekable(), parts: Vec::new() };
    let mut tokens = Vec::new();
    while let Some(token) = lexer.token() {
        tokens.push(token);
    }
    tokens
}

struct Lexer<'a> {
    chars: Peekable<Chars<'a>>,
    parts: Vec<Part>,
}

impl Lexer<'_> {
    fn token(&mut self) -> Option<Token> {
        loop {
            match *self.chars.peek()? {
                // GRUB drops carriage returns when it reads a line.
                ' ' | '\t' | '\r' => drop(self.chars.next()),
                '#' => while self.chars.next_if(|c| *c != '\n').is_some() {},
                '\\' => {
                    let mut ahead = self.chars.clone();
                    ahead.next();
                    if !skip_newline(&mut ahead) {
                        break;
                    }
                    self.chars = ahead;
                }
                _ => break,
            }
        }
        match *self.chars.peek()? {
            '\n' | ';' => self.single(Token::End),
            '{' => self.single(Token::Open),
            '}' => self.single(Token::Close),
            _ => Some(Token::Word(self.word())),
        }
    }

    fn single(&mut self, token: Token) -> Option<Token> {
        self.chars.next();
        Some(token)
    }

    fn word(&mut self) -> Word {
        while let Some(c) = self.chars.next_if(|c| !matches!(c, ' ' | '\t' | '\n' | ';' | '{' | '}')) {
            match c {
                '\r' => {}
                '\'' => self.single_quoted(),
                '"' => self.double_quoted(),
                '$' => self.dollar(false),
                '\\' if skip_newline(&mut self.chars) => {}
                // An escaped one is no wildcard.
                '\\' => match self.chars.next() {
                    Some(c) => self.push(c, matches!(c, '*' | '?')),
                    None => self.push('\\', false),
                },
                c => self.push(c, false),
            }
        }
        Word(std::mem::take(&mut self.parts))
    }

    fn single_quoted(&mut self) {
        self.parts.push(Part::Quoted(String::new()));
        while let Some(c) = self.chars.next_if(|c| *c != '\'') {
            self.push(c, true);
        }
        self.chars.next();
    }

    fn double_quoted(&mut self) {
        self.parts.push(Part::Quoted(String::new()));
        while let Some(c) = self.chars.next() {
            match c {
                '"' => return,
                '$' => self.dollar(true),
                '\\' if skip_newline(&mut self.chars) => {}
                '\\' => match self.chars.next_if(|c| matches!(c, '$' | '\\' | '"')) {
                    Some(c) => self.push(c, true),
                    None => self.push('\\', true),
                },
                c => self.push(c, true),
            }
        }
    }

    /// After a `$`: a variable, a translated string, or nothing special.
    fn dollar(&mut self, quoted: bool) {
        if !quoted && self.chars.next_if_eq(&'"').is_some() {
            return self.double_quoted();
        }
        let mut ahead = self.chars.clone();
        let in_braces = ahead.next_if_eq(&'{').is_some();
        let name = variable_name(&mut ahead);
        if name.is_empty() || (in_braces && ahead.next() != Some('}')) {
            return self.push('$', quoted);
        }
        self.chars = ahead;
        self.parts.push(Part::Variable { name, quoted });
    }

    fn push(&mut self, c: char, quoted: bool) {
        match self.parts.last_mut() {
            Some(Part::Quoted(text)) if quoted => text.push(c),
            Some(Part::Plain(text)) if !quoted => text.push(c),
            _ if quoted => self.parts.push(Part::Quoted(c.into())),
            _ => self.parts.push(Part::Plain(c.into())),
        }
    }
}

/// Behind a backslash: skips the end of the line.
fn skip_newline(chars: &mut Peekable<Chars>) -> bool {
    let mut ahead = chars.clone();
    while ahead.next_if_eq(&'\r').is_some() {}
    let found = ahead.next() == Some('\n');
    if found {
        *chars = ahead;
    }
    found
}

fn variable_name(chars: &mut Peekable<Chars>) -> String {
    let first = chars.peek().copied().unwrap_or(' ');
    let mut name = String::new();
    if matches!(first, '?' | '#' | '*' | '@') {
        name.extend(chars.next());
        return name;
    }
    let belongs = |c: &char| match first {
        '0'..='9' => c.is_ascii_digit(),
        'a'..='z' | 'A'..='Z' | '_' => c.is_ascii_alphanumeric() || *c == '_',
        _ => false,
    };
    while let Some(c) = chars.next_if(belongs) {
        name.push(c);
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> Part {
        Part::Plain(text.into())
    }

    fn quoted(text: &str) -> Part {
        Part::Quoted(text.into())
    }

    fn variable(name: &str, quoted: bool) -> Part {
        Part::Variable { name: name.into(), quoted }
    }

    fn words(text: &str) -> Vec<Vec<Part>> {
        let words = tokens(text).into_iter().filter_map(|token| match token {
            Token::Word(word) => Some(word.0),
            _ => None,
        });
        words.collect()
    }

    #[test]
    fn separators_need_no_blanks() {
        let kinds: Vec<char> = (tokens("a;b{c}\n").iter())
            .map(|token| match token {
                Token::Word(_) => 'w',
                Token::End => ';',
                Token::Open => '{',
                Token::Close => '}',
            })
            .collect();
        assert_eq!(kinds, ['w', ';', 'w', '{', 'w', '}', ';']);
    }

    #[test]
    fn single_quotes_keep_everything() {
        assert_eq!(words(r"'a $b \' c"), [vec![quoted(r"a $b \")], vec![plain("c")]]);
    }

    #[test]
    fn double_quotes_expand_and_escape_three_characters() {
        assert_eq!(words(r#""a\"\$\\\n$b""#), [vec![quoted(r#"a"$\\n"#), variable("b", true)]]);
    }

    #[test]
    fn translated_strings_are_strings() {
        assert_eq!(words(r#"$"a $b""#), [vec![quoted("a "), variable("b", true)]]);
    }

    #[test]
    fn quotes_join_what_they_touch() {
        assert_eq!(words(r#"a'b'"c"d"#), [vec![plain("a"), quoted("b"), quoted("c"), plain("d")]]);
    }

    #[test]
    fn empty_quotes_are_a_word() {
        assert_eq!(words("'' \"\""), [vec![quoted("")], vec![quoted("")]]);
    }

    #[test]
    fn variables_with_and_without_braces() {
        assert_eq!(
            words("${a}b$c_1.$1"),
            [vec![
                variable("a", false),
                plain("b"),
                variable("c_1", false),
                plain("."),
                variable("1", false)
            ]]
        );
    }

    #[test]
    fn a_dollar_before_no_name_is_a_dollar() {
        assert_eq!(words("a$ $/ \"$\""), [vec![plain("a$")], vec![plain("$/")], vec![quoted("$")]]);
        assert_eq!(words("${a"), [vec![plain("$")], vec![plain("a")]]);
    }

    #[test]
    fn a_backslash_continues_the_line() {
        assert_eq!(words("a \\\n  b\\\r\nc"), [vec![plain("a")], vec![plain("bc")]]);
        assert!(!tokens("a \\\nb").contains(&Token::End));
    }

    #[test]
    fn a_backslash_escapes() {
        assert_eq!(words(r"a\ b\;c\$d"), [vec![plain("a b;c$d")]]);
    }

    #[test]
    fn comments_begin_a_word() {
        assert_eq!(words("a#b #c\nd"), [vec![plain("a#b")], vec![plain("d")]]);
    }

    #[test]
    fn an_open_quote_goes_to_the_end() {
        assert_eq!(words("a 'b\nc"), [vec![plain("a")], vec![quoted("b\nc")]]);
        assert_eq!(words("a \"b\nc"), [vec![plain("a")], vec![quoted("b\nc")]]);
        assert_eq!(words("a\\"), [vec![plain("a\\")]]);
    }
}
