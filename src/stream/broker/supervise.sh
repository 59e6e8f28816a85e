# Runs the command in the arguments until standard input ends, as it does when htap-top dies, however it dies.
umask 077
# What is discarded goes to htap-top's own /dev/null: the broker's user may not be able to open it.
exec 3<&0 4>&1 </dev/null >>broker.log 2>&1
"$@" 3<&- 4>&- &
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
) >&4 2>&4 &
watch=$!
wait "$broker"
ended=$?
kill "$watch" 2>&4
wait "$watch" 2>&4
exit "$ended"
