//! SQL as text: one set of PostgreSQL's lexical rules (`scan`), read strictly ([`lex`]: ambiguous text is an error) and
//! leniently ([`mask`]: ambiguous text is dropped, for texts that were truncated or have lost their line ends).
//! [`shape`] turns tokens into statements and their canonical texts.

pub mod lex;
pub(crate) mod mask;
mod scan;
pub(crate) mod shape;
