#!/usr/bin/env bash
# Runs the job of queries/flink/orders.sql on a local cluster of Apache Flink until it is interrupted: see docs/flink.md.
set -euo pipefail

version=2.2.1
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

usage() {
    cat <<'END'
Run queries/flink/orders.sql on a local cluster of Apache Flink: one JobManager and two TaskManagers on 127.0.0.1.
Needs Linux, Java 17 or later and, once, Maven. The table must exist: queries/flink/table.sql. See docs/flink.md.

Usage: queries/flink/run.sh [OPTIONS]

  --database URL      JDBC URL of PostgreSQL; passwords come from ~/.pgpass
                      [default: jdbc:postgresql://localhost:5432/postgres?user=htap_refresh]
  --brokers LIST      Kafka's brokers, as host:port [default: localhost:9092]
  --topic NAME        topic [default: orders]
  --data FOLDER       folder of checkpoints and logs, from which the next start goes on
                      [default: a new one, removed at the end]
  --web-port PORT     port of Flink's REST API [default: 8081]
  --rpc-port PORT     port of the JobManager [default: 6123]
  --task-managers N   number of TaskManagers; the job runs in as many parallel parts [default: 2]
  --heap MIB          heap of each TaskManager for the job, in MiB [default: 256]
  --jars FOLDER       folder of the jars [default: fetched into the cache folder]
  --fetch             only fetch the jars, and print their folder
END
}

fail() {
    printf 'run.sh: %s\n' "$*" >&2
    exit 1
}

database='jdbc:postgresql://localhost:5432/postgres?user=htap_refresh'
brokers=localhost:9092 topic=orders data='' web_port=8081 rpc_port=6123 task_managers=2 heap=256 jars='' fetch_only=''
while (($#)); do
    case $1 in
        -h | --help) usage; exit 0 ;;
        --fetch) fetch_only=1; shift; continue ;;
    esac
    (($# > 1)) || fail "$1 lacks a value, or is no option: see --help"
    case $1 in
        --database) database=$2 ;;
        --brokers) brokers=$2 ;;
        --topic) topic=$2 ;;
        --data) data=$2 ;;
        --web-port) web_port=$2 ;;
        --rpc-port) rpc_port=$2 ;;
        --task-managers) task_managers=$2 ;;
        --heap) heap=$2 ;;
        --jars) jars=$2 ;;
        *) fail "unknown option $1: see --help" ;;
    esac
    shift 2
done
for number in "$web_port" "$rpc_port" "$task_managers" "$heap"; do
    [[ $number =~ ^[1-9][0-9]{0,4}$ ]] || fail "$number is not a number from 1 to 99999"
done

# The lines of jars.txt as names and checksums of files.
sums() {
    sed -E 's/^[^:]+:([^:]+):([^ ]+) (.*)$/\3  \1-\2.jar/' "$here/jars.txt"
}

verified() {
    [[ -d $1 ]] && (cd "$1" && sums | sha256sum --check --quiet --strict) >/dev/null 2>&1
}

pom() {
    echo '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
    echo '<groupId>htap-top</groupId><artifactId>flink</artifactId><version>1</version><packaging>pom</packaging><dependencies>'
    sed -E 's#^([^:]+):([^:]+):([^ ]+) .*#<dependency><groupId>\1</groupId><artifactId>\2</artifactId><version>\3</version><exclusions><exclusion><groupId>*</groupId><artifactId>*</artifactId></exclusion></exclusions></dependency>#' "$here/jars.txt"
    echo '</dependencies></project>'
}

# Fetches the jars with Maven, from Maven Central or the mirror in ~/.m2/settings.xml, and sets `jars` to their folder.
fetch() {
    local cache=${XDG_CACHE_HOME:-$HOME/.cache}/htap-top/flink staging
    if ((EUID == 0)); then cache=/var/cache/htap-top/flink; fi
    jars=$cache/$version
    if verified "$jars"; then return; fi
    command -v mvn >/dev/null || fail "there is no Maven client (mvn) to fetch Flink with: sudo apt-get install maven"
    echo "fetching Apache Flink $version with Maven (135 MB, once)" >&2
    mkdir -p "$cache"
    staging=$(mktemp -d "$cache/.fetch-XXXXXX")
    pom >"$staging/pom.xml"
    if ! mvn -B -q -Dstyle.color=never -f "$staging/pom.xml" org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
        -DincludeScope=runtime -DoutputDirectory="$staging/jars" >"$staging/log" 2>&1; then
        grep -m 1 '^\[ERROR\]' "$staging/log" >&2 || true
        rm -rf "$staging"
        fail "Maven failed to fetch Flink"
    fi
    if ! (cd "$staging/jars" && sums | sha256sum --check --quiet --strict) >&2; then
        rm -rf "$staging"
        fail "Maven brought other files than those that this job was tested with: remove them from ~/.m2/repository, and check the mirrors in ~/.m2/settings.xml"
    fi
    chmod 755 "$cache" "$staging/jars"
    chmod 644 "$staging"/jars/*
    rm -rf "$jars"
    mv -T "$staging/jars" "$jars"
    rm -rf "$staging"
}

if [[ -n $data ]]; then data=$(realpath -m "$data"); fi
[[ ! $data =~ [^[:alnum:]/._-] ]] || fail "the name of $data has more than letters, digits and /._-: name another folder with --data"
if [[ -z $jars ]]; then fetch; fi
if [[ -n $fetch_only ]]; then
    echo "$jars"
    exit 0
fi
java=${JAVA_HOME:+$JAVA_HOME/bin/}java
found=$("$java" -version 2>&1 | sed -nE '1,3s/.* version "([0-9]+).*/\1/p') || true
((${found:-0} >= 17)) || fail "Flink needs Java 17 or later, and $java is ${found:-missing}: sudo apt-get install openjdk-17-jre-headless"

# Whoever reaches the JobManager's port may run code in Flink: that is not for root. Root keeps what it writes itself.
run_as=(setpriv --pdeathsig TERM)
if ((EUID == 0)); then run_as+=(--reuid nobody --regid "$(id -g nobody)" --clear-groups); fi

umask 077
temporary=''
if [[ -z $data ]]; then
    data=$(mktemp -d "${TMPDIR:-/tmp}/htap-top-flink-XXXXXX")
    temporary=1
fi
mkdir -p "$data" || fail "failed to make $data"
if [[ ! -O $data ]]; then fail "$data belongs to another user: name a folder of your own with --data"; fi
exec {lock}>"$data/lock"
flock --nonblock "$lock" || fail "another run.sh uses $data"
rm -rf "$data/tmp"
mkdir -p "$data/tmp" "$data/checkpoints"

# Quotes of values for SQL and for YAML.
quoted() { printf %s "${1//\'/\'\'}"; }

write_job() {
    local job
    job=$(<"$here/orders.sql")
    job=${job//'${BROKERS}'/"$(quoted "$brokers")"}
    job=${job//'${TOPIC}'/"$(quoted "$topic")"}
    job=${job//'${DATABASE}'/"$(quoted "$database")"}
    printf '%s\n' "$job" >"$data/orders.sql"
}

# A TaskManager that is started without Flink's shell scripts wants each part of its memory by name.
write_settings() {
    cat >"$data/config.yaml" <<END
jobmanager.rpc.address: 127.0.0.1
jobmanager.rpc.port: $rpc_port
jobmanager.bind-host: 127.0.0.1
rest.address: 127.0.0.1
rest.bind-address: 127.0.0.1
rest.port: $web_port
taskmanager.host: 127.0.0.1
taskmanager.bind-host: 127.0.0.1
# So each of them has its part; with more slots, the first one to register would take all.
taskmanager.numberOfTaskSlots: 1
taskmanager.cpu.cores: 1.0
taskmanager.memory.framework.heap.size: 64m
taskmanager.memory.framework.off-heap.size: 64m
taskmanager.memory.task.heap.size: ${heap}m
taskmanager.memory.task.off-heap.size: 0m
taskmanager.memory.managed.size: 0m
taskmanager.memory.network.min: 32m
taskmanager.memory.network.max: 32m
taskmanager.memory.jvm-metaspace.size: 128m
taskmanager.memory.jvm-overhead.min: 64m
taskmanager.memory.jvm-overhead.max: 64m
parallelism.default: $task_managers
execution.checkpointing.interval: 5s
execution.checkpointing.dir: 'file://$(quoted "$data")/checkpoints'
execution.checkpointing.externalized-checkpoint-retention: RETAIN_ON_CANCELLATION
restart-strategy.type: exponential-delay
restart-strategy.exponential-delay.initial-backoff: 1s
restart-strategy.exponential-delay.max-backoff: 30s
heartbeat.interval: 2s
heartbeat.timeout: 10s
classloader.check-leaked-classloader: false
io.tmp.dirs: '$(quoted "$data")/tmp'
END
    local newest
    newest=$(find "$data/checkpoints" -name _metadata -printf '%T@ %h\n' | sort -n | tail -n 1 | cut -d' ' -f2-)
    if [[ -n $newest ]]; then
        echo "goes on from $newest"
        printf "execution.state-recovery.path: 'file://%s'\nexecution.state-recovery.claim-mode: CLAIM\n" \
            "$(quoted "$newest")" >>"$data/config.yaml"
    fi
}

opens=()
for package in lang net io nio lang.reflect text time util util.concurrent util.concurrent.atomic util.concurrent.locks; do
    opens+=("--add-opens=java.base/java.$package=ALL-UNNAMED")
done
opens+=(--add-opens=java.base/sun.nio.ch=ALL-UNNAMED)
class_path=$(sums | sed "s|^[^ ]*  |$jars/|" | paste -sd:)
logging=(
    -Dorg.slf4j.simpleLogger.defaultLogLevel=warn
    -Dorg.slf4j.simpleLogger.log.org.apache.flink.runtime.executiongraph=info
    -Dorg.slf4j.simpleLogger.showDateTime=true
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSX"
)

# Starts a JVM that ends with this script, however that ends. Times of the sink are those of the JVM's zone: UTC.
declare -A pids
launch() {
    local name=$1 heap=$2 class=$3
    shift 3
    "${run_as[@]}" "$java" "-Xmx${heap}m" -XX:+UseSerialGC -XX:-UsePerfData -XX:+ExitOnOutOfMemoryError \
        -XX:MaxMetaspaceSize=256m -Duser.timezone=UTC "-Djava.io.tmpdir=$data/tmp" "${opens[@]}" "${logging[@]}" \
        -cp "$class_path" "$class" --configDir "$data" "$@" </dev/null >>"$data/$name.log" 2>&1 {lock}>&- &
    pids[$name]=$!
    echo "$!" >"$data/$name.pid"
}

job_manager() {
    launch jobmanager 320 org.apache.flink.container.entrypoint.StandaloneApplicationClusterEntryPoint \
        --job-classname org.apache.flink.table.runtime.application.SqlDriver --scriptUri "file://$data/orders.sql"
}

task_manager() {
    launch "$1" $((heap + 64)) org.apache.flink.runtime.taskexecutor.TaskManagerRunner
}

finish() {
    trap - EXIT
    trap '' TERM INT HUP
    kill -TERM "${pids[@]}" 2>/dev/null || true
    local waited=0
    while kill -0 "${pids[@]}" 2>/dev/null && ((waited++ < 100)); do sleep 0.1; done
    kill -KILL "${pids[@]}" 2>/dev/null || true
    if [[ -n $temporary ]]; then rm -rf "$data"; else rm -rf "$data/tmp" "$data"/*.pid; fi
}
trap finish EXIT
trap 'exit 0' TERM INT HUP

write_job
write_settings
if ((EUID == 0)); then
    chmod 711 "$data"
    chown nobody "$data"/{tmp,checkpoints,orders.sql,config.yaml}
    "${run_as[@]}" test -r "$data/orders.sql" || fail "the user nobody, as which Flink runs, may not enter $data: name another folder with --data"
fi
rm -f "$data"/*.log
job_manager
for ((n = 1; n <= task_managers; n++)); do task_manager "taskmanager-$n"; done
echo "Apache Flink $version starts; its REST API is at http://127.0.0.1:$web_port, checkpoints and logs are in $data"

# The last cause in the logs: that of the database, of Kafka or of a port, else any. A TaskManager that fails to write ends before it
# can tell the JobManager.
reason() {
    local causes why
    causes=$(grep -h '^Caused by: ' "$data"/taskmanager-*.log "$data/jobmanager.log") || true
    why=$(grep 'postgresql\|kafka\|java.net' <<<"$causes" | tail -n 1) || why=$(tail -n 1 <<<"$causes")
    why=${why#Caused by: }
    echo "${why:0:500} (logs: $data)"
}

# Waits for the JobManager; a TaskManager that ends is replaced.
failures=0
while :; do
    sleep 1 {lock}>&- &
    nap=$!
    # A shell says of itself that a process was killed.
    wait -n -p ended "${pids[@]}" "$nap" 2>/dev/null || true
    failed=$(grep -c 'switched from state RUNNING to RESTARTING' "$data/jobmanager.log") || true
    if ((failed > failures)); then
        echo "the job failed and goes on from its last checkpoint: $(reason)"
        failures=$failed
    fi
    if [[ $ended == "$nap" ]]; then continue; fi
    kill "$nap" 2>/dev/null || true
    for name in "${!pids[@]}"; do
        if [[ ${pids[$name]} == "$ended" ]]; then break; fi
    done
    if [[ $name == jobmanager ]]; then
        unset 'pids[jobmanager]'
        # Its logs are kept.
        temporary=''
        fail "the JobManager ended: $(reason)"
    fi
    echo "$name ended and is started again"
    sleep 1
    task_manager "$name"
done
