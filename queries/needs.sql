-- title = "Needs"
-- pool = "slow"
-- interval = "10s"
-- about = "Whether the relations that panels need exist. The program writes the list; this file gives the columns."
SELECT name, pg_catalog.to_regclass(name) IS NOT NULL AS found
FROM pg_catalog.unnest(ARRAY[]::text[]) AS needed (name)
