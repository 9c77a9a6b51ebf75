//! One text field of a JSON object, without building the object.
//!
//! The line is parsed once, front to back. Only the field's own value is looked at closely; what
//! else the object holds must be JSON, but is neither kept nor checked for being Unicode. As in
//! `serde_json::Value` and in Python's `json`, the last of several fields of one name counts.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// How many fields an error lists.
const LISTED: usize = 8;

/// The name of a field; `meta.text` is the field `text` of the object in the field `meta`.
#[derive(Clone, Debug)]
pub struct Field {
    path: Vec<String>,
}

/// Why a line holds no document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhyBad {
    /// It is not JSON.
    NotJson,
    /// The object has no such field.
    Missing,
    /// The field is not a string.
    NotText,
}

/// A line that holds no document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadRow {
    /// The kind of reason.
    pub why: WhyBad,
    /// The reason, for a user to read.
    pub reason: String,
}

impl Field {
    /// The field of that name.
    pub fn new(name: &str) -> Self {
        Self { path: name.split('.').map(str::to_owned).collect() }
    }

    /// Appends the text of the field of the object `line` to `text`.
    ///
    /// # Errors
    ///
    /// What is wrong with the line, for a user to read; `text` may hold anything then.
    pub(crate) fn find(&self, line: &[u8], text: &mut Vec<u8>) -> Result<(), BadRow> {
        let mut parser = serde_json::Deserializer::from_slice(line);
        let looker = Looker { path: &self.path, text };
        let found = looker.deserialize(&mut parser);
        let found = found.and_then(|found| parser.end().map(|()| found));
        let bad = |why, reason| Err(BadRow { why, reason });
        let found = match found {
            Ok(found) => found,
            Err(error) => return bad(WhyBad::NotJson, not_json(&error)),
        };
        match found {
            Found::Text => Ok(()),
            Found::Missing => bad(WhyBad::Missing, self.missing(line)),
            Found::Other { kind, n_left } => {
                let name = self.path[..self.path.len() - n_left].join(".");
                let what =
                    if name.is_empty() { "the line".to_owned() } else { format!("field `{name}`") };
                let expected = if n_left == 0 { "a string" } else { "an object" };
                bad(WhyBad::NotText, format!("{what} is {kind}, expected {expected}"))
            }
        }
    }

    /// Lists what there is instead. For this, the line is parsed again, and kept.
    fn missing(&self, line: &[u8]) -> String {
        let name = self.path.join(".");
        let root = serde_json::from_slice::<Value>(line).unwrap_or_default();
        let (mut inner, mut prefix) = (&root, String::new());
        for key in &self.path {
            let Some(value) = inner.get(key) else { break };
            inner = value;
            prefix.push_str(key);
            prefix.push('.');
        }
        let keys = inner.as_object().into_iter().flat_map(|object| object.keys());
        let names: Vec<String> = keys.map(|key| format!("`{prefix}{key:.40}`")).collect();
        if names.is_empty() {
            return format!("has no field `{name}`");
        }
        let more = if names.len() > LISTED { ", ..." } else { "" };
        format!(
            "has no field `{name}`; it has {}{more}",
            names[..names.len().min(LISTED)].join(", ")
        )
    }
}

/// The parser's message. Its line number is always 1: the caller knows better.
fn not_json(error: &serde_json::Error) -> String {
    let (message, column) = (error.to_string(), error.column());
    let message = message.split(" at line ").next().unwrap_or_default();
    if message.contains("surrogate") || message.contains("unexpected end of hex escape") {
        return format!(
            "an escape at column {column} is a lone surrogate, which has no UTF-8 form"
        );
    }
    format!("not JSON: {message} at column {column}")
}

/// What is where the field should be.
enum Found {
    Text,
    Missing,
    /// Something else, where the last `n_left` names of the path were still to be followed.
    Other {
        kind: &'static str,
        n_left: usize,
    },
}

/// Looks for the text at `path` in what is parsed.
struct Looker<'a> {
    path: &'a [String],
    text: &'a mut Vec<u8>,
}

impl Looker<'_> {
    fn other(&self, kind: &'static str) -> Found {
        Found::Other { kind, n_left: self.path.len() }
    }
}

impl<'de> DeserializeSeed<'de> for Looker<'_> {
    type Value = Found;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Found, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Looker<'_> {
    type Value = Found;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Found, E> {
        if !self.path.is_empty() {
            return Ok(self.other("a string"));
        }
        self.text.clear();
        self.text.extend_from_slice(text.as_bytes());
        Ok(Found::Text)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Found, A::Error> {
        let Some((name, rest)) = self.path.split_first() else {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(self.other("an object"));
        };
        let mut found = Found::Missing;
        while let Some(is_it) = map.next_key_seed(Is(name))? {
            if is_it {
                found = map.next_value_seed(Looker { path: rest, text: self.text })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Found, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(self.other("an array"))
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Found, E> {
        Ok(self.other("true or false"))
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Found, E> {
        Ok(self.other("a number"))
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Found, E> {
        Ok(self.other("a number"))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Found, E> {
        Ok(self.other("a number"))
    }

    fn visit_unit<E: Error>(self) -> Result<Found, E> {
        Ok(self.other("null"))
    }
}

/// Whether a key is this one.
struct Is<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for Is<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Is<'_> {
    type Value = bool;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<bool, E> {
        Ok(key == self.0)
    }
}
