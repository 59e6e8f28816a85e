//! Which plans the column store computes: those of which every part is known to have PostgreSQL's result. All others are
//! refused, with the part that is not supported, before anything runs.

use super::averages;
use super::error::unsupported;
use super::functions::{PREFIX, epoch_of};
use super::percentiles;
use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::{AggregateFunction, Cast, WindowFunction};
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    BinaryExpr, Distinct, Expr, ExprSchemable, LogicalPlan, Operator, WindowFunctionDefinition,
};
use datafusion::sql::sqlparser::ast::{
    Expr as Ast, ObjectNamePart, Query, SetExpr, SetOperator, Statement, Visit, Visitor,
};
use std::ops::ControlFlow;

/// Refuses what the engine would accept and ignore, or understand otherwise, before it plans the statement.
pub(super) fn statement(statement: &Statement) -> Result<()> {
    let Statement::Query(query) = statement else {
        return Err(unsupported("the column store only answers SELECT"));
    };
    match query.visit(&mut Queries) {
        ControlFlow::Break(why) => Err(unsupported(why)),
        ControlFlow::Continue(()) => Ok(()),
    }
}

/// Visits each query of a statement.
struct Queries;
impl Visitor for Queries {
    type Break = &'static str;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<&'static str> {
        if !query.locks.is_empty() {
            return ControlFlow::Break("FOR UPDATE and FOR SHARE are not supported");
        }
        if query.with.as_ref().is_some_and(|with| with.recursive) {
            return ControlFlow::Break("WITH RECURSIVE is not supported");
        }
        if query.fetch.is_some() {
            return ControlFlow::Break("FETCH FIRST is not supported: use LIMIT");
        }
        body(&query.body)
    }

    fn pre_visit_expr(&mut self, expr: &Ast) -> ControlFlow<&'static str> {
        match expr {
            // The engine plans extract() as this function, which has another type in PostgreSQL.
            Ast::Function(function) if function.name.0.last().is_some_and(is_date_part) => {
                ControlFlow::Break("date_part is not supported: use extract(epoch FROM …)")
            }
            _ => ControlFlow::Continue(()),
        }
    }
}

/// Whether a function has this name, or the engine's other one.
fn is_date_part(name: &ObjectNamePart) -> bool {
    let name = name.as_ident().map(|name| name.value.to_lowercase());
    matches!(name.as_deref(), Some("date_part" | "datepart"))
}

fn body(expr: &SetExpr) -> ControlFlow<&'static str> {
    match expr {
        SetExpr::Select(select) => {
            if select.into.is_some() {
                return ControlFlow::Break("SELECT INTO is not supported");
            }
            if select.qualify.is_some()
                || !select.sort_by.is_empty()
                || !select.lateral_views.is_empty()
                || select.top.is_some()
            {
                return ControlFlow::Break(
                    "clauses that PostgreSQL does not have are not supported",
                );
            }
            ControlFlow::Continue(())
        }
        SetExpr::SetOperation {
            op: SetOperator::Union,
            left,
            right,
            ..
        } => {
            body(left)?;
            body(right)
        }
        SetExpr::SetOperation { .. } => {
            ControlFlow::Break("INTERSECT and EXCEPT are not supported")
        }
        SetExpr::Query(_) | SetExpr::Values(_) => ControlFlow::Continue(()),
        _ => ControlFlow::Break("the column store only answers SELECT"),
    }
}

/// Checks a plan whose types are resolved. `bytewise`: the database compares texts by their bytes, as the engine does.
pub(super) fn plan(plan: &LogicalPlan, bytewise: bool) -> Result<()> {
    plan.apply_with_subqueries(|node| {
        self::node(node)?;
        let schema = merge_schema(&node.inputs());
        let check = Check {
            schema: &schema,
            bytewise,
        };
        if let LogicalPlan::Sort(sort) = node {
            for key in &sort.expr {
                let column = matches!(key.expr, Expr::Column(_));
                if !column || key.expr.get_type(&schema)? != DataType::Float64 {
                    check.ordered(&key.expr, "ORDER BY")?;
                }
            }
        }
        node.apply_expressions(|expr| expr.apply(|part| check.expr(part)))
    })?;
    Ok(())
}

fn node(node: &LogicalPlan) -> Result<()> {
    match node {
        LogicalPlan::Projection(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::Window(_)
        | LogicalPlan::Aggregate(_)
        | LogicalPlan::Sort(_)
        | LogicalPlan::Join(_)
        | LogicalPlan::Union(_)
        | LogicalPlan::TableScan(_)
        | LogicalPlan::EmptyRelation(_)
        | LogicalPlan::Subquery(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Limit(_)
        | LogicalPlan::Values(_)
        | LogicalPlan::Distinct(Distinct::All(_)) => {
            for field in node.schema().fields() {
                carried(field.data_type())?;
            }
            Ok(())
        }
        LogicalPlan::Distinct(_) => Err(unsupported("DISTINCT ON is not supported")),
        _ => Err(unsupported("the column store only answers SELECT")),
    }
}

/// Like [`known`], with the result of percentile_cont, of which nothing is computed.
fn carried(kind: &DataType) -> Result<()> {
    match kind {
        DataType::Float64 => Ok(()),
        kind => known(kind),
    }
}

/// Refuses types whose values could differ from PostgreSQL's.
fn known(kind: &DataType) -> Result<()> {
    match kind {
        DataType::Null
        | DataType::Boolean
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::UInt64
        | DataType::Utf8
        | DataType::Utf8View
        | DataType::Decimal128(_, _)
        | DataType::Date32 => Ok(()),
        DataType::Timestamp(TimeUnit::Microsecond, Some(zone)) if &**zone == "UTC" => Ok(()),
        DataType::Timestamp(_, None) => Err(unsupported(
            "timestamp without time zone is not supported: use timestamptz",
        )),
        DataType::Float16 | DataType::Float32 | DataType::Float64 => {
            Err(unsupported("double precision is not supported"))
        }
        DataType::Interval(_) | DataType::Duration(_) => Err(unsupported(
            "intervals are supported only next to a constant time",
        )),
        other => Err(unsupported(format!("the type {other} is not supported"))),
    }
}

fn is_text(kind: &DataType) -> bool {
    matches!(kind, DataType::Utf8 | DataType::Utf8View)
}

struct Check<'a> {
    schema: &'a DFSchema,
    bytewise: bool,
}

impl Check<'_> {
    fn kind(&self, expr: &Expr) -> Result<DataType> {
        let kind = expr.get_type(self.schema)?;
        known(&kind)?;
        Ok(kind)
    }

    /// Refuses an order of texts that the engine does not know.
    fn ordered(&self, expr: &Expr, what: &str) -> Result<()> {
        if is_text(&self.kind(expr)?) && !self.bytewise {
            return Err(unsupported(format!(
                "{what} of texts is not supported in this database, whose collation orders them otherwise than by their bytes"
            )));
        }
        Ok(())
    }

    fn expr(&self, expr: &Expr) -> Result<TreeNodeRecursion> {
        match expr {
            Expr::Alias(_) | Expr::Column(_) => carried(&expr.get_type(self.schema)?)?,
            Expr::Literal(_, _)
            | Expr::Not(_)
            | Expr::IsNotNull(_)
            | Expr::IsNull(_)
            | Expr::IsTrue(_)
            | Expr::IsFalse(_)
            | Expr::IsUnknown(_)
            | Expr::IsNotTrue(_)
            | Expr::IsNotFalse(_)
            | Expr::IsNotUnknown(_)
            | Expr::Case(_)
            | Expr::InList(_) => _ = self.kind(expr)?,
            Expr::Negative(inner) => {
                let literal = matches!(**inner, Expr::Literal(_, _));
                if !literal && !matches!(self.kind(inner)?, DataType::Decimal128(_, _)) {
                    return Err(unsupported(
                        "the sign of such an expression is not supported",
                    ));
                }
            }
            Expr::BinaryExpr(binary) => self.binary(binary)?,
            Expr::Between(between) => {
                for side in [&between.expr, &between.low, &between.high] {
                    self.ordered(side, "BETWEEN")?;
                }
            }
            Expr::Like(like) => {
                // The engine casts it to the type of the column.
                let pattern = match &*like.pattern {
                    Expr::Cast(cast) if is_text(cast.field.data_type()) => &cast.expr,
                    _ => &like.pattern,
                };
                let plain = match &**pattern {
                    Expr::Literal(value, _) => value
                        .try_as_str()
                        .flatten()
                        .is_some_and(|text| !text.contains('\\')),
                    _ => false,
                };
                if like.case_insensitive || like.escape_char.is_some() || !plain {
                    return Err(unsupported(
                        "LIKE is supported with a constant pattern without backslash and ESCAPE; ILIKE is not",
                    ));
                }
            }
            Expr::Cast(cast) => self.cast(cast)?,
            Expr::ScalarFunction(function) => self.function(function.name(), expr)?,
            Expr::AggregateFunction(function) => self.aggregate(function)?,
            Expr::WindowFunction(function) => self.window(function)?,
            Expr::InSubquery(subquery)
                if !subquery.negated && subquery.subquery.outer_ref_columns.is_empty() => {}
            Expr::InSubquery(_)
            | Expr::Exists(_)
            | Expr::ScalarSubquery(_)
            | Expr::SetComparison(_)
            | Expr::OuterReferenceColumn(_, _) => {
                return Err(unsupported(
                    "of subqueries in expressions only IN (SELECT …) is supported: use a join",
                ));
            }
            other => return Err(unsupported(format!("{other} is not supported"))),
        }
        Ok(TreeNodeRecursion::Continue)
    }

    fn function(&self, name: &str, call: &Expr) -> Result<()> {
        if !name.starts_with(PREFIX) && !matches!(name, "coalesce" | "nullif") {
            return Err(unsupported(format!("the function {name} is not supported")));
        }
        if epoch_of(call).is_some() && call.get_type(self.schema)?.is_floating() {
            return Err(unsupported(
                "extract() is double precision before PostgreSQL 14: write extract(epoch FROM …)::bigint",
            ));
        }
        self.kind(call)?;
        Ok(())
    }

    fn binary(&self, binary: &BinaryExpr) -> Result<()> {
        let BinaryExpr { left, op, right } = binary;
        match op {
            Operator::And
            | Operator::Or
            | Operator::Eq
            | Operator::NotEq
            | Operator::IsDistinctFrom
            | Operator::IsNotDistinctFrom => {
                self.kind(left)?;
                self.kind(right)?;
            }
            Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq => {
                self.ordered(left, "comparison")?;
                self.ordered(right, "comparison")?;
            }
            // Exact, and an error where there is no room.
            Operator::Plus | Operator::Minus | Operator::Multiply => {
                for side in [left, right] {
                    if !matches!(
                        self.kind(side)?,
                        DataType::Decimal128(_, _) | DataType::Null
                    ) {
                        return Err(unsupported(format!("{op} of such values is not supported")));
                    }
                }
            }
            other => {
                return Err(unsupported(format!(
                    "the operator {other} is not supported"
                )));
            }
        }
        Ok(())
    }

    fn cast(&self, cast: &Cast) -> Result<()> {
        let (from, to) = (self.kind(&cast.expr)?, cast.field.data_type());
        known(to)?;
        let digits = |kind: &DataType| match kind {
            DataType::Int16 => Some((5, 0)),
            DataType::Int32 => Some((10, 0)),
            DataType::Int64 | DataType::UInt64 => Some((20, 0)),
            DataType::Decimal128(precision, scale) => Some((*precision, *scale)),
            _ => None,
        };
        let keeps = match (digits(&from), digits(to)) {
            // A number that does not fit is an error; one that would be rounded is not cast.
            (Some((_, from)), Some((_, to))) => from <= to,
            _ => from == *to || from == DataType::Null || is_text(&from) && is_text(to),
        };
        if keeps {
            return Ok(());
        }
        Err(match &*cast.expr {
            Expr::Literal(ScalarValue::Utf8(_) | ScalarValue::Utf8View(_), _) => {
                unsupported(format!("{} in quotes is not supported here", cast.expr))
            }
            _ => unsupported(format!("the cast from {from} to {to} is not supported")),
        })
    }

    fn aggregate(&self, function: &AggregateFunction) -> Result<()> {
        let (name, params) = (function.func.name(), &function.params);
        if !params.order_by.is_empty() || params.null_treatment.is_some() {
            return Err(unsupported(format!("ORDER BY in {name} is not supported")));
        }
        match (name, params.args.as_slice(), params.distinct) {
            ("count", [_], _) => Ok(()),
            (percentiles::NAME, [argument], false) => self.ordered(argument, "a percentile"),
            ("sum", [argument], false) => match self.kind(argument)? {
                DataType::Int16 | DataType::Int32 | DataType::Int64 => Ok(()),
                DataType::Decimal128(digits, _) if digits <= averages::ADDEND => Ok(()),
                kind => Err(unsupported(format!("the sum of {kind} is not supported"))),
            },
            ("min" | "max", [argument], false) => match self.kind(argument)? {
                DataType::Boolean | DataType::Null => Err(unsupported(format!(
                    "{name} of such values is not supported"
                ))),
                _ => self.ordered(argument, name),
            },
            _ => Err(unsupported(format!(
                "the aggregate {name} is not supported in this form"
            ))),
        }
    }

    fn window(&self, function: &WindowFunction) -> Result<()> {
        let name = function.fun.name();
        let ranking = matches!(function.fun, WindowFunctionDefinition::WindowUDF(_))
            && matches!(name, "row_number" | "rank" | "dense_rank" | "ntile");
        if !ranking {
            return Err(unsupported(format!(
                "the window function {name} is not supported"
            )));
        }
        for key in &function.params.order_by {
            self.ordered(&key.expr, "ORDER BY")?;
        }
        Ok(())
    }
}
