//! One manifest for the parts that several machines have encoded: together they are the whole,
//! and nothing is copied.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::reader::ShardReader;
use super::recipe::{Difference, file_name};
use super::sealed_json::{Sealed, seal};
use super::writer::check_name;
use super::{
    Dtype, Eot, FORMAT, FORMAT_VERSION, Manifest, PartFacts, SourceFacts, TOOL, Totals, beside,
};
use crate::progress::Progress;
use crate::staged::Staged;
use crate::{Error, Result, TokenId};

/// What `NAME.json` says where there is no `NAME.bin`: which files are the parts of one shard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JoinedManifest {
    /// `minillm.tokens`.
    pub format: String,
    /// 1.
    pub format_version: u32,
    /// Type of the ids.
    pub dtype: Dtype,
    /// How much is in all parts.
    #[serde(flatten)]
    pub totals: Totals,
    /// Ids are below this.
    pub vocab_size: u32,
    /// The id of the separator, if there is one.
    pub eot_id: Option<TokenId>,
    /// Where it stands.
    pub eot: Eot,
    /// Hash of the `tokenizer.json` that the ids are from.
    pub tokenizer_sha256: String,
    /// The parts in their order.
    pub parts: Vec<PartEntry>,
    /// What was read.
    pub sources: Vec<SourceFacts>,
    /// The program that wrote it.
    pub tool: String,
}

/// One part of a shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartEntry {
    /// Its `.bin` file, in the folder of the manifest.
    pub name: String,
    /// How much is in it.
    #[serde(flatten)]
    pub totals: Totals,
    /// Checksum of its manifest, which holds those of its ids and of its index.
    pub json_xxh3: String,
}

/// A part, and what its manifest says.
struct Found {
    path: PathBuf,
    manifest: Manifest,
    facts: PartFacts,
    json_xxh3: String,
}

/// Writes the manifest that joins `parts`, in any order, under the name of the token file `out`.
///
/// Reads all of them once and compares them with their checksums.
///
/// # Errors
///
/// [`Error::CannotJoin`] if a part is missing or there twice, lies in another folder, or was made
/// from other text, with another tokenizer or other options; [`Error::Shard`] if one is damaged;
/// [`Error::Io`].
pub fn join(parts: &[PathBuf], out: &Path) -> Result<JoinedManifest> {
    check_name(out)?;
    if out.exists() {
        return Err(refuse(out, "it exists, and its name is to be that of all parts together"));
    }
    let mut found = parts.iter().map(|path| open(path, out)).collect::<Result<Vec<_>>>()?;
    found.sort_by_key(|part| part.facts.recipe.part.map(|part| part.index));
    check_complete(&found, out)?;
    let Some(first) = found.first() else { return Err(refuse(out, "there are no parts")) };
    for part in &found[1..] {
        check_same(first, part)?;
    }
    let mut totals = Totals::default();
    let mut sources = first.manifest.sources.clone();
    for source in &mut sources {
        source.bytes = 0;
    }
    let mut entries = Vec::with_capacity(found.len());
    for part in &found {
        let Manifest { tokens, documents, bytes, .. } = part.manifest;
        totals.tokens += tokens;
        totals.documents += documents;
        totals.bytes += bytes;
        for (all, read) in sources.iter_mut().zip(&part.manifest.sources) {
            all.bytes += read.bytes;
        }
        entries.push(PartEntry {
            name: file_name(&part.path),
            totals: Totals { tokens, documents, bytes },
            json_xxh3: part.json_xxh3.clone(),
        });
    }
    let joined = JoinedManifest {
        format: FORMAT.to_owned(),
        format_version: FORMAT_VERSION,
        dtype: first.manifest.dtype,
        totals,
        vocab_size: first.manifest.vocab_size,
        eot_id: first.manifest.eot_id,
        eot: first.manifest.eot,
        tokenizer_sha256: first.manifest.tokenizer_sha256.clone(),
        parts: entries,
        sources,
        tool: TOOL.to_owned(),
    };
    let json = beside(out).1;
    let mut file = Staged::create(&json)?;
    file.write(seal(&json, &joined)?.as_bytes())?;
    file.sync()?;
    file.publish()?;
    Ok(joined)
}

fn open(path: &Path, out: &Path) -> Result<Found> {
    if folder(path) != folder(out) {
        return Err(refuse(path, "it lies in another folder than the manifest is to lie in"));
    }
    let mut reader = ShardReader::open(path)?;
    reader.verify(&Progress::default())?;
    let json = beside(path).1;
    let mut manifests = reader.manifests().cloned();
    let (Some(manifest), None) = (manifests.next(), manifests.next()) else {
        return Err(refuse(path, "it is not one of several parts"));
    };
    let Some(facts) = manifest.part.clone() else {
        return Err(refuse(path, "it is not one of several parts"));
    };
    let sealed = Sealed::read(&json, FORMAT, FORMAT_VERSION)?;
    let json_xxh3 = sealed.map(|sealed| sealed.checksum(&json)).transpose()?.unwrap_or_default();
    Ok(Found { path: path.to_owned(), manifest, facts, json_xxh3 })
}

/// The folder of a file, under one name however it was given.
fn folder(path: &Path) -> PathBuf {
    let folder = path.with_file_name(".");
    folder.canonicalize().unwrap_or(folder)
}

/// Whether each part is there once. They are in order.
fn check_complete(found: &[Found], out: &Path) -> Result<()> {
    let of = found.iter().filter_map(|part| part.facts.recipe.part).map(|part| part.of).max();
    let mut indices = found.iter().filter_map(|part| part.facts.recipe.part?.index.into());
    let mut next = indices.next();
    for index in 1..=of.unwrap_or(0) {
        if next != Some(index) {
            let of = of.unwrap_or(0);
            return Err(refuse(out, format!("part {index} of {of} is missing")));
        }
        next = indices.next();
        if next == Some(index) {
            return Err(refuse(out, format!("part {index} is there twice")));
        }
    }
    Ok(())
}

fn check_same(first: &Found, part: &Found) -> Result<()> {
    if first.facts.is_val != part.facts.is_val {
        let reason = "it and the first are not both for training or both for validation";
        return Err(refuse(&part.path, reason));
    }
    let (ours, theirs) = (part.facts.recipe.common(), first.facts.recipe.common());
    if let Some(Difference { field, one, other }) = ours.difference(&theirs) {
        let first = first.path.display();
        return Err(refuse(&part.path, format!("{field} is {one}, but of `{first}` {other}")));
    }
    let number = |found: &Found| found.facts.recipe.part.map(|part| part.of);
    if number(first) != number(part) {
        return Err(refuse(&part.path, "the corpus was cut into another number of parts"));
    }
    Ok(())
}

fn refuse(path: &Path, reason: impl Into<String>) -> Error {
    Error::CannotJoin { path: path.to_owned(), reason: reason.into() }
}
