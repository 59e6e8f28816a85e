//! Random statements, reads and writes, in unusual notation: no write is ever sent to a reader, and reads
//! are.

use super::rules::HIDDEN;
use super::{decide, router};
use crate::it::server::block_on;
use crate::it::system::shop;
use htap_top::pg::Client;
use htap_top::router::{Node, Router, Rule};
use htap_top::sql::lex::{Kind, lex};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

/// Objects used by writes, besides [`HIDDEN`].
const MORE: &str = "
    CREATE FUNCTION h.differs(int, int) RETURNS boolean LANGUAGE sql AS 'SELECT h.write() = $1';
    CREATE OPERATOR h.<!> (LEFTARG = int, RIGHTARG = int, FUNCTION = h.differs);
    CREATE FUNCTION h.valid(int) RETURNS boolean LANGUAGE sql AS 'SELECT h.write() = 1';
    CREATE DOMAIN h.checked AS int CHECK (h.valid(VALUE));
    INSERT INTO h.t VALUES (2, 'y'), (3, 'z')";

/// Everything that a misrouted write could have changed.
const STATE: &str = "
    SELECT concat_ws(' ',
        (SELECT count(*) FROM h.log), (SELECT string_agg(t::text, ',' ORDER BY a) FROM h.t),
        (SELECT last_value || ',' || is_called FROM h.s),
        (SELECT last_value || ',' || is_called FROM shop.users_user_id_seq),
        (SELECT count(*) FROM pg_largeobject_metadata), (SELECT count(*) FROM pg_class),
        (SELECT sum(hashtext(p::text)::bigint) FROM shop.products AS p),
        (SELECT sum(hashtext(c::text)::bigint) FROM shop.categories AS c),
        (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory')) AS state";

/// Sources of a few rows with an integer and a text column.
const SOURCES: [(&str, &str, &str); 7] = [
    ("h.t AS {}", "a", "b"),
    ("ONLY h.t AS {}", "a", "b"),
    ("h.fair AS {}", "a", "a::text"),
    ("shop.categories AS {}", "category_id::int", "category_name"),
    ("(VALUES (1, 'x'), (2, 'group by')) AS {} (n, s)", "n", "s"),
    ("generate_series(1, 3) AS {} (n)", "n", "n::text"),
    ("h.kept AS {}", "a", "t::text"),
];

/// Texts that would have a meaning outside of a literal.
const TEXTS: [&str; 9] = [
    "group by",
    "count(*)",
    "; DELETE FROM h.t; --",
    "/*",
    "--",
    "it's",
    "h.write()",
    "FOR UPDATE",
    "$$",
];

const SEPARATORS: [&str; 9] = [
    " ",
    " ",
    " ",
    "\n",
    "\t\r\n ",
    " /* h.write() */ ",
    " /* a /* sum( */ nextval('h.s') */ ",
    " -- DELETE FROM h.t\n",
    " --'\r",
];

/// Integer expressions beyond the common forms.
const READS: [&str; 18] = [
    "(SELECT count(*) FROM h.t GROUP BY GROUPING SETS ((a), ()) LIMIT 1)::int",
    "extract(day FROM now() AT TIME ZONE 'utc')::int",
    "('{\"a\": 1}'::jsonb ->> 'a')::int",
    "position('a' IN 'banana')",
    "(1 # 2 | ~ 3 & 5 << 1)",
    "(@ -5) % 3",
    "(row(1, 2) < row(2, 3))::int",
    "(SELECT l.n FROM h.t, LATERAL (SELECT a AS n) AS l LIMIT 1)",
    "(SELECT x FROM unnest(ARRAY[1, 2]) WITH ORDINALITY AS u (x, i) ORDER BY i DESC LIMIT 1)",
    "(WITH RECURSIVE r (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r WHERE i < 3) SELECT max(i) FROM r)",
    "('a' ~* 'A')::int",
    "(ARRAY[1, 2, 3])[2]",
    "1 OPERATOR(pg_catalog.+) 2",
    "(SELECT sum(a) OVER (PARTITION BY b ORDER BY a ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM h.t LIMIT 1)::int",
    "(SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY a) FROM h.t)",
    "(interval '1' day > interval '1 hour')::int",
    "(SELECT a FROM h.t TABLESAMPLE BERNOULLI (100) ORDER BY a USING < LIMIT 1)",
    "trim(BOTH ' ' FROM ' 7 ')::int",
];

/// Integer expressions that write, or that only the primary can evaluate.
const WRITES: [&str; 20] = [
    "(SELECT last_value FROM h.s)::int",
    "(SELECT a FROM h.unlogged LIMIT 1)",
    "(SELECT count(*) FROM h.guarded)::int",
    "pg_stat_get_live_tuples(1)::int",
    "\"h\".\"write\"()",
    "(SELECT f FROM h.write() WITH ORDINALITY AS w (f, i))",
    "h.write()",
    "nextval('h.s')::int",
    "h.random()",
    "(SELECT h.write())",
    "h.total(1)",
    "(1 OPERATOR(h.<!>) 2)::int",
    "(txid_current() % 9)::int",
    "length(set_config('a.b', 'c', true))",
    "pg_try_advisory_lock(1)::int",
    "lo_create(0)::int",
    "(SELECT h.charge(x) FROM h.t AS x LIMIT 1)",
    "1::h.checked",
    "(SELECT w FROM h.inner_view LIMIT 1)",
    "(SELECT count(*) FROM h.outer_view)::int",
];

/// Statements that are not reads; `{}` is a query.
const COMMANDS: [&str; 12] = [
    "INSERT INTO h.t {}",
    "UPDATE h.t SET a = (SELECT sum(n) FROM ({}) AS q (n, s))",
    "DELETE FROM h.t WHERE a IN (SELECT n FROM ({}) AS q (n, s))",
    "CREATE TABLE h.made AS {}",
    "EXPLAIN ANALYZE DELETE FROM h.t",
    "EXPLAIN (ANALYZE, COSTS OFF) INSERT INTO h.t {}",
    "COPY ({}) TO STDOUT",
    "TRUNCATE h.t",
    "{}; DELETE FROM h.t",
    "DELETE FROM h.t; {}",
    "DO 'BEGIN PERFORM h.write(); END'",
    "WITH q AS ({}) INSERT INTO h.t SELECT * FROM q",
];

struct Maker {
    rng: Xoshiro256PlusPlus,
    /// True if writes may be included.
    wild: bool,
    /// True if one was included.
    writes: bool,
    names: u32,
}

impl Maker {
    fn new(seed: u64, wild: bool) -> Self {
        Self {
            rng: Xoshiro256PlusPlus::seed_from_u64(seed),
            wild,
            writes: false,
            names: 0,
        }
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.rng.random_range(0..of.len())]
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.rng.random_range(0..100) < percent
    }

    fn name(&mut self) -> String {
        self.names += 1;
        let quoted = self.chance(20);
        let name = self.one(&["q", "Sum", "having", "x"]);
        if quoted {
            format!("\"{name} {}\"", self.names)
        } else {
            format!("{name}_{}", self.names)
        }
    }

    fn literal(&mut self) -> String {
        let text = self.one(&TEXTS);
        match self.rng.random_range(0..4) {
            0 if !text.contains('$') => format!("$${text}$$"),
            1 => format!("$q${text}$q$"),
            2 => format!("e'{}\\''", text.replace('\'', "\\'")),
            _ => format!("'{}'", text.replace('\'', "''")),
        }
    }

    /// Returns an integer expression; `columns` are available from the row.
    fn int(&mut self, columns: &[String], depth: u32) -> String {
        if self.wild && self.chance(12) {
            self.writes = true;
            return self.one(&WRITES).to_owned();
        }
        let simple = depth == 0 || self.chance(35);
        if simple {
            return if columns.is_empty() || self.chance(30) {
                self.rng.random_range(-9..99).to_string()
            } else {
                columns[self.rng.random_range(0..columns.len())].clone()
            };
        }
        let d = depth - 1;
        match self.rng.random_range(0..11) {
            8 | 9 => self.one(&READS).to_owned(),
            0 => format!("({} + {})", self.int(columns, d), self.int(columns, d)),
            1 => format!(
                "coalesce({}, {})",
                self.int(columns, d),
                self.int(columns, d)
            ),
            2 => format!("h.pure({})", self.int(columns, d)),
            3 => format!(
                "CASE WHEN {} THEN {} ELSE {} END",
                self.bool(columns, d),
                self.int(columns, d),
                self.int(columns, d)
            ),
            4 => format!("(SELECT max(n) FROM ({}) AS q (n, s))", self.query(d)),
            5 => format!("length({})", self.text(columns, d)),
            6 => format!(
                "(ARRAY[{}, {}])[1]",
                self.int(columns, d),
                self.int(columns, d)
            ),
            7 => format!("(random() * {})::int", self.int(columns, d)),
            _ => format!("- {}", self.int(columns, d)),
        }
    }

    fn text(&mut self, columns: &[String], depth: u32) -> String {
        if depth == 0 || self.chance(50) {
            return self.literal();
        }
        let d = depth - 1;
        match self.rng.random_range(0..4) {
            0 => format!("({} || {})", self.text(columns, d), self.text(columns, d)),
            1 => format!("upper({})", self.text(columns, d)),
            2 => format!("CAST({} AS text)", self.int(columns, d)),
            _ => format!("substring({} FROM 1 FOR 2)", self.text(columns, d)),
        }
    }

    fn bool(&mut self, columns: &[String], depth: u32) -> String {
        let d = depth.saturating_sub(1);
        match self.rng.random_range(0..7) {
            0 if depth > 0 => format!("NOT ({})", self.bool(columns, d)),
            1 if depth > 0 => format!("({} OR {})", self.bool(columns, d), self.bool(columns, d)),
            2 if depth > 0 => format!("EXISTS ({})", self.query(d)),
            3 if depth > 0 => format!(
                "{} IN (SELECT n FROM ({}) AS q (n, s))",
                self.int(columns, d),
                self.query(d)
            ),
            4 => format!("{} LIKE {}", self.text(columns, d), self.text(columns, d)),
            5 => format!(
                "{} BETWEEN 1 AND {}",
                self.int(columns, d),
                self.int(columns, d)
            ),
            _ => format!("{} = {}", self.int(columns, d), self.int(columns, d)),
        }
    }

    /// Returns a source of rows, and its integer columns.
    fn source(&mut self, depth: u32) -> (String, Vec<String>) {
        let name = self.name();
        if depth > 0 && self.chance(30) {
            let lateral = if self.chance(30) { "LATERAL " } else { "" };
            return (
                format!("{lateral}({}) AS {name} (n, s)", self.query(depth - 1)),
                vec![format!("{name}.n")],
            );
        }
        let (rows, int, _) = self.one(&SOURCES);
        (rows.replace("{}", &name), vec![format!("{name}.{int}")])
    }

    /// Returns a query with two columns: n, an integer, and s, a text.
    fn query(&mut self, depth: u32) -> String {
        if depth > 0 && self.chance(15) {
            let operator = self.one(&["UNION", "UNION ALL", "EXCEPT", "INTERSECT ALL"]);
            return format!(
                "({}) {operator} ({})",
                self.query(depth - 1),
                self.query(depth - 1)
            );
        }
        if self.chance(8) {
            return format!(
                "VALUES ({}, {})",
                self.int(&[], depth),
                self.text(&[], depth)
            );
        }
        let (with, mut from, mut columns);
        if depth > 0 && self.chance(25) {
            let name = self.name();
            let kept = self.one(&["", "MATERIALIZED ", "NOT MATERIALIZED "]);
            with = format!("WITH {name} (n, s) AS {kept}({}) ", self.query(depth - 1));
            from = format!("{name} AS w");
            columns = vec!["w.n".to_owned()];
        } else {
            with = String::new();
            (from, columns) = self.source(depth);
        }
        if depth > 0 && self.chance(35) {
            let (other, more) = self.source(depth - 1);
            columns.extend(more);
            let on = self.bool(&columns, depth - 1);
            let join = self.one(&["JOIN", "LEFT JOIN"]);
            from = format!("{from} {join} {other} ON {on}");
        }
        let filter = if self.chance(50) {
            format!(" WHERE {}", self.bool(&columns, depth))
        } else {
            String::new()
        };
        let d = depth.saturating_sub(1);
        let (int, text) = (self.int(&columns, d), self.text(&columns, d));
        let body = match self.rng.random_range(0..5) {
            0 => format!("SELECT DISTINCT {int} AS n, {text} AS s FROM {from}{filter}"),
            1 => format!(
                "SELECT (sum({int}) FILTER (WHERE true))::int AS n, max({text}) AS s FROM {from}{filter}"
            ),
            2 => format!(
                "SELECT (count(*) OVER (ORDER BY {int}))::int AS n, {text} AS s FROM {from}{filter}"
            ),
            3 => format!(
                "SELECT max({int})::int AS n, {text} AS s FROM {from}{filter} GROUP BY 2 HAVING count(*) > 0"
            ),
            _ => format!("SELECT {int} AS n, {text} AS s FROM {from}{filter}"),
        };
        let tail = self.one(&[
            "",
            " ORDER BY 1",
            " LIMIT 3",
            " ORDER BY 2 DESC FETCH FIRST 2 ROWS ONLY",
        ]);
        format!("{with}{body}{tail}")
    }

    /// Returns a statement; `self.writes` tells if it may write.
    fn statement(&mut self) -> String {
        let query = self.query(3);
        let form = if self.wild {
            self.rng.random_range(0..10)
        } else {
            9
        };
        let sql = match form {
            0 => self.one(&COMMANDS).replace("{}", &query),
            1 => format!(
                "WITH d AS (DELETE FROM h.t WHERE a = 1 RETURNING a, b) SELECT * FROM d, ({query}) AS q"
            ),
            2 => {
                let lock = self.one(&["UPDATE", "NO KEY UPDATE", "SHARE", "KEY SHARE"]);
                format!(
                    "SELECT a FROM h.t WHERE a IN (SELECT n FROM ({query}) AS q (n, s)) FOR {lock}"
                )
            }
            3 => format!("SELECT a INTO h.made FROM h.t WHERE EXISTS ({query})"),
            _ => {
                let explain = if self.chance(10) {
                    "EXPLAIN (ANALYZE) "
                } else {
                    ""
                };
                format!("{explain}{query}")
            }
        };
        self.writes |= form < 4;
        self.dress(&sql)
    }

    /// Returns the same statement with other white space, comments and capitals.
    fn dress(&mut self, sql: &str) -> String {
        let mut text = String::new();
        for token in lex(sql).unwrap_or_else(|why| panic!("{why}: {sql}")) {
            let plain = sql.get(token.start..token.end).unwrap();
            match (token.kind, self.rng.random_range(0..3)) {
                (Kind::Word, 0) => text.push_str(&plain.to_uppercase()),
                (Kind::Word, 1) => text.push_str(&plain.to_lowercase()),
                _ => text.push_str(plain),
            }
            text.push_str(self.one(&SEPARATORS));
        }
        text
    }
}

async fn state(client: &Client) -> String {
    let table = client.query(STATE, &[]).await.unwrap();
    table.first("state").text().unwrap().to_owned()
}

#[derive(Default)]
struct Tally {
    reads: u32,
    reads_on_replica: u32,
    writes: u32,
    failed: u32,
    /// Reads sent to the primary, with the reason.
    refused: Vec<String>,
}

async fn check(
    router: &Router,
    reader: &Client,
    writer: &Client,
    maker: &mut Maker,
    tally: &mut Tally,
) {
    let sql = maker.statement();
    let decision = decide(router, &sql).await;
    // In another notation it is the same statement, and already known.
    let again = decide(router, &maker.dress(&sql)).await;
    assert_eq!(
        (decision.node, decision.rule),
        (again.node, again.rule),
        "{sql}"
    );
    if maker.writes {
        tally.writes += 1;
        assert_eq!(decision.node, Node::Primary, "a write: {decision:?}\n{sql}");
        // It would not have run anywhere, so it proves nothing.
        tally.failed += u32::from(decision.rule == Rule::NotPlanned);
        return;
    }
    tally.reads += 1;
    if decision.node == Node::Primary {
        tally.refused.push(format!("{}: {sql}", decision.reason));
        return;
    }
    tally.reads_on_replica += 1;
    for client in [reader, writer] {
        if let Err(error) = client.query_text(&sql, 10).await {
            assert!(error.session_survives(), "{error}: {sql}");
            assert_ne!(error.code(), "25006", "refused: {sql}");
            // Overflow, division by zero, more than one row.
            assert!(error.code().starts_with('2'), "{error}: {sql}");
        }
    }
}

#[test]
fn no_write_ever_reaches_a_reader() {
    // HTAP_TOP_STATEMENTS=20000 generates more of them.
    let count = std::env::var("HTAP_TOP_STATEMENTS")
        .ok()
        .and_then(|count| count.parse().ok());
    let count: u64 = count.unwrap_or(200);
    block_on(async {
        let database = shop().await;
        let admin = database.connect().await;
        admin.batch(HIDDEN).await.unwrap();
        admin.batch(MORE).await.unwrap();
        admin
            .batch("REFRESH MATERIALIZED VIEW h.kept")
            .await
            .unwrap();
        let router = router(&database).await;
        let reader = database.connect_as("htap_olap").await;
        reader.batch("SET lock_timeout = '5s'").await.unwrap();
        let before = state(&admin).await;
        let mut tally = Tally::default();
        for seed in 0..count {
            let mut maker = Maker::new(seed, seed % 2 == 1);
            check(&router, &reader, &admin, &mut maker, &mut tally).await;
        }
        assert_eq!(
            before,
            state(&admin).await,
            "a statement sent to a reader wrote"
        );
        let Tally {
            reads,
            reads_on_replica,
            writes,
            failed,
            refused,
        } = tally;
        assert!(u64::from(reads) > count / 2 && u64::from(writes) > count / 4);
        assert!(
            reads_on_replica * 100 >= reads * 98,
            "{reads_on_replica} of {reads}: reads are for the replica\n{}",
            refused.join("\n\n")
        );
        assert!(
            failed * 10 < writes,
            "{failed} of {writes} writes were no SQL"
        );
    });
}
