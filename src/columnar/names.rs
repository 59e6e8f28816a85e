//! The names of an answer's columns, as PostgreSQL gives them.

use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::sqlparser::ast::{Expr, SelectItem, SetExpr, Statement};

/// Returns the names of the columns of a statement's answer, as PostgreSQL before 14 or later gives them.
pub(super) fn of(statement: &Statement, plan: &LogicalPlan, before_14: bool) -> Vec<String> {
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
    let extract = if before_14 { "date_part" } else { "extract" };
    let items = select.projection.iter();
    let names: Option<Vec<String>> = items.map(|one| item(one, extract)).collect();
    names
        .filter(|names| names.len() == planned.len())
        .unwrap_or(planned)
}

fn item(item: &SelectItem, extract: &str) -> Option<String> {
    match item {
        SelectItem::ExprWithAlias { alias, .. } => Some(folded(alias)),
        SelectItem::UnnamedExpr(expr) => {
            Some(figured(expr, extract).unwrap_or_else(|| "?column?".to_owned()))
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

/// PostgreSQL's FigureColname(), with its name for extract().
fn figured(expr: &Expr, extract: &str) -> Option<String> {
    match expr {
        Expr::Identifier(name) => Some(folded(name)),
        Expr::CompoundIdentifier(names) => names.last().map(folded),
        Expr::Function(function) => {
            let name = function.name.0.last()?.as_ident()?;
            Some(folded(name))
        }
        Expr::Nested(inner) => figured(inner, extract),
        Expr::Cast {
            expr, data_type, ..
        } => figured(expr, extract).or_else(|| Some(data_type.to_string().to_lowercase())),
        Expr::TypedString(typed) => Some(typed.data_type.to_string().to_lowercase()),
        Expr::Case { else_result, .. } => else_result
            .as_deref()
            .and_then(|expr| figured(expr, extract))
            .or_else(|| Some("case".to_owned())),
        Expr::Extract { .. } => Some(extract.to_owned()),
        Expr::Exists { .. } => Some("exists".to_owned()),
        _ => None,
    }
}
