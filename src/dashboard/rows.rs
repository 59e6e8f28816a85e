//! Rows of panels as code reads them: by declared columns with a type each, resolved once per table.
//!
//! A structure of [`read`] declares the columns that code reads and the panels they come from; one of
//! [`added`] declares those that a derivation adds. A declared column that neither the panel's statements nor
//! its derivations provide fails a test, and [`checked`] refuses such an answer. Nothing is copied: a row
//! borrows its cells, and a cell is read on access. A column missing from an earlier version's recording
//! reads as none.

pub(crate) mod added;
pub(crate) mod columnar;
pub(crate) mod compared;
pub(crate) mod console;
pub(crate) mod host;
pub(crate) mod nodes;
mod panel;
pub(crate) mod read;
pub(crate) mod stream;
pub(crate) mod timeline;

pub use panel::Panel;

use crate::pg::{Class, Column, PgError, Table, Value};
use crate::text::Clean;

/// A type of column, which determines how its cells are read.
pub trait Kind {
    /// The value of a cell.
    type Cell<'t>;
    /// Names of the server's types that are read this way.
    const TYPES: &'static [&'static str];

    /// Reads a cell.
    fn read(cell: &Value) -> Self::Cell<'_>;
}

/// A whole number.
#[derive(Clone, Copy, Debug)]
pub struct Int;
/// A figure.
#[derive(Clone, Copy, Debug)]
pub struct Number;
/// A text, displayed or raw.
#[derive(Clone, Copy, Debug)]
pub struct Word;
/// A boolean.
#[derive(Clone, Copy, Debug)]
pub struct Flag;
/// A cell unchanged: for bounds, and for figures whose absence has a reason.
#[derive(Clone, Copy, Debug)]
pub struct Cell;

impl Kind for Int {
    type Cell<'t> = Option<i64>;
    const TYPES: &'static [&'static str] = &["bigint", "integer", "numeric"];

    fn read(cell: &Value) -> Option<i64> {
        cell.int()
    }
}

impl Kind for Number {
    type Cell<'t> = Option<f64>;
    const TYPES: &'static [&'static str] =
        &["bigint", "double precision", "integer", "numeric", "real"];

    fn read(cell: &Value) -> Option<f64> {
        cell.number()
    }
}

impl Kind for Word {
    type Cell<'t> = Text<'t>;
    const TYPES: &'static [&'static str] = &["bytea", "character varying", "name", "text"];

    fn read(cell: &Value) -> Text<'_> {
        match cell {
            Value::Text(text) => Text(Some(text)),
            Value::Null
            | Value::Unavailable
            | Value::Pending
            | Value::Bool(_)
            | Value::Int(_)
            | Value::Float(_)
            | Value::Decimal(..)
            | Value::AtLeast(_)
            | Value::AtMost(_) => Text(None),
        }
    }
}

impl Kind for Flag {
    type Cell<'t> = Option<bool>;
    const TYPES: &'static [&'static str] = &["boolean"];

    fn read(cell: &Value) -> Option<bool> {
        match cell {
            Value::Bool(flag) => Some(*flag),
            Value::Null
            | Value::Unavailable
            | Value::Pending
            | Value::Int(_)
            | Value::Float(_)
            | Value::Decimal(..)
            | Value::AtLeast(_)
            | Value::AtMost(_)
            | Value::Text(_) => None,
        }
    }
}

impl Kind for Cell {
    type Cell<'t> = &'t Value;
    const TYPES: &'static [&'static str] = &[];

    fn read(cell: &Value) -> &Value {
        cell
    }
}

/// A text cell, which may be empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Text<'t>(Option<&'t Clean>);

impl<'t> Text<'t> {
    /// Returns the displayed text.
    pub fn text(self) -> Option<&'t str> {
        self.0.map(Clean::as_str)
    }

    /// Returns the displayed text; empty if there is none.
    pub fn shown(self) -> &'t str {
        self.text().unwrap_or_default()
    }

    /// Returns the raw text, for comparisons and statements; must never be drawn.
    pub fn raw(self) -> Option<&'t str> {
        self.0.map(Clean::raw)
    }

    /// Returns the raw text; empty if there is none.
    pub fn name(self) -> &'t str {
        self.raw().unwrap_or_default()
    }

    /// Returns the text in both forms.
    pub fn clean(self) -> Option<&'t Clean> {
        self.0
    }

    /// Returns true if there is a text, even an empty one.
    pub fn is_known(self) -> bool {
        self.0.is_some()
    }

    /// Returns true if this text is displayed.
    pub fn is(self, text: &str) -> bool {
        self.text() == Some(text)
    }
}

/// A declared set of columns, by their positions in a table.
pub trait Columns: Copy {
    /// The declaration.
    const DECLARED: Declared;

    /// Finds the columns in a table.
    fn of(table: &Table) -> Self;
}

/// A structure that reads rows.
#[derive(Clone, Copy, Debug)]
pub struct Declared {
    /// Name of the structure.
    pub name: &'static str,
    /// Panels whose rows it reads.
    pub panels: &'static [Panel],
    /// Its columns.
    pub columns: &'static [DeclaredColumn],
}

/// A column that a structure reads.
#[derive(Clone, Copy, Debug)]
pub struct DeclaredColumn {
    /// Name.
    pub name: &'static str,
    /// Names of the server's types that it may have; empty if any.
    pub types: &'static [&'static str],
    /// Panels that have it; empty if all of the structure's panels do.
    only: &'static [Panel],
}

impl DeclaredColumn {
    /// Returns true if the rows of `panel` have this column.
    pub fn is_in(&self, panel: Panel) -> bool {
        self.only.is_empty() || self.only.contains(&panel)
    }
}

/// A structure that a derivation adds to rows.
#[derive(Clone, Copy, Debug)]
pub struct Added {
    /// Name of the structure.
    pub name: &'static str,
    /// The panel whose rows get the columns.
    pub panel: Panel,
    /// Names of the columns that the panel's statement does not have.
    pub columns: &'static [&'static str],
    /// Names of the columns of the statement whose cells are replaced.
    pub over: &'static [&'static str],
}

/// Rows of a table, read by declared columns.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'t, C> {
    table: &'t Table,
    columns: C,
}

impl<'t, C: Columns> Rows<'t, C> {
    /// The rows of `table`.
    pub fn of(table: &'t Table) -> Self {
        Self {
            table,
            columns: C::of(table),
        }
    }

    /// The table that is read.
    pub fn table(&self) -> &'t Table {
        self.table
    }

    /// Returns the same rows, read by other columns.
    pub fn by<O: Columns>(&self) -> Rows<'t, O> {
        Rows::of(self.table)
    }

    /// Returns true if there has been an answer.
    pub fn is_told(&self) -> bool {
        !self.table.columns.is_empty()
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.table.rows.len()
    }

    /// Returns true if there are no rows.
    pub fn is_empty(&self) -> bool {
        self.table.rows.is_empty()
    }

    /// The row at this position; one without any value if there is none.
    pub fn at(&self, position: usize) -> Row<'t, C> {
        Row {
            cells: self.table.rows.get(position).map_or(&[], Vec::as_slice),
            columns: self.columns,
            position,
        }
    }

    /// The first row; one without any value if there is none.
    pub fn first(&self) -> Row<'t, C> {
        self.at(0)
    }

    /// All rows.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Row<'t, C>> + Clone + use<'t, C> {
        let columns = self.columns;
        let rows = self.table.rows.iter().enumerate();
        rows.map(move |(position, cells)| Row {
            cells,
            columns,
            position,
        })
    }
}

/// A row, read by declared columns, each of which is a method.
#[derive(Clone, Copy, Debug)]
pub struct Row<'t, C> {
    cells: &'t [Value],
    columns: C,
    position: usize,
}

impl<'t, C: Columns> Row<'t, C> {
    /// The row of a table at this position.
    pub fn of(table: &'t Table, columns: C, position: usize) -> Self {
        Self {
            cells: table.rows.get(position).map_or(&[], Vec::as_slice),
            columns,
            position,
        }
    }

    /// Position in the table.
    pub fn position(&self) -> usize {
        self.position
    }

    fn read<K: Kind>(&self, column: Column) -> K::Cell<'t> {
        K::read(column.of(self.cells))
    }
}

/// Declares structures that read rows, and lists them.
macro_rules! reads {
    ($(
        $(#[$doc:meta])*
        $name:ident of $($panel:ident),+ {
            $($column:ident: $kind:ident $(in $($only:ident),+)?;)+
        }
    )+) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug)]
            #[allow(clippy::struct_field_names, reason = "fields are the panel's columns")]
            pub(crate) struct $name {
                $($column: $crate::pg::Column,)+
            }

            impl $crate::dashboard::rows::Columns for $name {
                const DECLARED: $crate::dashboard::rows::Declared = $crate::dashboard::rows::Declared {
                    name: stringify!($name),
                    panels: &[$($crate::dashboard::rows::Panel::$panel),+],
                    columns: &[$($crate::dashboard::rows::DeclaredColumn {
                        name: stringify!($column),
                        types: <$kind as $crate::dashboard::rows::Kind>::TYPES,
                        only: &[$($($crate::dashboard::rows::Panel::$only),+)?],
                    }),+],
                };

                fn of(table: &$crate::pg::Table) -> Self {
                    let mut next = 0;
                    Self { $($column: table.find(stringify!($column), &mut next),)+ }
                }
            }

            impl<'t> $crate::dashboard::rows::Row<'t, $name> {
                $(
                    #[doc = concat!("The column `", stringify!($column), "`.")]
                    pub(crate) fn $column(&self) -> <$kind as $crate::dashboard::rows::Kind>::Cell<'t> {
                        self.read::<$kind>(self.columns.$column)
                    }
                )+
            }
        )+

        /// All structures that read rows.
        pub(crate) const ALL: &[$crate::dashboard::rows::Declared] =
            &[$(<$name as $crate::dashboard::rows::Columns>::DECLARED),+];
    };
}

/// Declares structures that derivations add to rows, and lists them.
macro_rules! adds {
    ($(
        $(#[$doc:meta])*
        $name:ident to $panel:ident { $($column:ident),*; $($over:ident),* $(; $($brought:ident),*)? }
    )+) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug)]
            pub(crate) struct $name {
                $(
                    #[doc = concat!("The column `", stringify!($column), "`.")]
                    pub(crate) $column: $crate::pg::Column,
                )*
                $(
                    #[doc = concat!("The column `", stringify!($over), "`.")]
                    pub(crate) $over: $crate::pg::Column,
                )*
            }

            impl $name {
                /// Names of the columns.
                pub(crate) const COLUMNS: &'static [&'static str] = &[$(stringify!($column),)* $($(stringify!($brought)),*)?];
                const OVER: &'static [&'static str] = &[$(stringify!($over)),*];

                /// Adds the columns that a table lacks, filled with NULL.
                pub(crate) fn to(table: &mut $crate::pg::Table) -> Self {
                    table.ensure(Self::COLUMNS);
                    table.ensure(Self::OVER);
                    let mut next = 0;
                    Self {
                        $($column: table.find(stringify!($column), &mut next),)*
                        $($over: table.find(stringify!($over), &mut next),)*
                    }
                }
            }
        )+

        /// All structures that are added to rows.
        pub(crate) const ALL: &[$crate::dashboard::rows::Added] = &[$($crate::dashboard::rows::Added {
            name: stringify!($name),
            panel: $crate::dashboard::rows::Panel::$panel,
            columns: $name::COLUMNS,
            over: $name::OVER,
        }),+];
    };
}

use {adds, reads};

/// Returns true if a derivation adds this column to the rows of `panel`.
fn is_added(panel: Panel, column: &str) -> bool {
    derived(panel).any(|name| name == column)
}

/// Columns that derivations add to the rows of `panel`.
pub fn derived(panel: Panel) -> impl Iterator<Item = &'static str> {
    let added = added::ALL.iter().filter(move |added| added.panel == panel);
    added.flat_map(|added| added.columns.iter().copied())
}

/// Columns that code reads of the statement of `panel`, with the structure that declares each.
pub fn wanted(panel: Panel) -> impl Iterator<Item = (&'static str, &'static DeclaredColumn)> {
    let declared = read::ALL.iter().chain(console::ALL);
    let declared = declared.chain(host::ALL).chain(nodes::ALL);
    let declared = declared
        .chain(stream::ALL)
        .chain(columnar::ALL)
        .chain(compared::ALL)
        .chain(timeline::ALL);
    let declared = declared.filter(move |declared| declared.panels.contains(&panel));
    declared.flat_map(move |declared| {
        let columns = declared.columns.iter();
        let columns = columns.filter(move |column| column.is_in(panel));
        let columns = columns.filter(move |column| !is_added(panel, column.name));
        columns.map(|column| (declared.name, column))
    })
}

/// Returns the answer of `panel`, or an error if it lacks a column that code reads. An answer without rows may come
/// without columns.
pub fn checked(panel: Panel, answer: Table) -> Result<Table, PgError> {
    let told = !answer.columns.is_empty();
    let mut wanted = wanted(panel).filter(|_| told);
    let lacking = wanted.find(|(_, column)| answer.column(column.name).is_none());
    match lacking {
        None => Ok(answer),
        Some((_, column)) => {
            let why = format!("the answer lacks the column {}", column.name);
            Err(PgError::new(Class::Statement, why))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dashboard::panels;
    use sqlparser::dialect::PostgreSqlDialect;
    use sqlparser::tokenizer::{Token, Tokenizer};
    use std::collections::BTreeSet;

    /// Returns the names that the server gives to the columns of a statement's outermost SELECT list.
    fn columns(sql: &str) -> Vec<String> {
        // Derived from other panels.
        if sql.is_empty() {
            return Vec::new();
        }
        let console = crate::pg::console::columns(sql);
        if !console.is_empty() {
            return console;
        }
        let sql = sql
            .replace("{pg_stat_statements}", "f")
            .replace("{pid}", "1");
        let tokens = Tokenizer::new(&PostgreSqlDialect {}, &sql).tokenize();
        let tokens = tokens.unwrap().into_iter();
        let mut depth = 0;
        let mut outermost = tokens.filter(|token| match token {
            Token::Whitespace(_) => false,
            Token::LParen => {
                depth += 1;
                false
            }
            Token::RParen => {
                depth -= 1;
                depth == 0
            }
            _ => depth == 0,
        });
        let is = |token: &Token, word: &str| matches!(token, Token::Word(it) if it.value.eq_ignore_ascii_case(word));
        assert!(outermost.any(|token| is(&token, "select")), "{sql}");
        let mut list: Vec<Vec<Token>> = vec![Vec::new()];
        for token in outermost {
            let item = list.last_mut().unwrap();
            let distinct = item.last().is_some_and(|last| is(last, "distinct"));
            match token {
                Token::Comma => list.push(Vec::new()),
                token if is(&token, "from") && !distinct => break,
                token => item.push(token),
            }
        }
        let name = |item: &Vec<Token>| {
            let named = item
                .iter()
                .rev()
                .nth(1)
                .is_some_and(|token| is(token, "as"));
            let cast = item.iter().position(|token| *token == Token::DoubleColon);
            let end = cast.filter(|_| !named).unwrap_or(item.len());
            match end.checked_sub(1).and_then(|last| item.get(last)) {
                Some(Token::Word(name)) => name.value.clone(),
                other => panic!("a column without a name: {other:?} in {sql}"),
            }
        };
        list.iter().map(name).collect()
    }

    /// Returns the errors in the declarations of `panel`, given a statement of it.
    fn wrong(panel: Panel, sql: &str) -> Vec<String> {
        let columns: BTreeSet<String> = columns(sql).into_iter().collect();
        let read = wanted(panel).map(|(structure, column)| (structure, column.name));
        let over = added::ALL.iter().filter(|added| added.panel == panel);
        let over = over.flat_map(|added| added.over.iter().map(|column| (added.name, *column)));
        let lacking = (read.chain(over)).filter(|(_, column)| !columns.contains(*column));
        let lacking =
            lacking.map(|(structure, column)| format!("{structure}.{column}: no such column"));
        let added = added::ALL.iter().filter(|added| added.panel == panel);
        let made = added.flat_map(|added| added.columns);
        let twice = made.filter(|column| columns.contains(**column));
        let twice = twice.map(|column| format!("{column} is the server's own"));
        lacking.chain(twice).collect()
    }

    #[test]
    fn every_declared_column_is_in_every_variant_of_its_panel() {
        for panel in Panel::ALL {
            let variants = panels::variants().find(|(name, _)| *name == panel.name());
            let (name, majors) = variants.unwrap_or_else(|| panic!("no panel {panel:?}"));
            for major in majors.into_iter().chain([13]) {
                let sql = panels::statement(name, major).unwrap();
                assert_eq!(
                    wrong(*panel, sql),
                    Vec::<String>::new(),
                    "{name} on {major}"
                );
            }
        }
    }

    #[test]
    fn a_column_that_a_statement_lacks_is_found() {
        let sql = panels::statement(Panel::Io.name(), 13).unwrap();
        assert_eq!(wrong(Panel::Io, sql), Vec::<String>::new());
        let planted = sql.replace("i.evictions,", "i.evictions AS evicted,");
        assert_eq!(wrong(Panel::Io, &planted), ["Io.evictions: no such column"]);
        let answer = |names: &[&str]| Table {
            columns: names.iter().map(|name| (*name).into()).collect(),
            rows: Vec::new(),
        };
        let columns = ["backend_type", "context", "evictions"];
        assert!(checked(Panel::Io, answer(&columns)).is_ok());
        assert!(checked(Panel::Io, Table::default()).is_ok());
        let error = checked(Panel::Io, answer(&columns[..2])).unwrap_err();
        assert_eq!(
            error.message.as_str(),
            "the answer lacks the column evictions"
        );
    }
}
