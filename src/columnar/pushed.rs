//! What of a query's conditions is handed on: the times, which select files and hours, and what the server can select by.

use super::hours::{HOUR, hour_of};
use super::table::Table;
use crate::pg::quote_literal;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};
use std::fmt::Write as _;
use std::ops::Range;

/// Conditions that every row of an answer meets.
#[derive(Debug)]
pub(super) struct Pushed {
    table: &'static Table,
    /// Times from this one on, in microseconds.
    from: Option<i64>,
    /// Times before this one.
    to: Option<i64>,
    /// Conditions on other columns, as SQL.
    conditions: Vec<String>,
}

impl Pushed {
    /// Those of filters that all must hold.
    pub(super) fn of(table: &'static Table, filters: &[Expr]) -> Self {
        let mut pushed = Self {
            table,
            from: None,
            to: None,
            conditions: Vec::new(),
        };
        for filter in filters {
            pushed.add(filter);
        }
        pushed
    }

    fn add(&mut self, filter: &Expr) {
        match filter {
            Expr::BinaryExpr(BinaryExpr {
                left,
                op: Operator::And,
                right,
            }) => {
                self.add(left);
                self.add(right);
            }
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => match (&**left, &**right) {
                (Expr::Column(column), Expr::Literal(value, _)) => {
                    self.compare(&column.name, *op, value);
                }
                (Expr::Literal(value, _), Expr::Column(column)) => {
                    if let Some(op) = op.swap() {
                        self.compare(&column.name, op, value);
                    }
                }
                _ => {}
            },
            Expr::Between(between) if !between.negated => {
                if let (Expr::Column(column), Expr::Literal(low, _), Expr::Literal(high, _)) =
                    (&*between.expr, &*between.low, &*between.high)
                {
                    self.compare(&column.name, Operator::GtEq, low);
                    self.compare(&column.name, Operator::LtEq, high);
                }
            }
            _ => {}
        }
    }

    fn compare(&mut self, column: &str, op: Operator, value: &ScalarValue) {
        match value {
            ScalarValue::TimestampMicrosecond(Some(at), _) if column == self.table.time => {
                self.compare_time(op, *at, at.saturating_add(1));
            }
            ScalarValue::Date32(Some(day)) if column == self.table.time => {
                let at = |day: i64| day.saturating_mul(24 * HOUR);
                self.compare_time(op, at(i64::from(*day)), at(i64::from(*day) + 1));
            }
            ScalarValue::Int16(_) | ScalarValue::Int32(_) | ScalarValue::Int64(_)
                if matches!(
                    op,
                    Operator::Eq | Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq
                ) && !value.is_null() =>
            {
                self.conditions.push(format!("f.{column} {op} {value}"));
            }
            // Only equality: other comparisons depend on the database's collation.
            ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text))
                if op == Operator::Eq && !text.contains('\0') =>
            {
                self.conditions
                    .push(format!("f.{column} = {}", quote_literal(text)));
            }
            _ => {}
        }
    }

    /// A comparison with a time, after which comes `after`.
    fn compare_time(&mut self, op: Operator, at: i64, after: i64) {
        let (from, to) = match op {
            Operator::GtEq => (Some(at), None),
            Operator::Gt => (Some(after), None),
            Operator::Lt => (None, Some(at)),
            Operator::LtEq => (None, Some(after)),
            Operator::Eq => (Some(at), Some(after)),
            _ => (None, None),
        };
        self.from = self.from.max(from);
        self.to = match (self.to, to) {
            (Some(known), Some(to)) => Some(known.min(to)),
            (known, to) => known.or(to),
        };
    }

    /// The hours that can hold such rows; the ends of [`i64`] are none.
    pub(super) fn hours(&self) -> Range<i64> {
        let from = self.from.map_or(i64::MIN, hour_of);
        let to = self
            .to
            .map_or(i64::MAX, |to| hour_of(to.saturating_add(HOUR - 1)));
        from..to.max(from)
    }

    /// The conditions for the server, each behind an AND.
    pub(super) fn sql(&self) -> String {
        let column = self.table.time;
        let at = |comparison: &str, at: Option<i64>| {
            at.map(|at| {
                let at = if self.table.is_daily() {
                    format!("date '1970-01-01' + ({})", at.div_euclid(24 * HOUR))
                } else {
                    format!("timestamptz '1970-01-01 00:00+00' + interval '{at} microseconds'")
                };
                format!("f.{column} {comparison} {at}")
            })
        };
        let times = [at(">=", self.from), at("<", self.to)]
            .into_iter()
            .flatten();
        let all = times.chain(self.conditions.iter().cloned());
        all.fold(String::new(), |mut sql, condition| {
            let _ = write!(sql, " AND {condition}");
            sql
        })
    }
}

/// Whether a filter asks for whole hours: it compares nothing but the time, and that with the beginnings of hours. A scan of these
/// hours and a server that is asked with [`Pushed::sql`] return no other rows.
pub(super) fn is_of_hours(table: &Table, filter: &Expr) -> bool {
    match filter {
        Expr::BinaryExpr(BinaryExpr {
            left,
            op: Operator::And,
            right,
        }) => is_of_hours(table, left) && is_of_hours(table, right),
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match (&**left, &**right) {
            (Expr::Column(column), Expr::Literal(value, _)) => {
                is_between_hours(table, &column.name, *op, value)
            }
            (Expr::Literal(value, _), Expr::Column(column)) => op
                .swap()
                .is_some_and(|op| is_between_hours(table, &column.name, op, value)),
            _ => false,
        },
        _ => false,
    }
}

fn is_between_hours(table: &Table, column: &str, op: Operator, value: &ScalarValue) -> bool {
    let begins = |at: i64| at.rem_euclid(HOUR) == 0;
    match (value, op) {
        _ if column != table.time => false,
        (ScalarValue::TimestampMicrosecond(Some(at), _), Operator::GtEq | Operator::Lt) => {
            begins(*at)
        }
        (ScalarValue::TimestampMicrosecond(Some(at), _), Operator::Gt | Operator::LtEq) => {
            begins(at.saturating_add(1))
        }
        (ScalarValue::Date32(Some(_)), op) => matches!(
            op,
            Operator::Eq | Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq
        ),
        _ => false,
    }
}

/// For each column, whether a scan with this projection and these filters reads it.
pub(super) fn needed(
    table: &Table,
    projection: Option<&Vec<usize>>,
    filters: &[Expr],
) -> Vec<bool> {
    let filter = conjunction(filters.iter().cloned());
    let filtered = filter.map(|filter| {
        filter
            .column_refs()
            .into_iter()
            .map(|column| column.name.clone())
            .collect::<Vec<_>>()
    });
    let filtered = filtered.unwrap_or_default();
    table
        .columns
        .iter()
        .enumerate()
        .map(|(place, column)| {
            projection.is_none_or(|places| places.contains(&place))
                || filtered.iter().any(|name| name == column.name)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::table::TABLES;
    use super::*;
    use datafusion::logical_expr::{col, lit};

    const TIME: &str = "sale_time";

    fn at(at: i64) -> Expr {
        lit(ScalarValue::TimestampMicrosecond(
            Some(at),
            Some("UTC".into()),
        ))
    }

    #[test]
    fn times_select_hours_and_the_rest_is_sql() {
        let [sales, days, _] = &TABLES;
        let filters = [
            col(TIME)
                .gt_eq(at(2 * HOUR))
                .and(at(5 * HOUR).gt(col(TIME))),
            col("user_id").eq(lit(7_i64)),
            col("category")
                .eq(lit("it's"))
                .and(col("category").gt(lit("a"))),
            col("quantity")
                .gt(col("line_no"))
                .or(col("user_id").eq(lit(1_i64))),
        ];
        let pushed = Pushed::of(sales, &filters);
        assert_eq!(pushed.hours(), 2..5);
        let sql = pushed.sql();
        assert!(
            sql.ends_with("AND f.user_id = 7 AND f.category = 'it''s'"),
            "{sql}"
        );
        assert!(sql.starts_with(" AND f.sale_time >= timestamptz '1970-01-01 00:00+00' + interval '7200000000 microseconds'"));
        assert_eq!(
            needed(sales, Some(&vec![0]), &filters)
                .iter()
                .filter(|needed| **needed)
                .count(),
            6
        );
        assert_eq!(Pushed::of(sales, &[]).hours(), i64::MIN..i64::MAX);
        let to_the_end_of_an_hour = Pushed::of(sales, &[col(TIME).lt_eq(at(2 * HOUR))]);
        assert_eq!(to_the_end_of_an_hour.hours(), i64::MIN..3);
        let never = Pushed::of(sales, &[col(TIME).gt(at(9 * HOUR)), col(TIME).lt(at(HOUR))]);
        assert!(never.hours().is_empty());
        let day = |day| lit(ScalarValue::Date32(Some(day)));
        let whole = [
            col(TIME)
                .gt_eq(at(2 * HOUR))
                .and(at(5 * HOUR).gt(col(TIME))),
            col(TIME).lt(at(-3 * HOUR)),
            col(TIME)
                .gt(at(3 * HOUR - 1))
                .and(col(TIME).lt_eq(at(4 * HOUR - 1))),
        ];
        assert!(whole.iter().all(|filter| is_of_hours(sales, filter)));
        assert!(is_of_hours(
            days,
            &col("day").gt(day(2)).and(col("day").eq(day(4)))
        ));
        for part in [
            col(TIME).gt_eq(at(2 * HOUR + 1)),
            col(TIME).gt(at(2 * HOUR)),
            col(TIME).lt_eq(at(2 * HOUR)),
            col(TIME).eq(at(2 * HOUR)),
            col(TIME).not_eq(at(2 * HOUR)),
            col(TIME).lt(at(i64::MAX)),
            col(TIME).lt(at(HOUR)).or(col(TIME).gt_eq(at(2 * HOUR))),
            col(TIME).lt(at(HOUR)).and(col("user_id").eq(lit(7_i64))),
            col("user_id").lt(lit(HOUR)),
        ] {
            assert!(!is_of_hours(sales, &part), "{part}");
        }
        assert!(!is_of_hours(days, &col("day").not_eq(day(2))));
        let dates = Pushed::of(days, &[col("day").gt(day(2)).and(col("day").lt_eq(day(4)))]);
        assert_eq!(dates.hours(), 3 * 24..5 * 24);
        assert_eq!(
            dates.sql(),
            " AND f.day >= date '1970-01-01' + (3) AND f.day < date '1970-01-01' + (5)"
        );
    }
}
