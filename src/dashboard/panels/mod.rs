//! The panels: their files, and for those that derive something, the derivation.

pub mod spec;
