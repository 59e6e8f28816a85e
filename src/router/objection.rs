//! Finds reasons against running a query on a replica although it looks like a read, in the objects that it names.

use super::Rule;
use super::builtin::{self, Nature};
use super::catalogue::{Catalogue, Function, Hazards, Relation, written_by_server};
use super::effect::of_temp_schema;
use super::names::{Call, Names};
use super::structure::Structure;
use crate::pg::PgError;
use crate::sql::lex::{Kind, Token};

/// Reason why a statement must run on the primary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Objection {
    /// The rule.
    pub rule: Rule,
    /// The function, relation or word that it concerns.
    pub culprit: Option<String>,
    /// The reason, as a clause.
    pub reason: String,
}

impl Objection {
    /// Builds an objection to an object.
    pub(super) fn to(rule: Rule, culprit: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            rule,
            culprit: Some(culprit.into()),
            reason: reason.into(),
        }
    }

    /// Builds an objection to the statement as a whole.
    pub(super) fn new(rule: Rule, reason: impl Into<String>) -> Self {
        Self {
            rule,
            culprit: None,
            reason: reason.into(),
        }
    }
}

/// Objects to reading a setting by a function, as with SHOW, unless the setting is known to be harmless.
pub(super) fn to_settings(tokens: &[Token]) -> Option<Objection> {
    let calls = (0..tokens.len()).filter_map(|at| match tokens.get(at..at + 2) {
        Some([name, open]) if name.is_name() && name.text == "current_setting" => open
            .is_sign("(")
            .then(|| tokens.get(at + 2..).unwrap_or_default()),
        _ => None,
    });
    let mut unseen = calls.filter(|arguments| !is_harmless_setting(arguments));
    let setting = unseen
        .next()?
        .first()
        .map_or("", |token| token.text.as_str());
    let reason = format!("current_setting({setting}) may tell whether this is the primary");
    Some(Objection::to(
        Rule::ServerFunction,
        "current_setting()",
        reason,
    ))
}

/// Returns true if the first argument is a literal, in a client's or the server's notation, and names a setting that
/// has the same value on every server.
fn is_harmless_setting(arguments: &[Token]) -> bool {
    let [setting, rest @ ..] = arguments else {
        return false;
    };
    let rest = match rest {
        [cast, kind, rest @ ..] if cast.is_sign("::") && kind.is_name() => rest,
        _ => rest,
    };
    let ends = rest
        .first()
        .is_some_and(|token| token.is_sign(")") || token.is_sign(","));
    let name = setting
        .text
        .strip_prefix('\'')
        .and_then(|text| text.strip_suffix('\''));
    let Some(name) = name.filter(|_| ends && setting.kind == Kind::Text) else {
        return false;
    };
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.');
    name.bytes().all(plain) && !builtin::tells_servers_apart(&name.to_ascii_lowercase())
}

/// Looks up all names of a query and adds them to `known`. Returns the first objection, if there is one.
pub(super) async fn find(
    catalogue: &Catalogue,
    tokens: &[Token],
    known: &mut Names,
) -> Result<Option<Objection>, PgError> {
    if let Some(token) = tokens.iter().find(|token| of_temp_schema(token)) {
        let reason = "temporary objects exist only in the primary's session";
        return Ok(Some(Objection::to(Rule::TempTable, &token.text, reason)));
    }
    known.add(tokens);
    for relation in catalogue.relations(&known.relations).await? {
        if let Some(objection) = to_relation(&relation) {
            return Ok(Some(objection));
        }
        for text in &relation.texts {
            let Some(tokens) = written_by_server(text) else {
                let name = format!("{}.{}", relation.schema, relation.name);
                let reason = format!("the definition of {name} cannot be read reliably");
                return Ok(Some(Objection::to(Rule::Unreadable, name, reason)));
            };
            if let Some(objection) = to_settings(&tokens) {
                return Ok(Some(objection));
            }
            known.add(&tokens);
        }
    }
    if let Some(objection) = to_hazards(&*catalogue.hazards().await?, known) {
        return Ok(Some(objection));
    }
    let calls: Vec<Call> = known.calls.iter().cloned().collect();
    let functions = catalogue.functions(&calls).await?;
    Ok(to_functions(&calls, &functions))
}

/// Looks up the names of a plan; accepts those in `known`.
pub(super) async fn find_in_plan(
    catalogue: &Catalogue,
    plan: &Names,
    known: &Names,
) -> Result<Option<Objection>, PgError> {
    if let Some(objection) = to_hazards(&*catalogue.hazards().await?, plan) {
        return Ok(Some(objection));
    }
    let calls: Vec<Call> = plan.calls.difference(&known.calls).cloned().collect();
    let functions = catalogue.functions(&calls).await?;
    Ok(to_functions(&calls, &functions))
}

/// Objects, without asking a server, to functions that are not PostgreSQL's own everyday ones: they may write.
pub(super) fn offline(structure: &Structure) -> Option<Objection> {
    let everyday = |parts: &Vec<String>| match parts.as_slice() {
        [name] => builtin::is_everyday(name),
        [schema, name] => schema == "pg_catalog" && builtin::is_everyday(name),
        _ => false,
    };
    let stranger = structure.functions.iter().find(|parts| !everyday(parts))?;
    let name = format!("{}()", stranger.join("."));
    let reason = format!("without a server, {name} is assumed to be a function that writes");
    Some(Objection::to(Rule::UnknownFunction, name, reason))
}

fn to_relation(relation: &Relation) -> Option<Objection> {
    let name = format!("{}.{}", relation.schema, relation.name);
    let (rule, what) = match (relation.kind.as_str(), relation.persistence.as_str()) {
        (_, "t") => (Rule::TempTable, "is temporary: only its session has it"),
        ("f", _) => (
            Rule::ForeignTable,
            "is a foreign table: what its server does is not known",
        ),
        ("S", _) => (Rule::Sequence, "is a sequence: on a replica it runs ahead"),
        (_, "u") => (
            Rule::UnloggedTable,
            "is unlogged: a replica has no rows of it",
        ),
        ("v", _)
            if relation.schema == "pg_catalog" && !builtin::is_replicated_view(&relation.name) =>
        {
            (Rule::SystemView, "shows what its own server does")
        }
        _ => return None,
    };
    Some(Objection::to(rule, &name, format!("{name} {what}")))
}

fn to_hazards(hazards: &Hazards, names: &Names) -> Option<Objection> {
    let word = hazards
        .words
        .iter()
        .find(|word| names.words.contains(*word));
    let operator = hazards
        .operators
        .iter()
        .find(|symbol| names.has_operator(symbol));
    let culprit = hazards.anywhere.as_ref().or(word).or(operator)?;
    let reason = format!("{culprit} may call a volatile function: a cast, check or operator");
    Some(Objection::to(Rule::VolatileType, culprit, reason))
}

fn to_functions(calls: &[Call], functions: &[Function]) -> Option<Objection> {
    functions.iter().find_map(|function| {
        let call = calls.get(function.asked)?;
        let volatile = if call.column_like {
            function.column_like
        } else {
            function.volatile
        };
        let nature = if function.built_in && !call.column_like {
            builtin::nature(&call.name)
        } else {
            Nature::AsDeclared
        };
        let (rule, what) = match nature {
            Nature::AsDeclared if volatile => (Rule::VolatileFunction, "is volatile: it may write"),
            Nature::AsDeclared if function.opaque => (
                Rule::HiddenStatements,
                "is written in C, and may run statements that cannot be inspected",
            ),
            Nature::OfOneServer => (Rule::ServerFunction, "answers for one server or session"),
            Nature::Hiding => (
                Rule::HiddenStatements,
                "runs statements that cannot be inspected",
            ),
            Nature::AsDeclared | Nature::Harmless => return None,
        };
        Some(Objection::to(
            rule,
            call.to_string(),
            format!("{call} {what}"),
        ))
    })
}
