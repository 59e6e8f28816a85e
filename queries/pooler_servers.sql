-- title = "Server connections of the pooler"
-- pool = "pooler"
-- interval = "1s"
-- internal = true
-- key = ["ptr"]
-- about = """
-- PgBouncer's connections to servers, each with the backend's pid and the client that uses it.
-- """

SHOW SERVERS
