//! Locks that the point query waits for, on the tables that it names.

use crate::dashboard::rows::{Columns, Row, added, read};
use crate::pg::{Table, Value};

/// Seconds for which the last locks seen are reported, the same as for failures of point queries.
const TOLD_S: f64 = 30.0;

/// The last sample that contained locks, with its time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory {
    last: Option<(Table, f64)>,
}

/// Keeps the locks on tables that `statement` names. If there are none left, returns the last ones seen, with
/// `ended_s`.
pub(crate) fn derive(mut table: Table, statement: &str, memory: &mut Memory, now_s: f64) -> Table {
    let columns = read::PointLock::of(&table);
    added::ToPointLocks::to(&mut table);
    table.drop_rows(|table, row| !names(statement, Row::of(table, columns, row)));
    if !table.rows.is_empty() {
        memory.last = Some((table.clone(), now_s));
        return table;
    }
    match &memory.last {
        Some((last, at_s)) if (0.0..=TOLD_S).contains(&(now_s - at_s)) => {
            let mut last = last.clone();
            let added = added::ToPointLocks::to(&mut last);
            for row in 0..last.rows.len() {
                last.put(row, added.ended_s, Value::Float(now_s - at_s));
            }
            last
        }
        _ => table,
    }
}

fn names(statement: &str, row: Row<'_, read::PointLock>) -> bool {
    let quoted = row.quoted().raw();
    let quoted = quoted.is_some_and(|quoted| statement.contains(quoted));
    let named = row.schemaname().raw().zip(row.relname().raw());
    quoted || named.is_some_and(|(schema, name)| reads(statement, schema, name))
}

/// Returns true if a statement names this table with its schema.
pub(crate) fn reads(statement: &str, schema: &str, name: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '$');
    let has = |wanted: &str| {
        let mut words = statement.split(|c: char| !is_part(c));
        words.any(|word| word.eq_ignore_ascii_case(wanted))
    };
    has(schema) && has(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locks(rows: &[(&str, &str)]) -> Table {
        let row = |(schema, name): &(&str, &str)| {
            let quoted = format!("\"{schema}\".\"{name}\"");
            vec![(*schema).into(), (*name).into(), quoted.as_str().into()]
        };
        Table {
            columns: ["schemaname", "relname", "quoted"].map(Into::into).into(),
            rows: rows.iter().map(row).collect(),
        }
    }

    #[test]
    fn locks_of_the_tables_that_the_statement_names_are_kept_and_those_seen_last_told() {
        let mut memory = Memory::default();
        let statement =
            "SELECT p.price FROM Shop.products AS p JOIN \"My\".\"odd one\" AS o ON true";
        let mut seen = |now_s, rows: &[(&str, &str)]| {
            let table = derive(locks(rows), statement, &mut memory, now_s);
            let column = table.column("relname").unwrap_or_default();
            let names: Vec<_> = table.rows.iter().map(|row| row[column].clone()).collect();
            (names, table.first("ended_s").number())
        };
        assert_eq!(
            seen(0.0, &[("tenant", "products"), ("shop", "orders")]),
            (vec![], None)
        );
        let rows = [
            ("tenant", "products"),
            ("shop", "products"),
            ("My", "odd one"),
        ];
        let both = vec![Value::from("products"), Value::from("odd one")];
        assert_eq!(seen(1.0, &rows), (both.clone(), None));
        assert_eq!(seen(5.0, &[]), (both, Some(4.0)));
        assert_eq!(seen(40.0, &[]), (vec![], None));
    }
}
