//! Vocabularies in files: each format reads into a [`Vocab`](crate::Vocab) and is written from one.
//!
//! What a file cannot say (a pattern, special tokens) is asked of the caller. What a file says and
//! this crate does not do is an error wherever ids would differ.

pub mod byte_alphabet;
pub mod foreign_json;
pub mod gpt2_files;
mod pre_tokenizer_json;
pub mod tiktoken;
pub mod tokenizer_json;

mod vocab_entries;
