-- title = "Clients of the pooler"
-- pool = "pooler"
-- interval = "1s"
-- internal = true
-- key = ["ptr"]
-- about = """
-- The clients that have a server connection at this moment; the others are not kept.
-- """

SHOW CLIENTS
