-- True if names and these operators ($1) mean PostgreSQL's own wherever the role's search path does not say otherwise: pg_catalog
-- comes first, but for temporary objects, and no other schema of the path has such an operator.
SELECT coalesce(CASE WHEN s.path[1] LIKE 'pg\_temp\_%' THEN s.path[2] ELSE s.path[1] END = 'pg_catalog', false)
       AND NOT EXISTS (
           SELECT
           FROM pg_catalog.pg_operator AS o
           JOIN pg_catalog.pg_namespace AS n ON n.oid = o.oprnamespace
           WHERE n.nspname <> 'pg_catalog' AND n.nspname = ANY (s.path) AND o.oprname = ANY ($1::text[]::name[])) AS plain
FROM (SELECT current_setting('htap_top.schemas')::name[] AS path) AS s
