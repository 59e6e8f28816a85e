//! Collects the names in a text that PostgreSQL may run code for: functions called, columns that may be functions,
//! relations, operators, types. They are read from the tokens, so that every construct of the grammar is covered; a
//! superfluous name does no harm.

use crate::sql::lex::{Kind, Token};
use std::collections::BTreeSet;

/// Operators that keywords and clauses imply: IN, LIKE, DISTINCT, GROUP BY, USING, CASE, …
const IMPLIED: [&str; 11] = [
    "=", "<>", "<", ">", "<=", ">=", "~~", "!~~", "~~*", "!~~*", "~",
];

/// A function call.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call {
    /// The schema; empty if the search path decides.
    pub schema: String,
    /// Name of the function.
    pub name: String,
    /// True if it is written like a column, without parentheses: `row.function`.
    pub column_like: bool,
}

impl std::fmt::Display for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if !self.schema.is_empty() {
            write!(f, "{}.", self.schema)?;
        }
        write!(f, "{}()", self.name)
    }
}

/// The names in one or several texts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Names {
    /// Functions that are called.
    pub calls: BTreeSet<Call>,
    /// Names that may be relations: schema, empty if the search path decides, and name.
    pub relations: BTreeSet<(String, String)>,
    /// Operators.
    pub operators: BTreeSet<String>,
    /// All words and quoted names.
    pub words: BTreeSet<String>,
}

impl Names {
    /// Adds the names in a text.
    pub(crate) fn add(&mut self, tokens: &[Token]) {
        for (position, token) in tokens.iter().enumerate() {
            if token.kind == Kind::Operator {
                self.operators.insert(token.text.clone());
            }
            if !token.is_name() {
                continue;
            }
            self.words.insert(token.text.clone());
            let before = |back: usize| position.checked_sub(back).and_then(|at| tokens.get(at));
            let dotted = before(1).is_some_and(|token| token.is_sign("."));
            let schema = before(2).filter(|token| dotted && token.is_name());
            let schema = schema.map(|token| token.text.clone()).unwrap_or_default();
            let name = token.text.clone();
            self.relations.insert((schema.clone(), name.clone()));
            let next = tokens.get(position + 1);
            if next.is_some_and(|next| next.is_sign("(")) {
                self.calls.insert(Call {
                    schema,
                    name,
                    column_like: false,
                });
            } else if dotted {
                self.calls.insert(Call {
                    schema: String::new(),
                    name,
                    column_like: true,
                });
            }
        }
    }

    /// Returns all operators that are written or implied.
    pub(crate) fn all_operators(&self) -> Vec<String> {
        let implied = IMPLIED.iter().map(|symbol| (*symbol).to_owned());
        implied.chain(self.operators.iter().cloned()).collect()
    }

    /// Returns true if an operator is written or implied.
    pub(crate) fn has_operator(&self, symbol: &str) -> bool {
        IMPLIED.contains(&symbol) || self.operators.contains(symbol)
    }
}
