//! JSON that carries its own checksum, so that no damaged manifest or state is believed.
//!
//! The last field, always in the same place, is the XXH3-64 of all bytes before it. So the file
//! stays JSON for every reader, and those who care compare bytes, not values.

use std::io::ErrorKind;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use xxhash_rust::xxh3::xxh3_64;

use super::{hex, misfit};
use crate::{Error, Result};

/// The name of the last field.
pub(super) const SEAL: &str = "json_xxh3";

/// `value`, which is an object with fields, as JSON with its checksum.
pub(crate) fn seal(path: &Path, value: &impl Serialize) -> Result<String> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| misfit(path, "manifest", error.to_string()))?;
    let body = text.strip_suffix("\n}").unwrap_or(&text);
    Ok(format!("{body}{}", tail(&checksum(body))))
}

/// A file that [`seal`] made; [`None`] if there is none.
pub(crate) struct Sealed {
    /// What the file says; believed only after [`parse`](Self::parse).
    pub(super) value: Value,
    text: String,
}

impl Sealed {
    /// Reads `path`, which must be of `format` and `version`.
    pub(crate) fn read(path: &Path, format: &str, version: u32) -> Result<Option<Self>> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Error::io(path, source)),
        };
        let text = String::from_utf8(bytes)
            .map_err(|error| misfit(path, "manifest", error.utf8_error().to_string()))?;
        let value: Value = serde_json::from_str(&text)
            .map_err(|error| misfit(path, "manifest", error.to_string()))?;
        // Before all else: another version may have other fields.
        let expected = [("format", Value::from(format)), ("format_version", Value::from(version))];
        for (field, expected) in expected {
            if value[field] != expected {
                let reason = format!("is {}, expected {expected}", value[field]);
                return Err(misfit(path, field, reason));
            }
        }
        Ok(Some(Self { value, text }))
    }

    /// The contents, if they are what was written.
    pub(crate) fn parse<T: DeserializeOwned>(self, path: &Path) -> Result<T> {
        self.checksum(path)?;
        serde_json::from_value(self.value)
            .map_err(|error| misfit(path, "manifest", error.to_string()))
    }

    /// The checksum, if it is that of the contents.
    pub(super) fn checksum(&self, path: &Path) -> Result<String> {
        let body_len = self.text.len().saturating_sub(tail(&hex(0)).len());
        let Some((body, end)) = self.text.split_at_checked(body_len) else {
            return Err(misfit(path, SEAL, "is not where it belongs, at the end"));
        };
        let found = checksum(body);
        if end == tail(&found) {
            return Ok(found);
        }
        let reason = format!("is {}, but the file has \"{found}\"", self.value[SEAL]);
        Err(misfit(path, SEAL, reason))
    }
}

fn checksum(body: &str) -> String {
    hex(xxh3_64(body.as_bytes()))
}

fn tail(checksum: &str) -> String {
    format!(",\n  \"{SEAL}\": \"{checksum}\"\n}}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        let value = serde_json::json!({ "format": "f", "format_version": 1, "tokens": [1, 20] });
        let text = seal(&path, &value).unwrap();
        let read = |bytes: &[u8]| -> Result<Value> {
            std::fs::write(&path, bytes).unwrap();
            Sealed::read(&path, "f", 1)?.unwrap().parse(&path)
        };
        assert_eq!(read(text.as_bytes()).unwrap()["tokens"], value["tokens"]);
        for bit in 0..text.len() * 8 {
            let mut bytes = text.clone().into_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&bytes).is_err(), "bit {bit}");
        }
        for len in 0..text.len() {
            assert!(read(&text.as_bytes()[..len]).is_err(), "{len} bytes");
        }
    }
}
