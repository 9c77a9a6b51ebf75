//! The textbook versions: slow and obvious, the oracles of tests and fuzzing.
//!
//! Each says in a page what its fast twin must compute.

pub mod decode;
pub mod encode;
pub mod order;
pub mod train;
