//! Everything that decides which bytes an encode writes.
//!
//! A run that is resumed, and parts that are joined, must agree in it. What differs is named with
//! both values: that is what a user can act upon.

use std::path::Path;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use super::{Dtype, EncodeOptions, Eot, Part, ShardFacts};
use crate::AllowedSpecial;
use crate::corpus::Source;

/// Everything that decides which bytes an encode writes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// Hash of the `tokenizer.json` that the ids are from.
    pub tokenizer_sha256: String,
    /// Type of the ids.
    pub dtype: Dtype,
    /// The string between documents.
    pub separator: String,
    /// Where the id of the separator stands.
    pub eot: Eot,
    /// Special tokens that are recognized inside documents; [`None`] for all of them.
    pub allowed_special: Option<Vec<String>>,
    /// Name of the file of the documents for validation.
    pub val_out: Option<String>,
    /// Which part of the documents goes there.
    pub val_fraction: f64,
    /// The field of jsonl files that is the text, if there are any.
    pub field: Option<String>,
    /// Which of several machines this is.
    pub part: Option<Part>,
    /// What is read, in this order.
    pub sources: Vec<Input>,
}

/// One source, as it was found before it was read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Input {
    /// Its path as it was given, or its name.
    pub path: String,
    /// Its bytes on disk, if it is a file.
    pub size: Option<u64>,
    /// When it was last written, in nanoseconds since 1970, if it is a file.
    pub modified_ns: Option<u64>,
}

/// What differs between two recipes, in the words of a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) field: String,
    pub(super) one: String,
    pub(super) other: String,
}

impl Input {
    fn of(source: &Source) -> Self {
        let name = source.name();
        let file = name.metadata().ok().filter(std::fs::Metadata::is_file);
        let modified = file.as_ref().and_then(|file| file.modified().ok());
        let since_1970 = modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        Self {
            path: name.display().to_string(),
            size: file.map(|file| file.len()),
            modified_ns: since_1970.and_then(|time| u64::try_from(time.as_nanos()).ok()),
        }
    }
}

impl Recipe {
    pub(super) fn new(sources: &[Source], facts: &ShardFacts, options: &EncodeOptions) -> Self {
        let allowed_special = match &options.allowed {
            AllowedSpecial::None => Some(Vec::new()),
            AllowedSpecial::All => None,
            AllowedSpecial::Only(texts) => {
                let mut texts = texts.clone();
                texts.sort();
                Some(texts)
            }
        };
        Self {
            tokenizer_sha256: facts.tokenizer_sha256.clone(),
            dtype: facts.dtype,
            separator: options.separator.clone(),
            eot: options.eot,
            allowed_special,
            val_out: options.val_out.as_deref().map(file_name),
            val_fraction: if options.val_out.is_some() { options.val_fraction } else { 0.0 },
            field: options.field.clone().filter(|_| sources.iter().any(is_list)),
            part: options.part,
            sources: sources.iter().map(Input::of).collect(),
        }
    }

    /// The same for every part, wherever it was made: other machines keep files elsewhere, under
    /// other times.
    pub(super) fn common(&self) -> Self {
        let sources = self.sources.iter().map(|source| {
            let path = Path::new(&source.path);
            Input { path: file_name(path), modified_ns: None, ..source.clone() }
        });
        let val_out = None;
        Self { part: None, val_out, sources: sources.collect(), ..self.clone() }
    }

    /// The first difference to `other`.
    pub(super) fn difference(&self, other: &Self) -> Option<Difference> {
        let (ours, theirs) = (self.facts(), other.facts());
        let mut pairs = ours.into_iter().zip(theirs);
        let ((field, one), (_, other)) = pairs.find(|(one, other)| one.1 != other.1)?;
        Some(Difference { field, one, other })
    }

    /// Names and values of all fields, those of the sources behind their number: so two lists that
    /// do not match up differ before that matters.
    fn facts(&self) -> Vec<(String, String)> {
        let allowed = match &self.allowed_special {
            None => "all".to_owned(),
            Some(texts) => format!("{texts:?}"),
        };
        let or = |value: Option<String>, none: &str| value.unwrap_or_else(|| none.to_owned());
        let mut facts = vec![
            ("tokenizer_sha256".to_owned(), self.tokenizer_sha256.clone()),
            ("dtype".to_owned(), self.dtype.name().to_owned()),
            ("separator".to_owned(), format!("{:?}", self.separator)),
            ("eot".to_owned(), self.eot.name().to_owned()),
            ("allowed_special".to_owned(), allowed),
            ("val_out".to_owned(), or(self.val_out.clone(), "none")),
            ("val_fraction".to_owned(), self.val_fraction.to_string()),
            ("field".to_owned(), or(self.field.clone(), "none")),
            ("part".to_owned(), or(self.part.map(|part| part.to_string()), "none")),
            ("number of sources".to_owned(), self.sources.len().to_string()),
        ];
        for (i, Input { path, size, modified_ns }) in self.sources.iter().enumerate() {
            let size = or(size.map(|bytes| format!("{bytes} bytes")), "unknown");
            let time = or(modified_ns.map(|ns| format!("{ns} ns after 1970")), "unknown");
            facts.push((format!("source {}", i + 1), path.clone()));
            facts.push((format!("size of source `{path}`"), size));
            facts.push((format!("time of change of source `{path}`"), time));
        }
        facts
    }
}

fn is_list(source: &Source) -> bool {
    matches!(source, Source::Documents(..))
}

/// The last component of `path`.
pub(super) fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
