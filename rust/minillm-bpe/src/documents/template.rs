//! The text of a row: one of its fields, or several put together.

use std::mem::take;

use crate::input::{BadRow, Field};
use crate::{Error, Result};

/// How to make a text of a JSON object.
///
/// # Examples
///
/// ```
/// use minillm_bpe::documents::Text;
///
/// let text = Text::of_template("{title}\n\n{meta.text} {{so}}")?;
/// let mut found = Vec::new();
/// text.of(br#"{"title": "A", "meta": {"text": "b"}}"#, &mut found).unwrap();
/// assert_eq!(found, b"A\n\nb {so}");
/// # Ok::<(), minillm_bpe::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Text {
    /// Each with the letters before it.
    fields: Vec<(String, Field)>,
    end: String,
}

impl Text {
    /// The text of one field.
    pub fn of_field(name: &str) -> Self {
        Self { fields: vec![(String::new(), Field::new(name))], end: String::new() }
    }

    /// Letters and, in braces, names of fields; `{{` and `}}` are braces themselves.
    ///
    /// # Errors
    ///
    /// [`Error::Template`] for a brace without its other half, a field without a name, or no field
    /// at all.
    pub fn of_template(template: &str) -> Result<Self> {
        let refuse =
            |reason: String| Err(Error::Template { template: template.to_owned(), reason });
        let (mut fields, mut letters, mut rest) = (Vec::new(), String::new(), template);
        while let Some(at) = rest.find(['{', '}']) {
            let (before, brace) = rest.split_at(at);
            letters.push_str(before);
            let place = template.len() - brace.len();
            if brace.starts_with("{{") || brace.starts_with("}}") {
                letters.push_str(&brace[..1]);
                rest = &brace[2..];
                continue;
            }
            if brace.starts_with('}') {
                return refuse(format!("`}}` at byte {place} ends nothing; `}}}}` is the letter"));
            }
            let Some((name, behind)) = brace[1..].split_once('}') else {
                return refuse(format!("`{{` at byte {place} has no end; `{{{{` is the letter"));
            };
            if name.is_empty() || name.contains('{') || name.split('.').any(str::is_empty) {
                return refuse(format!("`{{{name}}}` at byte {place} names no field"));
            }
            fields.push((take(&mut letters), Field::new(name)));
            rest = behind;
        }
        letters.push_str(rest);
        if fields.is_empty() {
            return refuse("names no field, expected one in braces, such as {text}".to_owned());
        }
        Ok(Self { fields, end: letters })
    }

    /// Replaces `text` by that of the object in `line`.
    ///
    /// # Errors
    ///
    /// What is wrong with the line; `text` may hold anything then.
    pub fn of(&self, line: &[u8], text: &mut Vec<u8>) -> Result<(), BadRow> {
        text.clear();
        if let [(letters, field)] = &self.fields[..]
            && letters.is_empty()
            && self.end.is_empty()
        {
            return field.find(line, text);
        }
        let mut value = Vec::new();
        for (letters, field) in &self.fields {
            text.extend_from_slice(letters.as_bytes());
            field.find(line, &mut value)?;
            text.append(&mut value);
        }
        text.extend_from_slice(self.end.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(template: &str, line: &str) -> String {
        let mut text = b"left over".to_vec();
        Text::of_template(template).unwrap().of(line.as_bytes(), &mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn fields_stand_where_they_are_named() {
        let line = r#"{"a": "1", "b": {"c": "2", "d e": "3"}}"#;
        assert_eq!(fill("{a}", line), "1");
        assert_eq!(fill("{a}{b.c}{a}", line), "121");
        assert_eq!(fill("x{{{a}}}\n{b.d e}}}y", line), "x{1}\n3}y");
        assert_eq!(fill("\u{e9}{a}\u{e9}", line), "\u{e9}1\u{e9}");
    }

    #[test]
    fn templates_that_are_none_are_refused_by_place() {
        for (template, expected) in [
            ("a{b", "`{` at byte 1 has no end; `{{` is the letter"),
            ("a}b", "`}` at byte 1 ends nothing; `}}` is the letter"),
            ("{a}{}", "`{}` at byte 3 names no field"),
            ("{a..b}", "`{a..b}` at byte 0 names no field"),
            ("{a{b}", "`{a{b}` at byte 0 names no field"),
            ("text", "names no field, expected one in braces, such as {text}"),
        ] {
            let error = Text::of_template(template).unwrap_err().to_string();
            assert_eq!(error, format!("template `{template}`: {expected}"));
        }
    }
}
