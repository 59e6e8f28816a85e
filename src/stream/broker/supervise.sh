# Runs the command in the arguments until standard input ends, as it does when htap-top dies, however it dies.
umask 077
exec 3<&0 </dev/null >>broker.log 2>&1
"$@" 3<&- &
broker=$!
(
    read -r _ <&3
    kill -TERM "$broker"
    waited=0
    while kill -0 "$broker" && [ "$waited" -lt 100 ]; do
        sleep 0.1
        waited=$((waited + 1))
    done
    kill -KILL "$broker"
) >/dev/null 2>&1 &
watch=$!
wait "$broker"
ended=$?
kill "$watch" 2>/dev/null
wait "$watch" 2>/dev/null
exit "$ended"
