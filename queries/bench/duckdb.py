"""Answers questions over column files with DuckDB for htap-top bench: a question per line of standard input, as JSON."""

import csv
import io
import json
import sys
import time
from datetime import datetime

import duckdb


def text(value):
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S+00")
    return str(value)


def answer(connection, sql):
    begun = time.perf_counter()
    cursor = connection.execute(sql)
    rows = cursor.fetchall()
    took = (time.perf_counter() - begun) * 1000
    return took, [column[0] for column in cursor.description], rows


def connect(files, threads):
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(f"SET threads = {threads}")
    names = ", ".join("'" + name.replace("'", "''") + "'" for name in files)
    connection.execute(f"CREATE VIEW fact_sales AS SELECT * FROM read_parquet([{names}])")
    return connection


print(json.dumps({"version": duckdb.__version__}), flush=True)
connection, of = None, None
for line in sys.stdin:
    asked = json.loads(line)
    # A cold question gets an engine that has read nothing.
    if asked["cold"] or of != (asked["files"], asked["threads"]):
        connection, of = connect(asked["files"], asked["threads"]), (asked["files"], asked["threads"])
    took, names, rows = answer(connection, asked["sql"])
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([[text(value) for value in row] for row in rows])
    print(json.dumps({"ms": took, "csv": out.getvalue()}), flush=True)
