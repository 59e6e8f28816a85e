"""Answers the questions of questions.sql over column files with DuckDB or Spark, and compares the answers with PostgreSQL's.

Only hours count that have not changed since their files were written, in one snapshot of PostgreSQL, which also answers.
Started by compare.sh: see docs/columnar.md.
"""

import argparse
import csv
import hashlib
import io
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

HERE = Path(__file__).resolve().parent
HOUR = timedelta(hours=1)
END = "-- end of an answer --"

FILES = """
SELECT s.store_id, s.folder, f.file_id, extract(epoch FROM f.from_hour)::bigint AS from_hour,
       extract(epoch FROM f.to_hour)::bigint AS to_hour, encode(f.sha256, 'hex') AS sha256
FROM htap.column_store AS s CROSS JOIN htap.column_file AS f WHERE f.relation = 'mart.fact_sales' ORDER BY f.file_id
"""
CHANGED = "SELECT DISTINCT extract(epoch FROM d.hour)::bigint AS hour FROM htap.column_dirty AS d \
WHERE d.relation = 'mart.fact_sales' AND (d.hour IS NULL OR isfinite(d.hour))"


def fail(why):
    print(f"compare.py: {why}", file=sys.stderr)
    sys.exit(1)


class Postgres:
    """A snapshot, held by psql."""

    def __init__(self, conninfo):
        command = ["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", conninfo]
        self.psql = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.send(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL search_path = pg_catalog;"
            "SET LOCAL timezone = 'UTC'; SET LOCAL datestyle = 'ISO';"
        )

    def send(self, text):
        try:
            self.psql.stdin.write(text + "\n")
            self.psql.stdin.flush()
        except BrokenPipeError:
            fail("psql ended: its message is above")

    def ask(self, sql):
        """Returns the names and the rows of an answer."""
        copy = " ".join(f"COPY ({sql}) TO STDOUT (FORMAT csv, HEADER)".split())
        self.send(f"{copy};\n\\echo '{END}'")
        lines = []
        for line in self.psql.stdout:
            if line.rstrip("\n") == END:
                rows = list(csv.reader(lines))
                return rows[0], rows[1:]
            lines.append(line)
        fail("psql ended: its message is above")


def at(seconds):
    return datetime.fromtimestamp(seconds, timezone.utc)


def literal(moment):
    return moment.strftime("%Y-%m-%d %H:%M:%S+00:00")


def ranges(hours):
    """Joins hours that follow each other."""
    joined = []
    for hour in sorted(hours):
        if joined and joined[-1][1] == hour:
            joined[-1][1] = hour + 3600
        else:
            joined.append([hour, hour + 3600])
    return joined


def within(hours):
    if not hours:
        return "1 = 0"
    one = "sale_time >= timestamp '{}' AND sale_time < timestamp '{}'"
    return " OR ".join(one.format(literal(at(first)), literal(at(end))) for first, end in ranges(hours))


class Store:
    """The files, and the hours that each of them answers for."""

    def __init__(self, postgres, folder):
        names, rows = postgres.ask(FILES)
        files = [dict(zip(names, row)) for row in rows]
        if not files:
            fail("there are no column files: run htap-top columnar sync")
        changed = {row[0] for row in postgres.ask(CHANGED)[1]}
        if "" in changed:
            fail("all hours have changed: run htap-top columnar sync")
        answers = {}
        for file in files:
            for hour in range(int(file["from_hour"]), int(file["to_hour"]), 3600):
                answers[hour] = file["file_id"]
        clean = {hour: file for hour, file in answers.items() if str(hour) not in changed}
        if not clean:
            fail("all hours of the files have changed: run htap-top columnar sync")
        self.hours = set(clean)
        self.end = at(max(self.hours)) + HOUR
        self.pieces = []
        for file in files:
            held = {hour for hour, of in clean.items() if of == file["file_id"]}
            if not held:
                continue
            place = folder or file["folder"]
            if "://" in place:
                fail(f"the column files lie in {place}: copy them to a folder, such as with aws s3 sync, and name it with --folder")
            path = Path(place) / f"fact_sales-{file['store_id']}-{file['file_id']}.parquet"
            self.verify(path, file["sha256"])
            span = range(int(file["from_hour"]), int(file["to_hour"]), 3600)
            self.pieces.append((str(path), None if held == set(span) else within(held)))
        self.rows_where = within(self.hours)

    @staticmethod
    def verify(path, sha256):
        try:
            found = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            fail(f"{path} cannot be read ({error.strerror}): name the folder with --folder, and run as the user of the sync")
        if found != sha256:
            fail(f"{path} has another content than was written: run htap-top columnar sync")

    def whole(self):
        return [path for path, where in self.pieces if where is None]

    def parts(self):
        return [(path, where) for path, where in self.pieces if where is not None]


def questions(end):
    first = end.replace(hour=0) - timedelta(days=179)
    moments = {"end": end, "first": first}
    for name, days in (("day", 1), ("week", 7), ("month", 30), ("past", 150)):
        moments[name] = end - timedelta(days=days)
    text = (HERE / "questions.sql").read_text()
    for name, moment in moments.items():
        text = text.replace("{" + name + "}", literal(moment))
    for part in text.split("\n\n"):
        heading, _, sql = part.partition("\n")
        if sql and (found := re.fullmatch(r"-- (\w+): .*", heading)):
            yield found[1], sql.strip()


class DuckDb:
    def __init__(self, store, threads):
        import duckdb

        self.version = f"DuckDB {duckdb.__version__}"
        self.connection = duckdb.connect()
        self.connection.execute("SET TimeZone = 'UTC'")
        self.connection.execute(f"SET threads = {threads}")
        quoted = lambda path: "'" + path.replace("'", "''") + "'"
        scans = [f"SELECT * FROM read_parquet({quoted(path)}) WHERE {where}" for path, where in store.parts()]
        if store.whole():
            scans.append(f"SELECT * FROM read_parquet([{', '.join(map(quoted, store.whole()))}])")
        scans = [scan.replace("timestamp '", "timestamptz '") for scan in scans]
        self.connection.execute("CREATE VIEW fact_sales AS " + " UNION ALL ".join(scans))

    def ask(self, sql):
        cursor = self.connection.execute(sql)
        return [column[0] for column in cursor.description], cursor.fetchall()

    def close(self):
        self.connection.close()


class Spark:
    """A standalone cluster on the loopback address: a master and two workers, which know a secret."""

    def __init__(self, store, threads):
        import pyspark
        from pyspark.sql import SparkSession

        self.version = f"Spark {pyspark.__version__}"
        self.folder = tempfile.mkdtemp(prefix="htap-top-spark-")
        self.processes = []
        conf = Path(self.folder) / "spark-defaults.conf"
        conf.touch(mode=0o600)
        conf.write_text(
            f"spark.authenticate true\nspark.authenticate.secret {secrets.token_hex(32)}\n"
            f"spark.local.dir {self.folder}\nspark.ui.enabled false\nspark.sql.session.timeZone UTC\n"
            "spark.ui.showConsoleProgress false\nspark.sql.shuffle.partitions 4\nspark.driver.host 127.0.0.1\nspark.driver.bindAddress 127.0.0.1\n"
            "spark.executor.memory 768m\nspark.driver.memory 768m\n"
        )
        self.home = Path(pyspark.__file__).parent
        os.environ.update(
            SPARK_CONF_DIR=self.folder, SPARK_LOCAL_IP="127.0.0.1", SPARK_HOME=str(self.home), PYSPARK_PYTHON=sys.executable
        )
        master = self.start("master.Master", ["--host", "127.0.0.1", "--port", "0", "--webui-port", "0"], r"Starting Spark master at (\S+)")
        for number in range(2):
            work = str(Path(self.folder) / f"work-{number}")
            options = ["--host", "127.0.0.1", "--webui-port", "0", "--cores", "1", "--memory", "1g", "--work-dir", work, master]
            self.start("worker.Worker", options, r"Successfully registered with master")
        self.session = SparkSession.builder.master(master).appName("htap-top").getOrCreate()
        self.session.sparkContext.setLogLevel("ERROR")
        frames = [self.session.read.parquet(path).where(where) for path, where in store.parts()]
        if store.whole():
            frames.append(self.session.read.parquet(*store.whole()))
        sales = frames[0]
        for frame in frames[1:]:
            sales = sales.unionAll(frame)
        sales.createOrReplaceTempView("fact_sales")

    def start(self, name, options, sign):
        log = Path(self.folder) / f"{name}-{len(self.processes)}.log"
        with log.open("w") as out:
            command = [str(self.home / "bin" / "spark-class"), f"org.apache.spark.deploy.{name}", *options]
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        self.processes.append(process)
        for _ in range(600):
            if found := re.search(sign, log.read_text()):
                return found[1] if found.groups() else None
            if process.poll() is not None:
                break
            time.sleep(0.1)
        last = "\n".join(log.read_text().splitlines()[-5:])
        self.close()
        fail(f"Spark's {name} did not start:\n{last}")

    def ask(self, sql):
        frame = self.session.sql(sql)
        return frame.columns, [tuple(row) for row in frame.collect()]

    def close(self):
        if session := getattr(self, "session", None):
            session.stop()
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


def text(value):
    if value is None:
        return ""
    if isinstance(value, datetime):
        if value.tzinfo:
            value = value.astimezone(timezone.utc)
        return value.strftime("%Y-%m-%d %H:%M:%S") + (f".{value.microsecond:06}".rstrip("0") if value.microsecond else "") + "+00"
    return str(value)


def shortened(cell):
    """A number without zeros at its end: engines write different numbers of them."""
    return cell.rstrip("0").rstrip(".") if re.fullmatch(r"-?\d+\.\d+", cell) else cell


def same(name, right, found):
    if right == found:
        return True
    if not name.startswith("avg_"):
        return False
    try:
        return abs(float(right) - float(found)) <= 1e-6 * max(1.0, abs(float(right)))
    except ValueError:
        return False


def difference(right, found):
    """How two answers differ, apart from the order of their rows."""
    names, rows = right
    mine = sorted([shortened(cell) for cell in row] for row in rows)
    others = sorted([shortened(text(cell)) for cell in row] for row in found[1])
    if len(mine) != len(others):
        return f"{len(others)} rows instead of {len(mine)}"
    for one, other in zip(mine, others):
        if len(one) != len(other) or not all(map(same, names, one, other)):
            return f"{other} instead of {one}"
    return None


def main():
    parser = argparse.ArgumentParser(prog="compare.sh", description="Compare answers over column files with PostgreSQL's.")
    parser.add_argument("-d", "--dbname", default="", help="database, conninfo string or URI, as of psql")
    parser.add_argument("--folder", help="folder of the column files; default: that of the last sync")
    parser.add_argument("--engine", choices=["duckdb", "spark", "both"], default="both")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads of DuckDB")
    options = parser.parse_args()
    postgres = Postgres(options.dbname)
    store = Store(postgres, options.folder)
    asked = list(questions(store.end))
    print(f"{len(store.pieces)} files, {len(store.hours)} hours until {literal(store.end)}")
    right = {}
    rows = f"(SELECT * FROM mart.fact_sales WHERE {store.rows_where}) AS fact_sales".replace("timestamp '", "timestamptz '")
    for name, sql in asked:
        begun = time.perf_counter()
        right[name] = postgres.ask(re.sub(r"\bfact_sales\b", lambda _: rows, sql))
        print(f"PostgreSQL: {name}: {len(right[name][1])} rows, {(time.perf_counter() - begun) * 1000:.0f} ms", flush=True)
    wrong = 0
    engines = {"duckdb": [DuckDb], "spark": [Spark], "both": [DuckDb, Spark]}[options.engine]
    for kind in engines:
        try:
            engine = kind(store, options.threads)
        except ImportError as error:
            fail(f"{error}: run compare.sh --fetch")
        try:
            for name, sql in asked:
                begun = time.perf_counter()
                found = engine.ask(sql)
                took = (time.perf_counter() - begun) * 1000
                unequal = difference(right[name], found)
                wrong += unequal is not None
                print(f"{engine.version}: {name}: {f'DIFFERS: {unequal}' if unequal else 'equal'}, {took:.0f} ms", flush=True)
        finally:
            engine.close()
    print(f"{len(asked)} questions, {wrong} answers differ")
    sys.exit(1 if wrong else 0)


main()
