//! The names of an answer's columns, as PostgreSQL gives them.

use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::sqlparser::ast::{Expr, SelectItem, SetExpr, Statement};

/// Returns the names of the columns of a statement's answer.
pub(super) fn of(statement: &Statement, plan: &LogicalPlan) -> Vec<String> {
    let planned: Vec<String> = plan
        .schema()
        .fields()
        .iter()
        .map(|field| field.name().clone())
        .collect();
    let Statement::Query(query) = statement else {
        return planned;
    };
    let mut body = &*query.body;
    let select = loop {
        match body {
            SetExpr::Select(select) => break select,
            SetExpr::Query(query) => body = &query.body,
            SetExpr::SetOperation { left, .. } => body = left,
            _ => return planned,
        }
    };
    let names: Option<Vec<String>> = select.projection.iter().map(item).collect();
    names
        .filter(|names| names.len() == planned.len())
        .unwrap_or(planned)
}

fn item(item: &SelectItem) -> Option<String> {
    match item {
        SelectItem::ExprWithAlias { alias, .. } => Some(folded(alias)),
        SelectItem::UnnamedExpr(expr) => {
            Some(figured(expr).unwrap_or_else(|| "?column?".to_owned()))
        }
        _ => None,
    }
}

fn folded(name: &datafusion::sql::sqlparser::ast::Ident) -> String {
    match name.quote_style {
        Some(_) => name.value.clone(),
        None => name.value.to_lowercase(),
    }
}

/// PostgreSQL's FigureColname().
fn figured(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Identifier(name) => Some(folded(name)),
        Expr::CompoundIdentifier(names) => names.last().map(folded),
        Expr::Function(function) => {
            let name = function.name.0.last()?.as_ident()?;
            Some(folded(name))
        }
        Expr::Nested(inner) => figured(inner),
        Expr::Cast {
            expr, data_type, ..
        } => figured(expr).or_else(|| Some(data_type.to_string().to_lowercase())),
        Expr::TypedString(typed) => Some(typed.data_type.to_string().to_lowercase()),
        Expr::Case { else_result, .. } => else_result
            .as_deref()
            .and_then(figured)
            .or_else(|| Some("case".to_owned())),
        Expr::Exists { .. } => Some("exists".to_owned()),
        _ => None,
    }
}
