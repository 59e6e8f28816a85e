//! Checks that planning another role's statement calls nothing of an untrusted owner.

use super::ExplainError;
use crate::pg::{Client, Param};
use crate::router::names::Names;
use crate::sql::lex::Token;

const STRANGERS: &str = include_str!("../../queries/router/strangers.sql");

/// Refuses a statement whose planning may call something that belongs to a role without our privileges. `schemas` are
/// those of the search path under which it is planned.
pub(super) async fn allowed(
    client: &Client,
    tokens: &[Token],
    schemas: &str,
) -> Result<(), ExplainError> {
    let mut names = Names::default();
    names.add(tokens);
    let runs = |what: &str| {
        Err(ExplainError::Refused(format!(
            "its author lacks our rights, and planning it may call {what} with them: connect as its author's \
             role, or let the author plan it"
        )))
    };
    let (schemas_of_relations, relations): (Vec<String>, Vec<String>) =
        names.relations.iter().cloned().unzip();
    let calls = names.calls.iter();
    let (schemas_of_calls, calls): (Vec<String>, Vec<String>) = calls
        .map(|call| (call.schema.clone(), call.name.clone()))
        .unzip();
    let operators: Vec<String> = names.all_operators();
    let params = [
        Param::Texts(&schemas_of_relations),
        Param::Texts(&relations),
        Param::Texts(&schemas_of_calls),
        Param::Texts(&calls),
        Param::Texts(&operators),
        Param::Text(schemas),
    ];
    let found = client.query(STRANGERS, &params).await?;
    match found.first("what").text() {
        Some(what) => runs(what),
        None => Ok(()),
    }
}
