//! Makes a plan compute as PostgreSQL does: integers that overflow with an error, exact quotients, times in the session's
//! zone. Times and dates that a statement writes are read by PostgreSQL itself.

use super::averages;
use super::error::unsupported;
use super::functions::{Kind, QUOTIENT_SCALE, call, epoch_of};
use super::percentiles;
use super::zone::{Unit, Zone};
use crate::pg::quote_literal;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::{Between, Cast, InList, ScalarFunction};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, LogicalPlan, Operator};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Times and dates of a statement: SQL, and its value in microseconds or days since 1970.
#[derive(Debug, Default)]
pub(super) struct Times {
    /// Those that PostgreSQL has read.
    pub(super) known: BTreeMap<String, i64>,
    /// Those that it must read.
    pub(super) wanted: BTreeSet<String>,
}

/// Rewrites a plan.
pub(super) struct Rewriter<'a> {
    pub(super) zone: &'a Arc<Zone>,
    pub(super) utc: &'a Arc<Zone>,
    /// The server is older than PostgreSQL 14, where extract() is double precision.
    pub(super) before_14: bool,
    pub(super) times: &'a mut Times,
}

fn is_time(kind: &DataType) -> bool {
    matches!(kind, DataType::Timestamp(_, _))
}

fn is_comparison(op: Operator) -> bool {
    use Operator::{Eq, Gt, GtEq, IsDistinctFrom, IsNotDistinctFrom, Lt, LtEq, NotEq};
    matches!(
        op,
        Eq | NotEq | Lt | LtEq | Gt | GtEq | IsDistinctFrom | IsNotDistinctFrom
    )
}

impl Rewriter<'_> {
    /// Rewrites all of a plan.
    pub(super) fn plan(&mut self, plan: LogicalPlan) -> Result<LogicalPlan> {
        let rewritten = plan.transform_up_with_subqueries(|node| {
            let schema = merge_schema(&node.inputs());
            let names = NamePreserver::new(&node);
            let node = node.map_expressions(|expr| {
                let name = names.save(&expr);
                let expr = expr.transform_up(|expr| self.expr(expr, &schema))?;
                Ok(expr.update_data(|expr| name.restore(expr)))
            })?;
            let node = node.data.recompute_schema()?;
            Ok(Transformed::yes(match node {
                LogicalPlan::Aggregate(aggregate) => averages::exact(aggregate, self.zone)?,
                node => node,
            }))
        })?;
        Ok(rewritten.data)
    }

    fn expr(&mut self, expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
        Ok(match expr {
            // An integer beyond bigint is a numeric.
            Expr::Literal(ScalarValue::UInt64(Some(number)), _) => Transformed::yes(Expr::Literal(
                ScalarValue::Decimal128(Some(i128::from(number)), 20, 0),
                None,
            )),
            Expr::ScalarFunction(function) => self.function(function, schema)?,
            Expr::Cast(cast) => self.cast(cast, schema)?,
            Expr::BinaryExpr(binary) => self.binary(binary, schema)?,
            Expr::Between(between) => {
                let kind = between.expr.get_type(schema)?;
                let low = self.as_type_of(&kind, *between.low);
                let high = self.as_type_of(&kind, *between.high);
                Transformed::yes(Expr::Between(Between::new(
                    between.expr,
                    between.negated,
                    Box::new(low),
                    Box::new(high),
                )))
            }
            Expr::InList(list) => {
                let kind = list.expr.get_type(schema)?;
                let items = list
                    .list
                    .into_iter()
                    .map(|item| self.as_type_of(&kind, item))
                    .collect();
                Transformed::yes(Expr::InList(InList::new(list.expr, items, list.negated)))
            }
            Expr::Negative(inner)
                if DataType::is_integer(&inner.get_type(schema)?)
                    && !matches!(*inner, Expr::Literal(_, _)) =>
            {
                let zero = Expr::Literal(ScalarValue::Int64(Some(0)), None);
                Transformed::yes(call(Kind::Subtract, vec![zero, *inner], self.zone))
            }
            Expr::AggregateFunction(mut function) if percentiles::is_one(&function) => {
                percentiles::exact(&mut function, schema)?;
                Transformed::yes(Expr::AggregateFunction(function))
            }
            Expr::AggregateFunction(mut function) if function.func.name() == "sum" => {
                if let [argument] = function.params.args.as_mut_slice() {
                    let kind = argument.get_type(schema)?;
                    let inner = std::mem::replace(argument, Expr::Literal(ScalarValue::Null, None));
                    *argument = averages::addend(inner, &kind);
                }
                Transformed::yes(Expr::AggregateFunction(function))
            }
            other => Transformed::no(other),
        })
    }

    fn function(
        &mut self,
        function: ScalarFunction,
        schema: &DFSchema,
    ) -> Result<Transformed<Expr>> {
        let name = function.name().to_owned();
        let rewritten = match (name.as_str(), function.args.as_slice()) {
            ("now" | "current_timestamp", []) => self.time("now()"),
            ("current_date" | "today", []) => self.date("current_date"),
            ("date_trunc", [Expr::Literal(unit, _), at, rest @ ..]) => {
                let word = unit
                    .try_as_str()
                    .flatten()
                    .unwrap_or_default()
                    .to_lowercase();
                let Some(unit) = Unit::of(&word) else {
                    return Err(unsupported(format!(
                        "date_trunc of {word:?} is not supported"
                    )));
                };
                let zone = match rest {
                    [] => self.zone,
                    [Expr::Literal(zone, _)] if zone.try_as_str().flatten() == Some("UTC") => {
                        self.utc
                    }
                    _ => {
                        return Err(unsupported(
                            "date_trunc in another time zone is not supported: use --time-zone",
                        ));
                    }
                };
                if !is_time(&at.get_type(schema)?) {
                    return Err(unsupported("date_trunc needs a timestamptz"));
                }
                let constant = match at {
                    Expr::Literal(ScalarValue::TimestampMicrosecond(Some(at), _), _) => {
                        self.time(&format!(
                            "date_trunc('{word}', {}, {})",
                            instant(*at),
                            quote_literal(&zone.name)
                        ))
                    }
                    _ => None,
                };
                Some(constant.unwrap_or_else(|| call(Kind::Truncate(unit), vec![at.clone()], zone)))
            }
            ("date_part", [Expr::Literal(field, _), at]) if is_time(&at.get_type(schema)?) => {
                let field = field.try_as_str().flatten().unwrap_or_default();
                Some(self.extracted(field, at)?)
            }
            ("round", [number, digits @ ..]) => {
                let digits = match digits {
                    [] => Some(0),
                    [Expr::Literal(ScalarValue::Int64(Some(digits)), _)] => i8::try_from(*digits)
                        .ok()
                        .filter(|n| (0..=QUOTIENT_SCALE).contains(n)),
                    _ => None,
                };
                let Some(digits) = digits else {
                    return Err(unsupported(format!(
                        "round takes a number of digits from 0 to {QUOTIENT_SCALE}"
                    )));
                };
                Some(call(
                    Kind::Round(digits),
                    vec![numeric(number.clone(), schema)?],
                    self.zone,
                ))
            }
            _ => None,
        };
        Ok(match rewritten {
            Some(expr) => Transformed::yes(expr),
            None => Transformed::no(Expr::ScalarFunction(function)),
        })
    }

    /// extract(epoch FROM at).
    fn extracted(&self, field: &str, at: &Expr) -> Result<Expr> {
        if !field.eq_ignore_ascii_case("epoch") {
            return Err(unsupported(format!(
                "extract({field} FROM …) is not supported: only epoch is"
            )));
        }
        let kind = if self.before_14 {
            Kind::EpochDouble
        } else {
            Kind::Epoch
        };
        Ok(call(kind, vec![at.clone()], self.zone))
    }

    fn cast(&mut self, cast: Cast, schema: &DFSchema) -> Result<Transformed<Expr>> {
        let to = cast.field.data_type().clone();
        let text = match &*cast.expr {
            Expr::Literal(value, _) => value.try_as_str().flatten().map(str::to_owned),
            _ => None,
        };
        let rewritten = match (text, &to) {
            (Some(text), DataType::Timestamp(_, Some(_))) => {
                self.time(&format!("{}::timestamptz", quote_literal(&text)))
            }
            (Some(text), DataType::Timestamp(_, None)) => {
                self.time(&format!("{}::timestamp::timestamptz", quote_literal(&text)))
            }
            (Some(text), DataType::Date32) => self.date(&format!("{}::date", quote_literal(&text))),
            (None, DataType::Date32) if is_time(&cast.expr.get_type(schema)?) => {
                Some(call(Kind::Date, vec![(*cast.expr).clone()], self.zone))
            }
            (None, DataType::Int64) => epoch_of(&cast.expr).map(|at| {
                let to_even = self.before_14;
                call(Kind::EpochSeconds { to_even }, vec![at.clone()], self.zone)
            }),
            _ => None,
        };
        Ok(match rewritten {
            Some(expr) => Transformed::yes(expr),
            None => Transformed::no(Expr::Cast(cast)),
        })
    }

    fn binary(&mut self, binary: BinaryExpr, schema: &DFSchema) -> Result<Transformed<Expr>> {
        let BinaryExpr { left, op, right } = binary;
        let (of_left, of_right) = (left.get_type(schema)?, right.get_type(schema)?);
        if is_comparison(op) {
            let right = self.as_type_of(&of_left, *right);
            let left = self.as_type_of(&of_right, *left);
            return Ok(Transformed::yes(Expr::BinaryExpr(BinaryExpr::new(
                Box::new(left),
                op,
                Box::new(right),
            ))));
        }
        let kind = match op {
            Operator::Plus => Kind::Add,
            Operator::Minus => Kind::Subtract,
            Operator::Multiply => Kind::Multiply,
            Operator::Divide => Kind::Divide,
            _ => {
                return Ok(Transformed::no(Expr::BinaryExpr(BinaryExpr::new(
                    left, op, right,
                ))));
            }
        };
        if DataType::is_integer(&of_left) && DataType::is_integer(&of_right) {
            return Ok(Transformed::yes(call(kind, vec![*left, *right], self.zone)));
        }
        if kind == Kind::Divide {
            let (above, below) = (numeric(*left, schema)?, numeric(*right, schema)?);
            for side in [&above, &below] {
                if matches!(
                    side.get_type(schema)?,
                    DataType::Decimal128(_, QUOTIENT_SCALE)
                ) {
                    return Err(unsupported(
                        "a quotient or average that is divided again is not supported: round it first",
                    ));
                }
            }
            return Ok(Transformed::yes(call(
                Kind::Quotient,
                vec![above, below],
                self.zone,
            )));
        }
        if let Some(time) = self.shifted(&left, op, &right) {
            return Ok(Transformed::yes(time));
        }
        Ok(Transformed::no(Expr::BinaryExpr(BinaryExpr::new(
            left, op, right,
        ))))
    }

    /// A constant time, earlier or later by a constant interval, or a constant date by days.
    fn shifted(&mut self, left: &Expr, op: Operator, right: &Expr) -> Option<Expr> {
        let (Expr::Literal(at, _), Expr::Literal(by, _)) = (left, right) else {
            return None;
        };
        if !matches!(op, Operator::Plus | Operator::Minus) {
            return None;
        }
        let span = match (at, by) {
            (_, ScalarValue::IntervalMonthDayNano(Some(span))) => span,
            (ScalarValue::Date32(Some(day)), ScalarValue::Int64(Some(days))) => {
                return self.date(&format!("{} {op} ({days})::integer", date(*day)));
            }
            _ => return None,
        };
        if span.nanoseconds % 1000 != 0 {
            return None;
        }
        let start = match at {
            ScalarValue::TimestampMicrosecond(Some(at), _) => instant(*at),
            ScalarValue::Date32(Some(day)) => date(*day),
            _ => return None,
        };
        let (months, days, micros) = (span.months, span.days, span.nanoseconds / 1000);
        let span = format!("interval '{months} months {days} days {micros} microseconds'");
        self.time(&format!("({start} {op} {span})::timestamptz"))
    }

    /// A constant that is compared with a time or a date becomes one.
    fn as_type_of(&mut self, kind: &DataType, expr: Expr) -> Expr {
        let Expr::Literal(value, _) = &expr else {
            return expr;
        };
        let text = value.try_as_str().flatten().map(quote_literal);
        let made = match (kind, text, value) {
            (DataType::Timestamp(_, _), Some(text), _) => {
                self.time(&format!("{text}::timestamptz"))
            }
            (DataType::Timestamp(_, _), None, ScalarValue::Date32(Some(day))) => {
                self.time(&format!("{}::timestamptz", date(*day)))
            }
            (DataType::Date32, Some(text), _) => self.date(&format!("{text}::date")),
            _ => None,
        };
        made.unwrap_or(expr)
    }

    /// A time that PostgreSQL reads. `None` until it has.
    fn time(&mut self, sql: &str) -> Option<Expr> {
        let sql = format!("(extract(epoch FROM ({sql})) * 1000000)::bigint");
        let at = self.value(sql)?;
        Some(Expr::Literal(
            ScalarValue::TimestampMicrosecond(Some(at), Some("UTC".into())),
            None,
        ))
    }

    fn date(&mut self, sql: &str) -> Option<Expr> {
        let day = self.value(format!("(({sql}) - date '1970-01-01')::bigint"))?;
        let day = i32::try_from(day).ok()?;
        Some(Expr::Literal(ScalarValue::Date32(Some(day)), None))
    }

    fn value(&mut self, sql: String) -> Option<i64> {
        let known = self.times.known.get(&sql).copied();
        if known.is_none() {
            self.times.wanted.insert(sql);
        }
        known
    }
}

/// A time as SQL, exactly.
fn instant(at: i64) -> String {
    format!("timestamptz '1970-01-01 00:00+00' + interval '{at} microseconds'")
}

/// A date as SQL.
fn date(day: i32) -> String {
    format!("(date '1970-01-01' + ({day}))")
}

/// A number as a numeric that can be divided and rounded.
fn numeric(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    match expr.get_type(schema)? {
        DataType::Decimal128(_, scale) if (0..=QUOTIENT_SCALE).contains(&scale) => Ok(expr),
        kind if DataType::is_integer(&kind) => Ok(Expr::Cast(Cast::new(
            Box::new(expr),
            DataType::Decimal128(20, 0),
        ))),
        DataType::Null => Ok(Expr::Cast(Cast::new(
            Box::new(expr),
            DataType::Decimal128(20, 0),
        ))),
        kind => Err(unsupported(format!(
            "numbers of type {kind} are not supported here"
        ))),
    }
}
