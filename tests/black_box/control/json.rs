//! Answers as a reader of JSON sees them that is not ours.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Index;

/// A value. There are no fractions in answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Number(i64),
    Text(String),
    List(Vec<Value>),
    Object(BTreeMap<String, Value>),
}

impl Value {
    /// The value that this text is, and nothing else is.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut rest = text;
        let value = value(&mut rest)?;
        if rest.trim().is_empty() { Ok(value) } else { Err(format!("{rest:?} is too much")) }
    }

    /// The words of a text.
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::List(_) | Self::Object(_) => {
                panic!("{self} is no text")
            }
        }
    }

    /// A number.
    pub(super) fn number(&self) -> i64 {
        match self {
            Self::Number(number) => *number,
            Self::Null | Self::Bool(_) | Self::Text(_) | Self::List(_) | Self::Object(_) => {
                panic!("{self} is no number")
            }
        }
    }

    /// The values of a list.
    pub(super) fn list(&self) -> &[Self] {
        match self {
            Self::List(list) => list,
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::Text(_) | Self::Object(_) => {
                panic!("{self} is no list")
            }
        }
    }

    /// The keys of an object, sorted.
    pub(super) fn keys(&self) -> Vec<&str> {
        match self {
            Self::Object(entries) => entries.keys().map(String::as_str).collect(),
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::Text(_) | Self::List(_) => {
                panic!("{self} is no object")
            }
        }
    }
}

fn value(rest: &mut &str) -> Result<Value, String> {
    *rest = rest.trim_start();
    for (word, value) in
        [("null", Value::Null), ("true", Value::Bool(true)), ("false", Value::Bool(false))]
    {
        if take(rest, word) {
            return Ok(value);
        }
    }
    if take(rest, "{") {
        let mut entries = BTreeMap::new();
        while !take(rest, "}") {
            if !entries.is_empty() {
                expect(rest, ",")?;
            }
            *rest = rest.trim_start();
            let key = text(rest)?;
            expect(rest, ":")?;
            if let Some(twice) = entries.insert(key, value(rest)?) {
                return Err(format!("a second value beside {twice}"));
            }
        }
        return Ok(Value::Object(entries));
    }
    if take(rest, "[") {
        let mut list = Vec::new();
        while !take(rest, "]") {
            if !list.is_empty() {
                expect(rest, ",")?;
            }
            list.push(value(rest)?);
        }
        return Ok(Value::List(list));
    }
    if rest.starts_with('"') {
        return text(rest).map(Value::Text);
    }
    let end = rest.find(|at: char| !at.is_ascii_digit() && at != '-').unwrap_or(rest.len());
    let (number, after) = rest.split_at(end);
    *rest = after;
    number.parse().map(Value::Number).map_err(|error| format!("{number:?}: {error}"))
}

fn take(rest: &mut &str, word: &str) -> bool {
    let after = rest.trim_start().strip_prefix(word);
    if let Some(after) = after {
        *rest = after;
    }
    after.is_some()
}

fn expect(rest: &mut &str, word: &str) -> Result<(), String> {
    if take(rest, word) { Ok(()) } else { Err(format!("no {word} before {rest:?}")) }
}

fn text(rest: &mut &str) -> Result<String, String> {
    expect(rest, "\"")?;
    let mut text = String::new();
    let mut characters = rest.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => {
                *rest = &rest[at + 1..];
                return Ok(text);
            }
            '\\' => match characters.next() {
                Some((_, 'n')) => text.push('\n'),
                Some((_, 't')) => text.push('\t'),
                Some((_, escaped @ ('"' | '\\' | '/'))) => text.push(escaped),
                Some((_, 'u')) => {
                    let digits: String = characters.by_ref().take(4).map(|(_, it)| it).collect();
                    let code = u32::from_str_radix(&digits, 16).map_err(|why| why.to_string())?;
                    text.push(char::from_u32(code).ok_or(digits)?);
                }
                other => return Err(format!("{other:?} is no escape")),
            },
            character if character.is_control() => return Err(format!("a bare {character:?}")),
            character => text.push(character),
        }
    }
    Err(format!("a text without an end: {rest:?}"))
}

/// The entry of an object; `null` where there is none.
impl Index<&str> for Value {
    type Output = Self;

    fn index(&self, key: &str) -> &Self {
        match self {
            Self::Object(entries) => entries.get(key).unwrap_or(&Self::Null),
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::Text(_) | Self::List(_) => {
                &Self::Null
            }
        }
    }
}

impl Index<usize> for Value {
    type Output = Self;

    fn index(&self, index: usize) -> &Self {
        &self.list()[index]
    }
}

impl PartialEq<&str> for Value {
    fn eq(&self, other: &&str) -> bool {
        matches!(self, Self::Text(text) if text == other)
    }
}

impl PartialEq<bool> for Value {
    fn eq(&self, other: &bool) -> bool {
        *self == Self::Bool(*other)
    }
}

impl PartialEq<i32> for Value {
    fn eq(&self, other: &i32) -> bool {
        *self == Self::Number(i64::from(*other))
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}
