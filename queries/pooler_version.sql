-- title = "Version of the pooler"
-- pool = "pooler"
-- interval = "1h"
-- internal = true
-- about = """
-- PgBouncer's version, asked anew after a reconnect.
-- """

SHOW VERSION
