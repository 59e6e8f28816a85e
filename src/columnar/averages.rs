//! avg(x): an exact quotient, which the engine does not compute.

use super::error::unsupported;
use super::functions::{Kind, call};
use super::zone::Zone;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::functions_aggregate::expr_fn::{count, sum};
use datafusion::logical_expr::expr::{AggregateFunction, Alias, Cast};
use datafusion::logical_expr::{Aggregate, Expr, ExprSchemable, LogicalPlan, Projection, col};
use std::sync::Arc;

/// Replaces each avg(x) of an aggregation by the exact quotient of sum(x) and count(x).
pub(super) fn exact(aggregate: Aggregate, zone: &Arc<Zone>) -> Result<LogicalPlan> {
    if !aggregate
        .aggr_expr
        .iter()
        .any(|expr| average(expr).is_some())
    {
        return Ok(LogicalPlan::Aggregate(aggregate));
    }
    let Aggregate {
        input,
        group_expr,
        aggr_expr,
        schema,
        ..
    } = aggregate;
    let groups = schema.fields().len().saturating_sub(aggr_expr.len());
    let (mut inner, mut outer) = (Vec::new(), Vec::new());
    for (place, expr) in aggr_expr.into_iter().enumerate() {
        let (relation, field) = schema.qualified_field(groups + place);
        let Some(function) = average(&expr) else {
            outer.push(Expr::Column((relation, field).into()));
            inner.push(expr);
            continue;
        };
        let params = &function.params;
        let [argument] = params.args.as_slice() else {
            return Err(unsupported("avg takes one argument"));
        };
        if params.distinct || !params.order_by.is_empty() {
            return Err(unsupported("avg(DISTINCT …) is not supported"));
        }
        let argument_type = argument.get_type(input.schema())?;
        let added = match argument_type {
            DataType::Int16 | DataType::Int32 => cast(argument.clone(), 20, 0),
            kind if kind.is_integer() || kind.is_decimal() => addend(argument.clone(), &kind),
            kind => return Err(unsupported(format!("avg of {kind} is not supported"))),
        };
        let (of_sum, of_count) = (
            format!("htap-top sum {place}"),
            format!("htap-top count {place}"),
        );
        inner.push(filtered(sum(added), function).alias(&of_sum));
        inner.push(filtered(count(argument.clone()), function).alias(&of_count));
        let quote = |name: &str| format!("\"{name}\"");
        let counted = cast(col(quote(&of_count)), 20, 0);
        let quotient = call(Kind::Quotient, vec![col(quote(&of_sum)), counted], zone);
        outer.push(Expr::Alias(Alias::new(
            quotient,
            relation.cloned(),
            field.name(),
        )));
    }
    let before = (0..groups).map(|place| Expr::Column(schema.qualified_field(place).into()));
    let outer = before.chain(outer).collect();
    let aggregate = LogicalPlan::Aggregate(Aggregate::try_new(input, group_expr, inner)?);
    Ok(LogicalPlan::Projection(Projection::try_new(
        outer,
        Arc::new(aggregate),
    )?))
}

/// Digits of a numeric that can be added up: the sum has ten more.
pub(super) const ADDEND: u8 = 28;
/// Of these, the most after the point: a quotient may have more, and is not added up.
const ADDEND_SCALE: i8 = 10;

/// The argument of sum(x) in a type whose sum is exact: bigint as numeric, and a numeric of many digits, such as a sum, as one that
/// leaves room for the sum. A number that does not fit is an error.
pub(super) fn addend(argument: Expr, kind: &DataType) -> Expr {
    match kind {
        DataType::Int64 | DataType::UInt64 => cast(argument, 20, 0),
        DataType::Decimal128(digits, scale) if *digits > ADDEND && *scale <= ADDEND_SCALE => {
            cast(argument, ADDEND, *scale)
        }
        _ => argument,
    }
}

fn cast(expr: Expr, digits: u8, scale: i8) -> Expr {
    Expr::Cast(Cast::new(
        Box::new(expr),
        DataType::Decimal128(digits, scale),
    ))
}

/// An aggregation with the FILTER of another one.
fn filtered(expr: Expr, like: &AggregateFunction) -> Expr {
    match expr {
        Expr::AggregateFunction(mut function) => {
            function.params.filter.clone_from(&like.params.filter);
            Expr::AggregateFunction(function)
        }
        other => other,
    }
}

fn average(expr: &Expr) -> Option<&AggregateFunction> {
    match expr {
        Expr::AggregateFunction(function) if function.func.name() == "avg" => Some(function),
        Expr::Alias(alias) => average(&alias.expr),
        _ => None,
    }
}
