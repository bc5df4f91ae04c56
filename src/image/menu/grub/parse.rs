//! GRUB's commands, as its grammar (`parser.y`) groups them.
//!
//! What the grammar refuses is skipped as little as possible: a stray `fi` or `}` is ignored, a block that no command
//! takes is dropped, what is left open ends with the text.

use super::lex::{self, Token, Word};
use std::iter::Peekable;
use std::rc::Rc;
use std::vec::IntoIter;

/// Blocks in blocks; the deepest menu seen has six. What lies deeper is not read.
const MAX_NESTING: usize = 32;

pub type Block = Rc<Vec<Command>>;

#[derive(Debug)]
pub enum Command {
    /// Words, and the block of a menu entry.
    Simple(Vec<Word>, Option<Block>),
    /// Conditions with what each is for, tried in order; a last one without condition is the `else`.
    If(Vec<(Vec<Command>, Vec<Command>)>),
    For {
        name: String,
        words: Vec<Word>,
        body: Vec<Command>,
    },
    While {
        /// The status of the condition that keeps it going.
        wanted: bool,
        condition: Vec<Command>,
        body: Vec<Command>,
    },
    Function {
        name: String,
        body: Block,
    },
}

pub fn parse(text: &str) -> Vec<Command> {
    let mut parser = Parser { tokens: lex::tokens(text).into_iter().peekable(), depth: 0, braces: 0 };
    parser.commands(&[])
}

struct Parser {
    tokens: Peekable<IntoIter<Token>>,
    depth: usize,
    /// Open braces around what is being read.
    braces: usize,
}

impl Parser {
    /// Commands up to one of the keywords, which stays, or to the brace that closes what is around.
    fn commands(&mut self, until: &[&str]) -> Vec<Command> {
        let mut commands = Vec::new();
        self.depth += 1;
        if self.depth > MAX_NESTING {
            self.tokens = Vec::new().into_iter().peekable();
        }
        while let Some(token) = self.tokens.peek() {
            match token {
                Token::End => drop(self.tokens.next()),
                Token::Close if self.braces > 0 => break,
                Token::Close => drop(self.tokens.next()),
                Token::Open => drop(self.block()),
                Token::Word(word) if word.plain().is_some_and(|word| until.contains(&word)) => {
                    break;
                }
                Token::Word(_) => commands.extend(self.command()),
            }
        }
        self.depth -= 1;
        commands
    }

    fn command(&mut self) -> Option<Command> {
        let keyword = match self.tokens.peek() {
            Some(Token::Word(word)) => word.plain().unwrap_or_default().to_owned(),
            _ => return None,
        };
        match keyword.as_str() {
            "if" => Some(self.branches()),
            "for" => Some(self.for_loop()),
            "while" | "until" => Some(self.while_loop(keyword == "while")),
            "function" => self.function(),
            "then" | "elif" | "else" | "fi" | "do" | "done" => {
                self.tokens.next();
                None
            }
            _ => Some(self.simple(&keyword)),
        }
    }

    fn simple(&mut self, name: &str) -> Command {
        let words = self.words();
        let takes_block = matches!(name, "menuentry" | "submenu" | "hiddenentry");
        let is_block = takes_block && self.tokens.peek() == Some(&Token::Open);
        let block = is_block.then(|| Rc::new(self.block()));
        Command::Simple(words, block)
    }

    fn branches(&mut self) -> Command {
        let mut branches = Vec::new();
        while self.take(&["if", "elif"]) {
            let condition = self.commands(&["then", "elif", "else", "fi"]);
            self.take(&["then"]);
            branches.push((condition, self.commands(&["elif", "else", "fi"])));
        }
        if self.take(&["else"]) {
            branches.push((Vec::new(), self.commands(&["fi"])));
        }
        self.take(&["fi"]);
        Command::If(branches)
    }

    fn for_loop(&mut self) -> Command {
        self.tokens.next();
        let mut words = self.words().into_iter();
        let name = words.next().and_then(|word| word.plain().map(String::from)).unwrap_or_default();
        let words = words.skip_while(|word| word.plain() == Some("in")).collect();
        Command::For { name, words, body: self.loop_body() }
    }

    fn while_loop(&mut self, wanted: bool) -> Command {
        self.tokens.next();
        let condition = self.commands(&["do", "done"]);
        Command::While { wanted, condition, body: self.loop_body() }
    }

    fn loop_body(&mut self) -> Vec<Command> {
        while self.tokens.next_if_eq(&Token::End).is_some() {}
        self.take(&["do"]);
        let body = self.commands(&["done"]);
        self.take(&["done"]);
        body
    }

    fn function(&mut self) -> Option<Command> {
        self.tokens.next();
        let name = self.words().first()?.plain()?.to_owned();
        while self.tokens.next_if_eq(&Token::End).is_some() {}
        if self.tokens.peek() != Some(&Token::Open) {
            return None;
        }
        Some(Command::Function { name, body: Rc::new(self.block()) })
    }

    /// Commands in braces.
    fn block(&mut self) -> Vec<Command> {
        self.tokens.next();
        self.braces += 1;
        let commands = self.commands(&[]);
        self.braces -= 1;
        self.tokens.next_if_eq(&Token::Close);
        commands
    }

    fn words(&mut self) -> Vec<Word> {
        let mut words = Vec::new();
        while let Some(Token::Word(word)) = self.tokens.next_if(|token| matches!(token, Token::Word(_))) {
            words.push(word);
        }
        words
    }

    fn take(&mut self, keywords: &[&str]) -> bool {
        let is_keyword = |word: &Word| word.plain().is_some_and(|word| keywords.contains(&word));
        self.tokens.next_if(|token| matches!(token, Token::Word(word) if is_keyword(word))).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Commands as their first words, blocks in brackets.
    fn outline(commands: &[Command]) -> String {
        let outline = |command: &Command| match command {
            Command::Simple(words, block) => {
                let name = words.first().and_then(Word::plain).unwrap_or("?").to_owned();
                block.as_ref().map_or(name.clone(), |block| format!("{name}[{}]", self::outline(block)))
            }
            Command::If(branches) => {
                let parts =
                    branches.iter().map(|(c, b)| format!("{}:{}", self::outline(c), self::outline(b)));
                format!("if({})", parts.collect::<Vec<_>>().join("|"))
            }
            Command::For { name, words, body } => {
                format!("for({name} {} {})", words.len(), self::outline(body))
            }
            Command::While { wanted, condition, body } => {
                format!("while({wanted} {} {})", self::outline(condition), self::outline(body))
            }
            Command::Function { name, body } => format!("{name}()[{}]", self::outline(body)),
        };
        commands.iter().map(outline).collect::<Vec<_>>().join(" ")
    }

    fn of(text: &str) -> String {
        outline(&parse(text))
    }

    #[test]
    fn conditions_with_branches() {
        assert_eq!(of("if a; then b; c\nelif d\nthen e; else f; fi; g"), "if(a:b c|d:e|:f) g");
    }

    #[test]
    fn conditions_in_conditions() {
        assert_eq!(of("if a; then if b; then c; else d; fi; fi\ne"), "if(a:if(b:c|:d)) e");
    }

    #[test]
    fn entries_in_submenus() {
        assert_eq!(
            of("submenu 'x'{\nmenuentry y --class z { linux k;initrd i}\n}\na"),
            "submenu[menuentry[linux initrd]] a"
        );
    }

    #[test]
    fn loops_and_functions() {
        assert_eq!(
            of("for x in a b; do c; done; while d; do e; done\nuntil f\ndo g\ndone"),
            "for(x 2 c) while(true d e) while(false f g)"
        );
        assert_eq!(of("function f {\n a\n b\n}\nfunction g\n{ c; }\nd"), "f()[a b] g()[c] d");
    }

    #[test]
    fn keywords_only_begin_commands() {
        assert_eq!(of("echo if then fi\n'if' a"), "echo ?");
    }

    #[test]
    fn a_stray_end_is_ignored() {
        assert_eq!(of("fi\n}\ndone\na\n}\nb"), "a b");
    }

    #[test]
    fn a_block_that_nothing_takes_is_dropped() {
        assert_eq!(of("a { b { c } } d"), "a d");
    }

    #[test]
    fn an_open_condition_ends_with_its_block() {
        assert_eq!(of("menuentry x { if a; then b }\nc"), "menuentry[if(a:b)] c");
        assert_eq!(of("menuentry x { if a; then b"), "menuentry[if(a:b)]");
    }

    #[test]
    fn deep_nesting_ends_the_text() {
        for deep in ["if a; then ", "submenu x { ", "while a; do "] {
            let text = format!("a\n{}b", deep.repeat(20_000));
            assert!(of(&text).len() < 2000);
        }
    }
}
