//! Analyses the syntax tree of a query: does it only read, and is it analytic? The latter is used if no planner can be
//! asked. Names are not taken from the tree but from the tokens ([`super::names`]): the parser takes `FROM ONLY (t)`
//! for a function.

use super::plain::plain;
use crate::sql::lex::Token;
use crate::sql::shape::{Mask, canonical};
use sqlparser::ast::{
    Distinct, Expr, GroupByExpr, ObjectName, ObjectNamePart, Query, Select, SetExpr, Statement,
    TableFactor, Visit, Visitor,
};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;
use std::ops::ControlFlow;

/// Facts from the syntax tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Structure {
    /// Names of functions, in parts, folded. Incomplete: calls in less usual notation are missing.
    pub functions: Vec<Vec<String>>,
    /// True if it reads from relations, or from something that looks like one.
    pub has_relations: bool,
    /// Reason why it does not only read.
    pub harm: Option<Harm>,
    /// True if it sorts, groups or joins, or reads a whole relation.
    pub heavy: bool,
    /// True if a column is compared with a constant for equality.
    pub pointed: bool,
}

/// Reason why a query does not only read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Harm {
    /// It contains INSERT, UPDATE, DELETE or MERGE.
    Modifies,
    /// It contains FOR UPDATE, FOR SHARE or a similar clause.
    Locks,
    /// It is SELECT INTO, which creates a table.
    MakesTable,
}

/// Maximum number of tokens in a statement that is parsed; longer ones go to the primary.
pub(crate) const TOKENS: usize = 20_000;
/// Stack for the parser's fifty levels of parentheses, in bytes: more than the threads of a runtime have.
const STACK: usize = 32 * 1024 * 1024;
/// Stack per token, in bytes: a chain of operators makes a tree as deep as it is long.
const STACK_PER_TOKEN: usize = 16 * 1024;

/// Parses one query.
pub(crate) fn structure(query: &[Token]) -> Result<Structure, String> {
    let tokens = query.len();
    if tokens > TOKENS {
        return Err(format!("it has more than {TOKENS} words"));
    }
    let canonical = canonical(&plain(query), Mask::All);
    std::thread::scope(|scope| {
        let parser = std::thread::Builder::new()
            .stack_size(STACK + STACK_PER_TOKEN * tokens)
            .spawn_scoped(scope, || parse(&canonical))
            .map_err(|error| error.to_string())?;
        parser
            .join()
            .unwrap_or_else(|_| Err("its parser failed".into()))
    })
}

fn parse(canonical: &str) -> Result<Structure, String> {
    // The parser supports two of the four row locks, and TABLE only inside a query.
    let mut text = canonical
        .replace(" for no key update", " for update")
        .replace(" for key share", " for share");
    if let Some(relation) = text.strip_prefix("table ") {
        text = format!("select * from {relation}");
    }
    let statements =
        Parser::parse_sql(&PostgreSqlDialect {}, &text).map_err(|error| error.to_string())?;
    let [Statement::Query(query)] = statements.as_slice() else {
        return Err("it is not a query".into());
    };
    let mut reader = Reader::default();
    let _ = query.visit(&mut reader);
    Ok(reader.found)
}

#[derive(Default)]
struct Reader {
    found: Structure,
    limited: bool,
}

impl Reader {
    fn heavy(&mut self, so: bool) {
        self.found.heavy |= so;
    }

    fn body(&mut self, body: &SetExpr) {
        match body {
            SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) => {
                self.found.harm = Some(Harm::Modifies);
            }
            SetExpr::Table(_) => {
                self.found.has_relations = true;
                self.heavy(true);
            }
            SetExpr::SetOperation { left, right, .. } => {
                self.heavy(true);
                self.body(left);
                self.body(right);
            }
            SetExpr::Select(_) | SetExpr::Query(_) | SetExpr::Values(_) => {}
        }
    }
}

impl Visitor for Reader {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        if !query.locks.is_empty() {
            self.found.harm = self.found.harm.or(Some(Harm::Locks));
        }
        self.limited |= query.limit_clause.is_some() || query.fetch.is_some();
        self.body(&query.body);
        ControlFlow::Continue(())
    }

    fn pre_visit_statement(&mut self, _: &Statement) -> ControlFlow<()> {
        self.found.harm = Some(Harm::Modifies);
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        if select.into.is_some() {
            self.found.harm = self.found.harm.or(Some(Harm::MakesTable));
        }
        let joined: usize = select.from.iter().map(|table| 1 + table.joins.len()).sum();
        let grouped = match &select.group_by {
            GroupByExpr::All(_) => true,
            GroupByExpr::Expressions(by, _) => !by.is_empty(),
        };
        let distinct = matches!(select.distinct, Some(Distinct::Distinct | Distinct::On(_)));
        let whole = joined > 0 && !self.limited;
        self.heavy(joined > 1 || grouped || distinct || whole);
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, _: &ObjectName) -> ControlFlow<()> {
        self.found.has_relations = true;
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        match factor {
            TableFactor::Table {
                name,
                args: Some(_),
                ..
            }
            | TableFactor::Function { name, .. } => self.found.functions.push(parts(name)),
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        match expr {
            Expr::Function(function) => {
                self.heavy(true);
                self.found.functions.push(parts(&function.name));
            }
            Expr::BinaryOp { left, op, right } => {
                let constant = |side: &Expr| matches!(side, Expr::Value(_));
                self.found.pointed |= matches!(op, sqlparser::ast::BinaryOperator::Eq)
                    && constant(left) != constant(right);
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// Returns the parts of a name; unquoted ones are already folded in the canonical text.
fn parts(name: &ObjectName) -> Vec<String> {
    let part = |part: &ObjectNamePart| match part {
        ObjectNamePart::Identifier(ident) => ident.value.clone(),
        ObjectNamePart::Function(function) => function.name.value.clone(),
    };
    name.0.iter().map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::lex::lex;

    fn of(sql: &str) -> Result<Structure, String> {
        structure(&lex(sql).unwrap())
    }

    #[test]
    fn what_the_parser_has_never_heard_of_is_left_out() {
        for sql in [
            "select sum(a) over (order by b rows between 1 preceding and current row exclude ties) from t",
            "select sum(a) over (order by b range unbounded preceding exclude current row) from t",
            "select sum(a) over (rows 1 preceding exclude no others), max(a) over (rows 1 preceding exclude group) from t",
            "with recursive r as (select 1 as a union all select a + 1 from r) search depth first by a set o select * from r",
            "with recursive r as (select 1 as a union all select a + 1 from r) search breadth first by a, b set o cycle a set c using p select * from r",
            "with recursive r (a) as (select 1 union all select a + 1 from r) cycle a, \"b\" set c to 'y' default 'n' using p select * from r",
            "select overlay('abc' placing (select 'x') from 2 for 1), overlay(a placing substring(b from 1 for 2) from 2) from t",
            "select a, count(*) from t group by distinct rollup (a, b), cube (a)",
            "select a from t group by all a, b",
            "select j.a from t join u using (a) as j join v using (a, b) as k on true",
            "select xmlelement(name a, xmlattributes(b as c, d), 'x', xmlforest(e as f, g)), xmlpi(name php, 'x') from t",
            "select U&'d\\0061t' uescape '!', U&\"d!0061t!+000061\" uescape '!' from t",
        ] {
            // A join with two conditions is invalid.
            if sql.contains("on true") {
                assert!(of(sql).is_err());
                continue;
            }
            let structure = of(sql).unwrap_or_else(|why| panic!("{sql}: {why}"));
            assert_eq!(structure.harm, None, "{sql}");
        }
        assert!(of("select j.a from t join u using (a) as j").is_ok());
        for sql in [
            "with recursive r as (delete from t returning 1) search depth first by a set o select * from r",
            "select overlay((with d as (delete from t returning 'x') select * from d) placing 'x' from 2)",
            "select xmlelement(name a, (with d as (delete from t returning 'x') select * from d))",
        ] {
            assert!(
                of(sql).is_err() || of(sql).unwrap().harm == Some(Harm::Modifies),
                "{sql}"
            );
        }
    }

    #[test]
    fn harm_is_found_wherever_it_stands() {
        for (sql, harm) in [
            (
                "with a as (delete from t returning 1) select 1",
                Harm::Modifies,
            ),
            (
                "select (with a as (update t set b = 1 returning 1) select 1)",
                Harm::Modifies,
            ),
            (
                "with a as (insert into t values (1) returning 1) table a",
                Harm::Modifies,
            ),
            ("with a as (select 1) delete from t", Harm::Modifies),
            (
                "with a as (select 1) insert into t select 1",
                Harm::Modifies,
            ),
            (
                "select * from t for no key update of t skip locked",
                Harm::Locks,
            ),
            ("select * from (select * from t for share) x", Harm::Locks),
            (
                "select 1 union select 2 from (select * from t for key share) x",
                Harm::Locks,
            ),
            ("select * into x from t", Harm::MakesTable),
            (
                "with a as (select 1) select * into temp x from a",
                Harm::MakesTable,
            ),
        ] {
            // A statement that the parser does not support goes to the primary, too.
            assert!(
                of(sql).is_err() || of(sql).unwrap().harm == Some(harm),
                "{sql}"
            );
        }
        for sql in [
            "select 'delete from t'",
            "select \"update\" from \"delete\"",
            "table t",
            "values (1)",
        ] {
            assert_eq!(of(sql).unwrap().harm, None, "{sql}");
        }
        for sql in [
            "delete from t",
            "explain select 1",
            "select 1; select 2",
            "begin",
        ] {
            assert!(of(sql).is_err(), "{sql}");
        }
    }

    #[test]
    fn the_deep_and_the_long_are_parsed_or_refused() {
        let chain = |count: usize| format!("select 1{}", " + 1".repeat(count));
        assert!(of(&chain(50)).is_ok() && of(&chain(5_000)).is_ok());
        assert!(of(&chain(50_000)).is_err());
        let nested = |count: usize| format!("select {}1{}", "(".repeat(count), ")".repeat(count));
        assert!(of(&nested(20)).is_ok() && of(&nested(95)).is_err());
        let list = format!("select 1 in ({}1)", "1, ".repeat(9_000));
        assert!(of(&list).is_ok());
        let queries = format!("{}select 1{}", "select (".repeat(40), ")".repeat(40));
        let _ = of(&queries);
        let or = format!("select 1 from t where {} a = 1", "a = 1 or ".repeat(3_000));
        assert!(of(&or).is_ok());
    }
}
