//! A file of Rust, read just closely enough to hold it to the rules.

use std::ops::RangeInclusive;

/// One file, seen three ways. All three have the same lines and the same columns.
#[derive(Debug)]
pub(crate) struct Source {
    /// From the repository's root, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
    /// The code alone: comments and literals of text are blank.
    pub(crate) code: String,
    /// The comments alone.
    pub(crate) comments: String,
}

/// A `mod` item.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Module {
    pub(crate) name: String,
    pub(crate) line: usize,
    /// What a `#[path]` attribute says.
    pub(crate) path: Option<String>,
    /// Whether it is compiled for tests only.
    pub(crate) test: bool,
    /// The lines of its body, if it has one here.
    pub(crate) body: Option<RangeInclusive<usize>>,
}

impl Source {
    pub(crate) fn new(path: impl Into<String>, text: impl Into<String>) -> Self {
        let text = text.into();
        let chars: Vec<char> = text.chars().collect();
        let (mut code, mut comments) = (String::new(), String::new());
        let mut at = 0;
        while at < chars.len() {
            let (kind, end) = token(&chars, at);
            for &c in &chars[at..end] {
                // One byte each, so that an offset means the same place in both.
                let blank = if c == '\n' { '\n' } else { ' ' };
                let kept = if c.is_ascii() { c } else { '_' };
                code.push(if kind == Token::Code { kept } else { blank });
                comments.push(if kind == Token::Comment { kept } else { blank });
            }
            at = end;
        }
        Self { path: path.into(), text, code, comments }
    }

    /// Whether the whole file is for tests.
    pub(crate) fn is_test(&self) -> bool {
        let mut parts = self.path.trim_end_matches(".rs").split('/');
        let test = |part| matches!(part, "agreement" | "example" | "proofs" | "properties" | "tests");
        self.path.starts_with("tests/") || parts.any(test)
    }

    /// The words of the code and where they start.
    pub(crate) fn words(&self) -> impl Iterator<Item = (usize, &str)> {
        words(&self.code)
    }

    /// The line, from 1, of an offset into the code.
    pub(crate) fn line(&self, offset: usize) -> usize {
        self.code[..offset].matches('\n').count() + 1
    }

    /// Every function's name and lines, from its `fn` to its closing brace.
    pub(crate) fn functions(&self) -> Vec<(&str, RangeInclusive<usize>)> {
        let lines = |(at, name)| Some((name, self.line(at)..=self.body_after(at)?));
        self.named_after("fn").into_iter().filter_map(lines).collect()
    }

    /// The modules that this file declares.
    pub(crate) fn modules(&self) -> Vec<Module> {
        self.named_after("mod").into_iter().filter_map(|(at, name)| self.module(at, name)).collect()
    }

    /// What stands after each `keyword` and a space, and where.
    pub(crate) fn named_after(&self, keyword: &str) -> Vec<(usize, &str)> {
        let words: Vec<_> = self.words().collect();
        let follows = |pair: &&[(usize, &str)]| {
            pair[0].1 == keyword && self.code[pair[0].0 + keyword.len()..pair[1].0] == *" "
        };
        words.windows(2).filter(follows).map(|pair| pair[1]).collect()
    }

    fn module(&self, at: usize, name: &str) -> Option<Module> {
        let line = self.line(at);
        let body = match self.code[at + name.len()..].trim_start().chars().next()? {
            ';' => None,
            '{' => Some(line..=self.body_after(at)?),
            _ => return None,
        };
        let above: Vec<&str> = self.text.lines().take(line - 1).collect();
        let attributes = above.iter().rev().take_while(|line| line.trim_start().starts_with("#["));
        let (mut path, mut test) = (None, false);
        for attribute in attributes {
            path = path.or_else(|| attribute.trim().strip_prefix("#[path = \"")?.strip_suffix("\"]"));
            let cfg = attribute.trim().starts_with("#[cfg(") && !attribute.contains("not(test");
            test |= cfg && words(attribute).any(|(_, word)| word == "test");
        }
        Some(Module { name: name.to_owned(), line, path: path.map(str::to_owned), test, body })
    }

    /// The lines of the modules in this file that only tests see.
    pub(crate) fn test_lines(&self) -> Vec<RangeInclusive<usize>> {
        self.modules().into_iter().filter(|module| module.test).filter_map(|module| module.body).collect()
    }

    /// The line of the brace that closes the first body after `at`; none if a semicolon comes first.
    fn body_after(&self, at: usize) -> Option<usize> {
        let (mut parens, mut braces) = (0, 0);
        for (offset, c) in self.code[at..].char_indices() {
            match c {
                '(' | '[' => parens += 1,
                ')' | ']' => parens -= 1,
                ';' if parens == 0 && braces == 0 => return None,
                '{' => braces += 1,
                '}' if braces == 1 => return Some(self.line(at + offset)),
                '}' => braces -= 1,
                _ => {}
            }
        }
        None
    }
}

pub(crate) fn words(code: &str) -> impl Iterator<Item = (usize, &str)> {
    let in_word = |c: char| c.is_alphanumeric() || c == '_';
    code.split(move |c: char| !in_word(c))
        .filter(|word| !word.is_empty())
        .map(|word| (word.as_ptr() as usize - code.as_ptr() as usize, word))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Token {
    Code,
    Comment,
    Literal,
}

/// What starts at `at`, and where it ends.
fn token(chars: &[char], at: usize) -> (Token, usize) {
    let starts =
        |with: &str| chars[at..].iter().zip(with.chars()).filter(|(a, b)| **a == *b).count() == with.len();
    let rest = chars.len() - at;
    if starts("//") {
        let length = chars[at..].iter().position(|c| *c == '\n').unwrap_or(rest);
        return (Token::Comment, at + length);
    }
    if starts("/*") {
        return (Token::Comment, at + block_comment(&chars[at..]));
    }
    if chars[at] == '"' {
        return (Token::Literal, at + text_literal(&chars[at..]));
    }
    if starts("'\\") {
        let length = chars[at..].iter().skip(3).position(|c| *c == '\'').map_or(rest, |length| length + 4);
        return (Token::Literal, at + length);
    }
    if chars[at] == '\'' && chars.get(at + 2) == Some(&'\'') {
        return (Token::Literal, at + 3);
    }
    let word = chars[at..].iter().take_while(|c| c.is_alphanumeric() || **c == '_').count();
    let prefix: String = chars[at..at + word].iter().collect();
    if matches!(prefix.as_str(), "r" | "br" | "cr")
        && let Some(length) = raw_literal(&chars[at + word..])
    {
        return (Token::Literal, at + word + length);
    }
    (Token::Code, at + word.max(1))
}

fn block_comment(chars: &[char]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) if depth == 1 => return at + 2,
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    at
}

fn text_literal(chars: &[char]) -> usize {
    let mut at = 1;
    while at < chars.len() {
        match chars[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    chars.len()
}

/// The length of `#"..."#` with any number of hashes.
fn raw_literal(chars: &[char]) -> Option<usize> {
    let hashes = chars.iter().take_while(|c| **c == '#').count();
    let body = chars.get(hashes..).filter(|rest| rest.first() == Some(&'"'))?;
    let closes = |at: &usize| {
        body[*at] == '"' && body[at + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes
    };
    let length = (1..body.len()).find(closes).map_or(body.len(), |at| at + 1);
    Some(hashes + length + hashes)
}

#[test]
fn comments_and_literals_are_no_code() {
    let text = r##"let a = 'x'; // mod one;
/* fn two() { /* { */ } */ let b: &'static str = "fn three() {";
let c = (r#"unsafe "{" here"#, '\'', '\u{7d}', b'}', "\"{");"##;
    let source = Source::new("a.rs", text);
    assert_eq!(
        source.words().map(|(_, word)| word).collect::<Vec<_>>().join(" "),
        "let a let b static str let c b"
    );
    assert!(source.comments.contains("mod one") && !source.comments.contains("three"));
    assert_eq!(source.code.lines().count(), text.lines().count());
    assert_eq!(source.code.matches(['{', '}']).count(), 0);
}

#[test]
fn functions_are_measured_from_their_name_to_their_brace() {
    let source = Source::new(
        "a.rs",
        "trait A {\n    fn a(x: [u8; 2]);\n    fn b(\n    ) {\n        if x {}\n    }\n}\ntype F = fn(u8);\n",
    );
    assert_eq!(source.functions(), [("b", 3..=6)]);
}

#[test]
fn modules_tell_where_they_are_and_for_whom() {
    let text = "mod a;\n#[cfg(test)]\n#[path = \"b_tests.rs\"]\nmod b;\n#[cfg(not(test))]\nmod c {\n}\n#[cfg(all(test, loom))]\nmod d {\n    fn x() {}\n}\n";
    let source = Source::new("a.rs", text);
    let module = |name: &str, line, path: Option<&str>, test, body| {
        let (name, path) = (name.to_owned(), path.map(str::to_owned));
        Module { name, line, path, test, body }
    };
    let expected = [
        module("a", 1, None, false, None),
        module("b", 4, Some("b_tests.rs"), true, None),
        module("c", 6, None, false, Some(6..=7)),
        module("d", 9, None, true, Some(9..=11)),
    ];
    assert_eq!(source.modules(), expected);
    assert_eq!(source.test_lines(), [9..=11]);
}
