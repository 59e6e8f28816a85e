//! SQL as text: one set of PostgreSQL's lexical rules (`scan`), read strictly ([`lex`]: what is doubtful is an error) and
//! loosely ([`mask`]: what is doubtful is left out, for texts that were cut or have lost their line ends). [`shape`] makes
//! statements and their canonical texts of tokens.

pub mod lex;
pub mod mask;
mod scan;
pub mod shape;
