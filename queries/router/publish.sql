-- Writes the state of a router, a JSON object with the columns of htap.routing. Once a hundred others are there, a new
-- one finds no room.
INSERT INTO htap.routing AS r (instance, program, routed, fallbacks, misroutes, reruns, waits, wait_ms_sum, wait_ms_p50,
                               wait_ms_p99, breaker, barred, breaker_since, opened, lag_bytes, lag_ms)
SELECT x.instance, x.program, x.routed, x.fallbacks, x.misroutes, x.reruns, x.waits, x.wait_ms_sum, x.wait_ms_p50,
       x.wait_ms_p99, x.breaker, x.barred,
       pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) pg_catalog.make_interval(secs => x.breaker_s),
       x.opened, x.lag_bytes, x.lag_ms
FROM pg_catalog.jsonb_to_record($1::pg_catalog.jsonb) AS x (
    instance pg_catalog.text, program pg_catalog.text, routed pg_catalog.jsonb, fallbacks pg_catalog.jsonb,
    misroutes pg_catalog.int8, reruns pg_catalog.int8, waits pg_catalog.int8, wait_ms_sum pg_catalog.float8,
    wait_ms_p50 pg_catalog.float8, wait_ms_p99 pg_catalog.float8, breaker pg_catalog.text, barred pg_catalog.text,
    breaker_s pg_catalog.float8, opened pg_catalog.int8, lag_bytes pg_catalog.int8, lag_ms pg_catalog.float8)
WHERE (SELECT pg_catalog.count(*) FROM htap.routing AS o WHERE o.instance OPERATOR(pg_catalog.<>) x.instance)
      OPERATOR(pg_catalog.<) 100
ON CONFLICT (instance) DO UPDATE
SET routed = excluded.routed, fallbacks = excluded.fallbacks, misroutes = excluded.misroutes, reruns = excluded.reruns,
    waits = excluded.waits, wait_ms_sum = excluded.wait_ms_sum, wait_ms_p50 = excluded.wait_ms_p50,
    wait_ms_p99 = excluded.wait_ms_p99, opened = excluded.opened, lag_bytes = excluded.lag_bytes,
    lag_ms = excluded.lag_ms, breaker = excluded.breaker, barred = excluded.barred,
    -- The same moment, as long as nothing changed.
    breaker_since = CASE WHEN r.opened OPERATOR(pg_catalog.=) excluded.opened
                              AND r.barred IS NOT DISTINCT FROM excluded.barred
                         THEN r.breaker_since ELSE excluded.breaker_since END,
    reported_at = pg_catalog.clock_timestamp()
-- A crash of the server may lose the last row: the next one comes in a second.
RETURNING pg_catalog.set_config('synchronous_commit', 'off', true) AS committed
