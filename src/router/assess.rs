//! Assesses a client's text independently of the session: rule, pool, effects. Results are cached by canonical text.

use super::builtin;
use super::cache::{Assessment, LENGTH, Planned, TEXT, Verdict};
use super::effect::{Effects, Step, effects, has};
use super::names::Names;
use super::objection::{self, Objection};
use super::structure::{Harm, Structure, structure};
use super::{Pool, Router, Rule, Session, columns, no_catalogue, plan};
use crate::pg::PgError;
use crate::sql::lex::{Kind, Token, lex};
use crate::sql::shape::{self, Mask, canonical, statements};
use std::sync::Arc;

impl Assessment {
    /// Builds the assessment of a statement that must run on the primary.
    fn primary(objection: Objection, effects: Vec<Effects>) -> Self {
        Self {
            rule: objection.rule,
            reads_on_replica: false,
            pool: Pool::Oltp,
            cost: None,
            culprit: objection.culprit,
            columnar: false,
            effects,
            why: objection.reason,
            why_pool: None,
        }
    }
}

/// Assesses a text that a client sends.
pub(super) async fn assess(
    router: &Router,
    session: &Session,
    sql: &str,
    types: &[&str],
) -> Arc<Assessment> {
    let key = (!session.holds() && sql.len() <= TEXT).then(|| {
        let mut key = String::with_capacity(sql.len() + 16);
        for part in types.iter().chain([&sql]) {
            key.push_str(part);
            key.push('\0');
        }
        key
    });
    if let Some(key) = &key
        && let Ok(mut cache) = router.cache.lock()
        && let Some(known) = cache.texts.get(key)
    {
        return Arc::clone(known);
    }
    let assessment = Arc::new(anew(router, session, sql, types).await);
    // A server that could not answer may answer next time.
    let lasting = !matches!(assessment.rule, Rule::NoCatalogue | Rule::NotPlanned);
    if let Some(key) = key.filter(|_| lasting)
        && let Ok(mut cache) = router.cache.lock()
    {
        cache.texts.put(key, Arc::clone(&assessment));
    }
    assessment
}

async fn anew(router: &Router, session: &Session, sql: &str, types: &[&str]) -> Assessment {
    let tokens = match lex(sql) {
        Ok(tokens) => tokens,
        Err(why) => return unreadable(why),
    };
    let statements = statements(&tokens);
    let effects = || statements.iter().map(|statement| effects(statement));
    let several = |reason: String| {
        let objection = Objection::new(Rule::SeveralStatements, reason);
        Assessment::primary(objection, effects().collect())
    };
    match statements.as_slice() {
        _ if session.holds() => {
            let objection = Objection::new(Rule::InTransaction, "the session stays where it is");
            Assessment::primary(objection, effects().collect())
        }
        [] => several("there is no statement".to_owned()),
        [statement] => one(router, sql, statement, types).await,
        more => several(format!("{} statements were sent as one text", more.len())),
    }
}

/// Assesses an unreadable text. It may still be valid, and may leave any state behind.
fn unreadable(why: &str) -> Assessment {
    let effects = Effects {
        pins: Some("whatever an unreadable statement left behind"),
        ..Effects::default()
    };
    Assessment::primary(Objection::new(Rule::Unreadable, why), vec![effects])
}

async fn one(router: &Router, sql: &str, statement: &[Token], types: &[&str]) -> Assessment {
    let effects = effects(statement);
    let (inner, only_planned) = explained(statement);
    let verb = inner.first().map_or("", |token| token.text.as_str());
    match (verb, effects.step) {
        ("select" | "values" | "table" | "with" | "(", _) => {
            let mut assessment = query(router, sql, inner, types).await;
            assessment.effects = vec![effects];
            assessment
        }
        ("insert" | "update" | "delete" | "merge", _) if only_planned => planned_only(effects),
        ("show", _) => show(inner, effects),
        (_, Some(Step::Begin(begin))) if begin.read_only && !begin.serializable => {
            read_only(effects)
        }
        (verb, step) => Assessment::primary(no_read(verb, step), vec![effects]),
    }
}

/// Explains why a statement does not only read.
fn no_read(verb: &str, step: Option<Step>) -> Objection {
    let culprit = verb.to_uppercase();
    let serializable = matches!(step, Some(Step::Begin(begin)) if begin.serializable);
    let (rule, reason) = match verb {
        "begin" | "start" if serializable => (
            Rule::TransactionControl,
            "SERIALIZABLE is not available on a replica".to_owned(),
        ),
        "begin" | "start" | "commit" | "end" | "rollback" | "abort" | "savepoint" | "release" => (
            Rule::TransactionControl,
            "a transaction that may write".to_owned(),
        ),
        "set" | "reset" | "discard" | "prepare" | "execute" | "deallocate" | "listen"
        | "unlisten" | "declare" | "fetch" | "move" | "close" | "load" => (
            Rule::SessionState,
            format!("{culprit} concerns the state of its session"),
        ),
        _ => (
            Rule::NotARead,
            format!("{culprit} is not a statement that reads"),
        ),
    };
    Objection::to(rule, culprit, reason)
}

/// Assesses EXPLAIN of a statement that writes.
fn planned_only(effects: Effects) -> Assessment {
    Assessment {
        rule: Rule::Read,
        reads_on_replica: true,
        pool: Pool::Oltp,
        cost: None,
        culprit: None,
        columnar: false,
        effects: vec![effects],
        why: "EXPLAIN without ANALYZE plans it only".to_owned(),
        why_pool: None,
    }
}

/// Returns the statement that EXPLAIN explains, and true if it is only planned; any other statement is returned itself.
fn explained(statement: &[Token]) -> (&[Token], bool) {
    let is = |position: usize, words: &[&str]| {
        let token = statement.get(position);
        token
            .is_some_and(|token| words.contains(&token.text.as_str()) && token.kind != Kind::Quoted)
    };
    if !is(0, &["explain"]) {
        return (statement, false);
    }
    let mut position = 1;
    // In EXPLAIN (SELECT …) the parentheses hold a query, not options.
    if is(1, &["("]) && !is(2, &["select", "with", "values", "table", "("]) {
        let closing = statement.iter().position(|token| token.is_sign(")"));
        position = closing.map_or(statement.len(), |closing| closing + 1);
    }
    while is(position, &["analyze", "analyse", "verbose"]) {
        position += 1;
    }
    let options = statement.get(..position).unwrap_or_default();
    // The option may also be ANALYZE off; in doubt the statement counts as executed.
    let run = options
        .iter()
        .any(|token| ["analyze", "analyse"].contains(&token.text.as_str()));
    (statement.get(position..).unwrap_or_default(), !run)
}

fn show(statement: &[Token], effects: Effects) -> Assessment {
    let setting = statement.get(1).map_or("", |token| token.text.as_str());
    let here = builtin::tells_servers_apart(setting);
    Assessment {
        rule: Rule::Show,
        reads_on_replica: !here,
        pool: Pool::Oltp,
        cost: None,
        culprit: here.then(|| setting.to_owned()),
        columnar: false,
        effects: vec![effects],
        why: if here {
            format!("{setting} tells whether this is the primary, so the primary answers")
        } else {
            "SHOW only reads".to_owned()
        },
        why_pool: None,
    }
}

fn read_only(effects: Effects) -> Assessment {
    Assessment {
        rule: Rule::ReadOnlyTransaction,
        reads_on_replica: true,
        pool: Pool::Olap,
        cost: None,
        culprit: None,
        columnar: false,
        effects: vec![effects],
        why: "nothing can be written in a READ ONLY transaction".to_owned(),
        why_pool: Some(
            "what it will read is not known yet, and a long read does less harm in the OLAP pool"
                .to_owned(),
        ),
    }
}

async fn query(router: &Router, sql: &str, tokens: &[Token], types: &[&str]) -> Assessment {
    if let Some(objection) = objection::to_settings(tokens) {
        return Assessment::primary(objection, Vec::new());
    }
    let verdict = verdict(router, tokens).await;
    let Verdict {
        objection,
        known,
        pool,
    } = verdict;
    let wanted = objection
        .as_ref()
        .is_none_or(|objection| objection.rule.only_reads());
    let mut assessment = match objection {
        Some(objection) => Assessment::primary(objection, Vec::new()),
        None => Assessment {
            rule: Rule::Read,
            reads_on_replica: true,
            pool,
            cost: None,
            culprit: None,
            columnar: false,
            effects: Vec::new(),
            why: "it only reads".to_owned(),
            why_pool: Some("the pool is guessed from its structure, without a server".to_owned()),
        },
    };
    if !wanted || router.catalogue.is_none() {
        return assessment;
    }
    let planned = match planned(router, sql, tokens, types, &known).await {
        Ok(planned) => planned,
        Err(refused) => Planned {
            objection: Some(refused),
            cost: 0.0,
            of_sales: false,
        },
    };
    match planned.objection {
        Some(objection) if assessment.reads_on_replica => {
            Assessment::primary(objection, Vec::new())
        }
        Some(_) => assessment,
        None => {
            assessment.pool = if planned.cost < router.olap_cost {
                Pool::Oltp
            } else {
                Pool::Olap
            };
            assessment.cost = Some(planned.cost);
            assessment.why_pool = Some(format!(
                "its plan costs {:.0}, OLAP begins at {:.0}",
                planned.cost, router.olap_cost
            ));
            // EXPLAIN is about PostgreSQL's plan.
            let whole = |first: &Token| {
                sql.get(..first.start)
                    .is_some_and(|before| lex(before).is_ok_and(|before| before.is_empty()))
            };
            if planned.of_sales && types.is_empty() && tokens.first().is_some_and(whole) {
                ask_columns(router, sql, &mut assessment).await;
            }
            assessment
        }
    }
}

/// Asks the column store whether it answers a dear read of its table.
async fn ask_columns(router: &Router, sql: &str, assessment: &mut Assessment) {
    let Some(store) = router.column_store() else {
        return;
    };
    let why = assessment.why_pool.take().unwrap_or_default();
    assessment.why_pool = Some(match store.answers(sql).await {
        Ok(()) => {
            assessment.columnar = true;
            format!("{why}; the column store answers it")
        }
        Err(refused) => format!("{why}; the column store does not answer it: {refused}"),
    });
}

/// Returns the verdict from a query's structure and names, looked up once per structure.
async fn verdict(router: &Router, tokens: &[Token]) -> Verdict {
    let shape = canonical(tokens, Mask::All);
    let cached = || {
        let mut cache = router.cache.lock().ok()?;
        cache.verdicts.get(&shape).cloned()
    };
    if let Some(verdict) = cached() {
        return verdict;
    }
    let _asking = router.asking.lock().await;
    if let Some(verdict) = cached() {
        return verdict;
    }
    let mut known = Names::default();
    let mut pool = Pool::Oltp;
    let objection = match structure(tokens) {
        Err(why) => Some(Objection::new(
            Rule::ParseError,
            format!("the parser does not know it: {why}"),
        )),
        Ok(structure) => {
            if structure.heavy && !structure.pointed && structure.has_relations {
                pool = Pool::Olap;
            }
            match (to_structure(&structure, tokens), &router.catalogue) {
                (Some(objection), _) => Some(objection),
                (None, None) => objection::offline(&structure),
                (None, Some(catalogue)) => {
                    let found = objection::find(catalogue, tokens, &mut known).await;
                    match found {
                        Ok(found) => found,
                        Err(error) => {
                            let objection = Some(unasked(&error));
                            let known = Arc::new(known);
                            return Verdict {
                                objection,
                                known,
                                pool,
                            };
                        }
                    }
                }
            }
        }
    };
    let verdict = Verdict {
        objection,
        known: Arc::new(known),
        pool,
    };
    if shape.len() <= LENGTH
        && let Ok(mut cache) = router.cache.lock()
    {
        cache.verdicts.put(shape, verdict.clone());
    }
    verdict
}

fn unasked(error: &PgError) -> Objection {
    Objection::new(Rule::NoCatalogue, no_catalogue(error))
}

fn to_structure(structure: &Structure, tokens: &[Token]) -> Option<Objection> {
    let (rule, reason) = match structure.harm? {
        Harm::Modifies => (Rule::DataModifyingCte, "the query also modifies rows"),
        Harm::Locks => (Rule::RowLocks, "it locks the rows that it reads"),
        Harm::MakesTable => (Rule::SelectInto, "SELECT INTO creates a table"),
    };
    let verb = ["insert", "update", "delete", "merge"];
    let verb = verb.into_iter().find(|verb| has(tokens, &[verb]));
    Some(match verb.filter(|_| rule == Rule::DataModifyingCte) {
        Some(verb) => Objection::to(rule, verb.to_uppercase(), reason),
        None => Objection::new(rule, reason),
    })
}

/// Returns the verdict from a query's plan, planned once per statement with the same range bounds.
async fn planned(
    router: &Router,
    sql: &str,
    tokens: &[Token],
    types: &[&str],
    known: &Names,
) -> Result<Planned, Objection> {
    let key = canonical(tokens, Mask::Equality);
    let cached = || {
        let mut cache = router.cache.lock().ok()?;
        cache.plans.get(&key).cloned()
    };
    if let Some(planned) = cached() {
        return Ok(planned);
    }
    let _asking = router.asking.lock().await;
    if let Some(planned) = cached() {
        return Ok(planned);
    }
    let catalogue = router
        .catalogue
        .as_ref()
        .ok_or_else(|| Objection::new(Rule::NoCatalogue, "there is no server to ask"))?;
    let (Some(first), Some(last)) = (tokens.first(), tokens.last()) else {
        return Err(Objection::new(Rule::ParseError, "there is no query"));
    };
    let text = sql.get(first.start..last.end).unwrap_or_default();
    let params =
        shape::params(tokens).map_err(|reason| Objection::new(Rule::NotPlanned, reason))?;
    let lines = catalogue.plan(text, params, types).await.map_err(|error| {
        if error.session_survives() {
            Objection::new(
                Rule::NotPlanned,
                format!("the server refuses to plan it for a reader: {error}"),
            )
        } else {
            unasked(&error)
        }
    })?;
    let plan = plan::read(&lines)
        .ok_or_else(|| Objection::new(Rule::Unreadable, "its plan cannot be read reliably"))?;
    let objection = match plan.forbidden {
        Some(step) => Some(Objection::to(
            Rule::ForbiddenPlan,
            &step,
            format!("its plan contains a step that no reader takes: {step}"),
        )),
        None => objection::find_in_plan(catalogue, &plan.names, known)
            .await
            .map_err(|error| unasked(&error))?,
    };
    let asks = router.column_store().is_some() && objection.is_none() && params == 0;
    let of_sales = asks
        && plan.cost >= router.olap_cost
        && columns::means_held(catalogue, &plan.scanned, known)
            .await
            .map_err(|error| unasked(&error))?;
    let planned = Planned {
        objection,
        cost: plan.cost,
        of_sales,
    };
    if key.len() <= LENGTH
        && let Ok(mut cache) = router.cache.lock()
    {
        cache.plans.put(key, planned.clone());
    }
    Ok(planned)
}
