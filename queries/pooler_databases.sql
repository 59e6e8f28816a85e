-- title = "Databases of the pooler"
-- pool = "pooler"
-- interval = "10s"
-- internal = true
-- sampling = { background = "30s" }
-- key = ["name"]
-- about = """
-- The databases that PgBouncer serves, their names on the server, and the size of their pools.
-- """

SHOW DATABASES
