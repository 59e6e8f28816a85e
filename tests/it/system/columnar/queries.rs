//! Answers that must be PostgreSQL's, and questions that must be refused.

use super::{Store, hour};
use crate::it::server::block_on;
use htap_top::columnar::ColumnarError;
use htap_top::columnar::query::{Options, query};
use std::time::Duration;

/// What PostgreSQL answers, too.
pub const QUESTIONS: &[&str] = &[
    "SELECT * FROM fact_sales",
    "SELECT count(*) FROM mart.fact_sales",
    "SELECT * FROM user_day",
    "SELECT * FROM mart.orders",
    "SELECT status, count(*), sum(total_amount), min(created_at), max(completed_at) FROM orders GROUP BY status",
    "SELECT count(*), max(day) FROM user_day WHERE day > current_date - 30",
    "SELECT category, count(*), sum(quantity), sum(sales_amount), min(sale_time), max(sales_amount) FROM fact_sales GROUP BY category",
    "SELECT user_segment, avg(sales_amount), avg(quantity), count(DISTINCT user_id) FROM fact_sales GROUP BY user_segment",
    "SELECT date_trunc('hour', sale_time) AS hour, count(DISTINCT user_id), sum(sales_amount) FROM fact_sales GROUP BY 1",
    "SELECT date_trunc('day', sale_time), count(*) FROM fact_sales GROUP BY 1",
    "SELECT date_trunc('week', sale_time), date_trunc('month', sale_time), date_trunc('quarter', sale_time), date_trunc('year', sale_time), date_trunc('minute', sale_time), count(*) FROM fact_sales GROUP BY 1, 2, 3, 4, 5",
    "SELECT date_trunc('day', sale_time, 'UTC'), count(*) FROM fact_sales GROUP BY 1",
    "SELECT sale_time::date, sum(sales_amount) FROM fact_sales GROUP BY sale_time::date",
    "SELECT extract(epoch FROM sale_time), avg(extract(epoch FROM sale_time)), max(extract(EPOCH FROM now()) - extract(epoch FROM sale_time)) > 0 FROM fact_sales GROUP BY 1",
    "SELECT extract(epoch FROM date_trunc('hour', sale_time))::bigint, (extract(epoch FROM max(sale_time))::bigint - extract(epoch FROM min(sale_time))::bigint) / 60 AS minutes, count(*) FROM fact_sales GROUP BY 1",
    "SELECT extract(epoch FROM completed_at)::bigint, extract(epoch FROM timestamptz '1960-01-01 00:00:00.5')::bigint FROM orders",
    "SELECT count(*) FROM fact_sales WHERE sale_time >= now() - interval '30 days'",
    "SELECT count(*), sum(sales_amount) FROM fact_sales WHERE sale_time >= date_trunc('day', now()) - interval '2 months 3 days 4 hours'",
    "SELECT count(*) FROM fact_sales WHERE sale_time < 'yesterday' AND sale_time > '2001-02-03 04:05'",
    "SELECT count(*) FROM fact_sales WHERE sale_time BETWEEN current_date - interval '20 days' AND timestamptz 'today'",
    "SELECT count(*) FROM fact_sales WHERE sale_time::date > 'yesterday'::date OR quantity > 3",
    "SELECT sale_time FROM fact_sales ORDER BY sale_time DESC LIMIT 10",
    "SELECT order_id, line_no, sales_amount FROM fact_sales ORDER BY sales_amount DESC, order_id, line_no LIMIT 7 OFFSET 3",
    "SELECT category, round(sum(sales_amount) / count(*), 2) AS mean FROM fact_sales GROUP BY category HAVING count(*) > 10",
    "SELECT order_id, sum(sales_amount) / sum(quantity) AS price, round(sum(sales_amount) / 7), round(-sum(sales_amount) / 3, 3) FROM fact_sales GROUP BY order_id",
    "SELECT user_id, sum(order_id) FROM fact_sales GROUP BY user_id",
    "SELECT quantity / 2, quantity * 3 - 1, -quantity, quantity + line_no, sales_amount * 1.075, sales_amount - 0.5, sales_amount + quantity FROM fact_sales",
    "SELECT -7 / 2, 7 / -2, 1.0 / 3, 2 / 3.0, 100000000.00 / 7, 0.5, 'a', NULL, true AS yes, 12345678901234567890 - 1, 1234567890123456789.0 / 3",
    "SELECT count(*) FILTER (WHERE quantity > 1), sum(sales_amount) FILTER (WHERE category LIKE 'B%'), avg(quantity) FILTER (WHERE quantity > 2) FROM fact_sales",
    "SELECT sum(sales_amount), avg(sales_amount), max(sale_time), count(*) FROM fact_sales WHERE quantity > 1000000",
    "SELECT CASE WHEN quantity > 2 THEN 'many' WHEN quantity = 2 THEN NULL ELSE 'one' END AS how, count(*) FROM fact_sales GROUP BY 1",
    "SELECT coalesce(nullif(category, 'Books'), 'none'), count(*) FROM fact_sales GROUP BY 1",
    "SELECT DISTINCT user_segment FROM fact_sales WHERE category LIKE '%o_k%' AND user_segment NOT LIKE 'V%'",
    "SELECT user_segment FROM fact_sales UNION SELECT category FROM fact_sales",
    "SELECT quantity FROM fact_sales UNION ALL SELECT line_no FROM fact_sales",
    "SELECT a.category, count(*) FROM fact_sales AS a JOIN fact_sales AS b USING (order_id) WHERE a.line_no < b.line_no GROUP BY a.category",
    "SELECT count(*) FROM fact_sales AS a LEFT JOIN fact_sales AS b ON a.order_id = b.order_id AND b.line_no = 2 WHERE b.order_id IS NULL",
    "SELECT count(*) FROM fact_sales WHERE user_id IN (SELECT user_id FROM fact_sales GROUP BY user_id HAVING sum(sales_amount) > 500)",
    "WITH r AS (SELECT user_id, max(sale_time) AS last, count(DISTINCT order_id) AS f, sum(sales_amount) AS m FROM fact_sales GROUP BY user_id), s AS (SELECT user_id, ntile(5) OVER (ORDER BY m, user_id) AS score, row_number() OVER (ORDER BY last DESC, user_id) AS place FROM r) SELECT score, count(*), min(place), max(place) FROM s GROUP BY score",
    "WITH r AS (SELECT user_id, user_segment, max(sale_time) AS last, count(DISTINCT order_id) AS f, sum(sales_amount) AS m FROM fact_sales GROUP BY user_id, user_segment) SELECT user_segment, count(*), avg(m), avg(f), sum(m) FROM r GROUP BY user_segment",
    "SELECT sum(m), sum(t) FROM (SELECT sum(n) AS m, sum(-n) AS t FROM (SELECT sum(sales_amount * quantity) AS n FROM fact_sales GROUP BY user_id) AS x GROUP BY n) AS y",
    "SELECT user_id, rank() OVER (PARTITION BY user_segment ORDER BY n), dense_rank() OVER (ORDER BY n) FROM (SELECT user_id, user_segment, count(*) AS n FROM fact_sales GROUP BY user_id, user_segment) AS x",
    "SELECT order_id FROM fact_sales WHERE user_id = 7 AND sale_time > now() - interval '90 days'",
    "SELECT category, sum(sales_amount) FROM fact_sales WHERE category = 'it''s \\ odd' OR user_segment IN ('VIP', 'Business') GROUP BY category ORDER BY category DESC",
    "SELECT category, percentile_cont(0.5) WITHIN GROUP (ORDER BY sales_amount), percentile_cont(0.95) WITHIN GROUP (ORDER BY quantity), percentile_disc(0.9) WITHIN GROUP (ORDER BY sales_amount) AS p90, percentile_disc(0.1) WITHIN GROUP (ORDER BY sale_time), count(*) FROM fact_sales GROUP BY category",
    "SELECT percentile_cont(0.37) WITHIN GROUP (ORDER BY sales_amount) AS p, percentile_disc(0) WITHIN GROUP (ORDER BY line_no), percentile_cont(1) WITHIN GROUP (ORDER BY order_id) FROM fact_sales WHERE quantity > 1000000",
    "SELECT percentile_cont(0.333) WITHIN GROUP (ORDER BY sales_amount / quantity), percentile_disc(1) WITHIN GROUP (ORDER BY category), percentile_disc(0.25) WITHIN GROUP (ORDER BY nullif(quantity, 1)) FILTER (WHERE quantity < 4), percentile_cont(0.999) WITHIN GROUP (ORDER BY order_id) FROM fact_sales",
    "SELECT x.day, x.median FROM (SELECT sale_time::date AS day, percentile_cont(0.5) WITHIN GROUP (ORDER BY sales_amount) AS median FROM fact_sales GROUP BY 1) AS x ORDER BY x.median DESC",
    "SELECT count(*), count(nullif(quantity, 1)), sum(nullif(quantity, 1)), avg(nullif(quantity, 1)) FROM fact_sales",
    "SELECT x.q IS NULL, x.q IS DISTINCT FROM 1, NOT (x.q = 1), count(*) FROM (SELECT nullif(quantity, 1) AS q FROM fact_sales) AS x GROUP BY 1, 2, 3",
];

#[test]
fn closed_hours_changed_hours_and_open_hours_are_one_table() {
    block_on(async {
        let store = Store::new().await;
        let until = hour(&store.client, "now() - interval '9 days'").await;
        let done = store.sync(Some(until)).await.unwrap();
        assert!(
            done.written > 5 && done.rows > 1000 && done.files == done.written,
            "{done:?}"
        );
        let again = store.sync(Some(until)).await.unwrap();
        assert_eq!(
            (again.written, again.files),
            (0, done.files),
            "nothing is due"
        );
        // Corrections, deletions and late rows, as a merge would make them.
        let change = "
            UPDATE mart.fact_sales SET sales_amount = sales_amount + 0.07 WHERE order_id % 37 = 0;
            UPDATE mart.fact_sales SET sale_time = sale_time - interval '40 hours' WHERE order_id % 41 = 0;
            DELETE FROM mart.fact_sales WHERE order_id % 43 = 0;
            UPDATE mart.fact_sales SET category = E'it''s \\\\ odd' WHERE order_id % 47 = 0";
        store.client.batch(change).await.unwrap();
        let mut differences = Vec::new();
        for zone in ["UTC", "Australia/Lord_Howe"] {
            let zoned = QUESTIONS
                .iter()
                .filter(|sql| zone == "UTC" || sql.contains("sale_time"));
            for sql in zoned {
                differences.extend(store.difference(sql, zone).await);
            }
        }
        assert_eq!(differences, Vec::<String>::new());
        let synced = store.sync(Some(until)).await.unwrap();
        assert!(synced.written > 0, "the changed hours are written anew");
        for sql in QUESTIONS.iter().filter(|sql| sql.contains("sale_time")) {
            differences.extend(store.difference(sql, "Europe/Berlin").await);
        }
        assert_eq!(differences, Vec::<String>::new());
        store.sync(None).await.unwrap();
        store.holds_all_rows().await;
    });
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of statements")]
fn what_may_differ_is_refused_before_it_runs() {
    block_on(async {
        let store = Store::new().await;
        store.sync(None).await.unwrap();
        let mut wrong = Vec::new();
        for (sql, why) in [
            ("DELETE FROM fact_sales", "only answers SELECT"),
            ("COPY fact_sales TO '/tmp/x'", "only answers SELECT"),
            ("CREATE TABLE x (a int)", "only answers SELECT"),
            ("SELECT 1; SELECT 2", "single SQL statement"),
            ("SELECT * FROM shop.users", "shop.users"),
            ("SELECT * FROM fact_sales FOR UPDATE", "FOR UPDATE"),
            ("SELECT stddev(quantity) FROM fact_sales", ""),
            ("SELECT sin(quantity) FROM fact_sales", ""),
            (
                "SELECT quantity::float8 FROM fact_sales",
                "double precision",
            ),
            ("SELECT sales_amount::int FROM fact_sales", "cast"),
            (
                "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY quantity) + 1 FROM fact_sales",
                "",
            ),
            (
                "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY quantity DESC) FROM fact_sales",
                "descending",
            ),
            (
                "SELECT percentile_cont(quantity) WITHIN GROUP (ORDER BY quantity) FROM fact_sales GROUP BY quantity",
                "constant",
            ),
            ("SELECT quantity % 2 FROM fact_sales", "operator %"),
            (
                "SELECT extract(day FROM sale_time) FROM fact_sales",
                "only epoch is",
            ),
            (
                "SELECT pg_catalog.date_part('epoch', sale_time) FROM fact_sales",
                "use extract(epoch FROM",
            ),
            ("SELECT now() - sale_time FROM fact_sales", ""),
            (
                "SELECT \"date_part\"('epoch', sale_time) FROM fact_sales",
                "use extract(epoch FROM",
            ),
            ("SELECT datepart('epoch', sale_time) FROM fact_sales", ""),
            ("SELECT category || 'x' FROM fact_sales", "operator ||"),
            (
                "SELECT * FROM fact_sales WHERE category ILIKE 'b%'",
                "ILIKE",
            ),
            (
                "SELECT * FROM fact_sales WHERE category ~ 'b'",
                "operator ~",
            ),
            (
                "SELECT * FROM fact_sales WHERE category LIKE 'a\\%'",
                "backslash",
            ),
            (
                "SELECT quantity FROM fact_sales EXCEPT ALL SELECT 1",
                "EXCEPT",
            ),
            (
                "SELECT quantity FROM fact_sales INTERSECT SELECT 1",
                "INTERSECT",
            ),
            (
                "SELECT DISTINCT ON (user_id) user_id FROM fact_sales",
                "DISTINCT ON",
            ),
            (
                "SELECT date_trunc('decade', sale_time) FROM fact_sales",
                "decade",
            ),
            ("SELECT sale_time + interval '1 day' FROM fact_sales", ""),
            ("SELECT sale_time AT TIME ZONE 'UTC' FROM fact_sales", ""),
            ("SELECT extract(hour FROM sale_time) FROM fact_sales", ""),
            ("SELECT * FROM fact_sales WHERE quantity = '1'", "in quotes"),
            (
                "SELECT sum(x) FROM (SELECT avg(quantity) AS x FROM fact_sales) AS y",
                "sum",
            ),
            (
                "SELECT count(*) FROM fact_sales WHERE user_id NOT IN (SELECT user_id FROM fact_sales)",
                "subqueries",
            ),
            (
                "SELECT (SELECT max(quantity) FROM fact_sales)",
                "subqueries",
            ),
            (
                "SELECT sum(quantity) OVER (ORDER BY order_id) FROM fact_sales",
                "window function",
            ),
            (
                "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 3) SELECT * FROM r",
                "RECURSIVE",
            ),
            ("SELECT nothing FROM fact_sales", "nothing"),
            ("SELECT FROM WHERE", ""),
        ] {
            match store.asked(sql, "UTC").await {
                Err(ColumnarError::Unsupported(said)) if said.contains(why) => {}
                other => wrong.push(format!("{sql}: {other:?}")),
            }
        }
        assert_eq!(wrong, Vec::<String>::new());
        // Errors that PostgreSQL has, too.
        for (sql, why) in [
            ("SELECT quantity / 0 FROM fact_sales", "division by zero"),
            (
                "SELECT sales_amount / (quantity - quantity) FROM fact_sales",
                "division by zero",
            ),
            ("SELECT order_id * order_id FROM fact_sales", "out of range"),
            // PostgreSQL has room for these; an error is no wrong answer.
            (
                "SELECT sum(n) FROM (SELECT sales_amount * 1234567890123456789012345 AS n FROM fact_sales) AS x",
                "too large",
            ),
            (
                "SELECT * FROM fact_sales WHERE sale_time > 'soon'",
                "invalid input syntax",
            ),
        ] {
            let error = store.asked(sql, "UTC").await.unwrap_err();
            assert!(
                matches!(error, ColumnarError::Query(_)) && error.to_string().contains(why),
                "{sql}: {error:?}"
            );
        }
    });
}

#[test]
#[expect(clippy::too_many_lines, reason = "one story, told in order")]
fn explain_tells_what_is_read_and_limits_hold() {
    block_on(async {
        let store = Store::new().await;
        let until = hour(&store.client, "now() - interval '3 days'").await;
        store.sync(Some(until)).await.unwrap();
        let told = |sql: &'static str| {
            let store = &store;
            async move {
                let mut told = Vec::new();
                query(
                    &store.database.target(),
                    sql,
                    &store.options("UTC"),
                    &mut told,
                )
                .await
                .unwrap();
                String::from_utf8(told).unwrap()
            }
        };
        let number_in = |text: &str, before: &str| -> u64 {
            let after = text
                .split_once(before)
                .unwrap_or_else(|| panic!("{text}"))
                .1;
            after
                .chars()
                .take_while(char::is_ascii_digit)
                .collect::<String>()
                .parse()
                .unwrap()
        };
        let all = told("EXPLAIN ANALYZE SELECT * FROM fact_sales").await;
        let rows =
            number_in(&all, "their hours have ") + number_in(&all, "rows read from PostgreSQL: ");
        assert_eq!(rows, number_in(&all, "answer: "), "{all}");
        assert!(number_in(&all, "rows read from PostgreSQL: ") > 0, "{all}");
        assert!(number_in(&all, "column files: ") > 5, "{all}");
        let one = told("EXPLAIN ANALYZE SELECT sum(quantity) FROM fact_sales WHERE sale_time BETWEEN now() - interval '5 days' AND now() - interval '4 days'").await;
        assert!(number_in(&one, "column files: ") <= 2, "{one}");
        assert_eq!(number_in(&one, "rows read from PostgreSQL: "), 0, "{one}");
        assert!(
            number_in(&one, "bytes read from files: ") * 10
                < number_in(&all, "bytes read from files: "),
            "{one}{all}"
        );
        assert!(all.contains("temporary files: none"), "{all}");
        let planned = told(
            "EXPLAIN SELECT count(*) FROM fact_sales WHERE sale_time < now() - interval '100 days'",
        )
        .await;
        assert!(
            planned.contains("pruned") && !planned.contains("bytes read"),
            "{planned}"
        );
        // A sort that needs more than the memory goes through temporary files; a join of everything ends at the limit of time.
        let small = Options {
            memory: 3 << 20,
            ..store.options("UTC")
        };
        let mut sorted = Vec::new();
        let sort = "SELECT a.order_id, b.category, a.sale_time FROM fact_sales AS a JOIN fact_sales AS b USING (user_id) ORDER BY a.sale_time, a.order_id, b.sale_time";
        match query(&store.database.target(), sort, &small, &mut sorted).await {
            Ok(()) => assert_eq!(super::lines(&sorted), store.right(sort, "UTC").await),
            Err(error) => assert!(error.to_string().contains("--memory"), "{error}"),
        }
        let less = Options {
            memory: 12 << 20,
            threads: Some(1),
            ..store.options("UTC")
        };
        let (mut sorted, mut said) = (Vec::new(), Vec::new());
        let target = store.database.target();
        query(&target, sort, &less, &mut sorted).await.unwrap();
        assert_eq!(super::lines(&sorted), store.right(sort, "UTC").await);
        let explain = format!("EXPLAIN ANALYZE {sort}");
        query(&target, &explain, &less, &mut said).await.unwrap();
        let said = String::from_utf8(said).unwrap();
        assert!(number_in(&said, "temporary files: ") > 0, "{said}");
        let hurried = Options {
            timeout: Some(Duration::from_millis(300)),
            ..store.options("UTC")
        };
        let endless = "SELECT count(*) FROM fact_sales AS a, fact_sales AS b, fact_sales AS c WHERE a.quantity + b.quantity > c.quantity";
        let error = query(&store.database.target(), endless, &hurried, std::io::sink())
            .await
            .unwrap_err();
        assert!(matches!(error, ColumnarError::Timeout), "{error:?}");
    });
}
