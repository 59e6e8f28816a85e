#!/usr/bin/env bash
# Answers questions.sql over column files with DuckDB and Spark, and compares with PostgreSQL: see docs/columnar.md.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

usage() {
    cat <<'END'
Answer the questions of queries/columnar/questions.sql over column files with DuckDB and with a standalone cluster of Spark
(a master and two workers on 127.0.0.1), and compare the answers with PostgreSQL's. Needs psql, Python 3.11 or later with venv
and, for Spark, Java 17 or later. Run it as the user of htap-top columnar sync. See docs/columnar.md.

Usage: queries/columnar/compare.sh [OPTIONS]

  -d CONNINFO      database, conninfo string or URI, as of psql
  --folder DIR     folder of the column files [default: that of the last sync]
  --engine NAME    duckdb, spark or both [default: both]
  --threads N      threads of DuckDB [default: one per processor]
  --fetch          only fetch DuckDB and Spark from PyPI (460 MB, once)
END
}

cache=${XDG_CACHE_HOME:-$HOME/.cache}/htap-top/columnar
if ((EUID == 0)); then cache=/var/cache/htap-top/columnar; fi

# One environment for each list of versions.
fetch() {
    if cmp -s "$here/requirements.txt" "$cache/venv/requirements.txt"; then return; fi
    echo "fetching DuckDB and Spark from PyPI (460 MB, once)" >&2
    rm -rf "$cache/venv"
    mkdir -p "$cache"
    python3 -m venv "$cache/venv"
    "$cache/venv/bin/pip" install -q --disable-pip-version-check --no-deps --require-hashes -r "$here/requirements.txt"
    cp "$here/requirements.txt" "$cache/venv/"
}

for option in "$@"; do
    case $option in
        -h | --help) usage; exit 0 ;;
        --fetch) fetch; echo "$cache/venv"; exit 0 ;;
    esac
done
fetch
exec "$cache/venv/bin/python3" "$here/compare.py" "$@"
