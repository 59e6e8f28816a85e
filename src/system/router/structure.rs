//! What a query is, from its syntax tree: whether it only reads, which relations and functions it names,
//! and what that looks like where no planner can be asked.

use sqlparser::ast::{
    Distinct, Expr, GroupByExpr, ObjectName, ObjectNamePart, Query, Select, SetExpr, Statement,
    TableFactor, Visit, Visitor,
};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;
use std::ops::ControlFlow;

/// What the syntax tree says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Structure {
    /// Relations, common table expressions and functions in FROM, by their parts, folded.
    pub relations: Vec<Vec<String>>,
    /// Functions, by their parts, folded.
    pub functions: Vec<Vec<String>>,
    /// Why it does not only read.
    pub harm: Option<Harm>,
    /// It sorts, groups or joins, or takes a whole relation.
    pub heavy: bool,
    /// A column is compared with a constant for equality.
    pub pointed: bool,
}

/// Why a query does not only read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harm {
    /// INSERT, UPDATE, DELETE or MERGE inside.
    Modifies,
    /// FOR UPDATE, FOR SHARE and their kin.
    Locks,
    /// SELECT INTO makes a table.
    MakesTable,
}

/// The most tokens of a statement that is parsed; longer ones go to the primary.
pub const TOKENS: usize = 20_000;
/// Up to so many tokens no tree is deep enough for an ordinary stack to overflow.
const SHALLOW: usize = 200;
/// Stack for each token of a long statement, in bytes: a chain of operators makes a tree as deep as it
/// is long.
const STACK: usize = 16 * 1024;

/// Parses one query in canonical form, of this many tokens.
pub fn structure(canonical: &str, tokens: usize) -> Result<Structure, String> {
    if tokens <= SHALLOW {
        return parse(canonical);
    }
    if tokens > TOKENS {
        return Err(format!("it has more than {TOKENS} words"));
    }
    std::thread::scope(|scope| {
        let deep = std::thread::Builder::new()
            .stack_size(STACK * tokens)
            .spawn_scoped(scope, || parse(canonical))
            .map_err(|error| error.to_string())?;
        deep.join()
            .unwrap_or_else(|_| Err("its parser failed".into()))
    })
}

fn parse(canonical: &str) -> Result<Structure, String> {
    let statements =
        Parser::parse_sql(&PostgreSqlDialect {}, canonical).map_err(|error| error.to_string())?;
    let [Statement::Query(query)] = statements.as_slice() else {
        return Err("it is no query".into());
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
            SetExpr::Table(table) => {
                let parts = [&table.schema_name, &table.table_name];
                let name = parts.into_iter().flatten().cloned().collect();
                self.found.relations.push(name);
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

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        self.found.relations.push(parts(relation));
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

/// The parts of a name; the canonical text has unquoted ones folded already.
fn parts(name: &ObjectName) -> Vec<String> {
    let part = |part: &ObjectNamePart| match part {
        ObjectNamePart::Identifier(ident) => ident.value.clone(),
        ObjectNamePart::Function(function) => function.name.value.clone(),
    };
    name.0.iter().map(part).collect()
}
