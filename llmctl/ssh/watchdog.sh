# Ends this machine at its deadline, or when nobody has used it for long: from here, because the
# laptop that rented it may be asleep, offline or gone. Needs sh, date, grep, tail and one of curl,
# python3 and wget. Comments and indentation are taken out before it is sent: vast.ai allows 4096
# characters for all of a start script.
#
# Arguments: provider, instance id (or - for the one the provider's own variables name), base URL
# of its API, destroy or stop, deadline (Unix time), idle limit (s, 0 for none), log of the engine,
# seconds between two tries to end the machine.
D=${0%/*} P=$1 I=$2 U=$3 A=$4 end=$5 idle=$6 L=$7 R=$8 q=

say() { echo "$(date -u +%Y-%m-%dT%H:%M:%SZ) $*"; }
mine() { tr '\0' ' ' <"/proc/$1/cmdline" 2>/dev/null | grep -qF "$2"; }

# Who asks gets an answer out of this process's own variables, not out of a file.
answer() {
    { read -r a <"$D/ask"; } 2>/dev/null || return
    echo "armed $a $$ $end $idle $((n - seen))" >"$D/answer.$$" && mv -f "$D/answer.$$" "$D/answer.$a"
}
trap answer USR1
trap '' HUP

# One watchdog for each machine: the newest one. The others see its number and go.
{ read -r q <"$D/pid"; } 2>/dev/null
echo $$ >"$D/pid.$$" && mv -f "$D/pid.$$" "$D/pid"
[ "$q" ] && [ "$q" != $$ ] && mine "$q" "$D/watchdog.sh" && kill "$q"

# Somebody renewed the lease; the engine answered a request that needs a model (a look at its health
# does not count, its long answers are logged when they end); a GPU is at work.
used() {
    { read -r l <"$D/lease"; } 2>/dev/null && [ "$l" -gt "$seen" ] && seen=$l
    r=$(tail -c 99999 "$L" 2>/dev/null |
        grep -E 'POST +"/(api/(chat|generate|embed|embeddings|pull)"|v1/)' | tail -n 1)
    [ "$r" = "$last" ] || seen=$n
    last=$r
    for u in $(timeout 9 nvidia-smi --query-gpu=utilization.gpu --format=csv,noheader,nounits 2>/dev/null); do
        [ "$u" -gt 5 ] 2>/dev/null && seen=$n
    done
}

say "armed until $end, idle limit $idle s"
n=$(date +%s) seen=$(date +%s) t=0 last= why=
every=$((idle / 60 + 1))
[ "$every" -gt 8 ] && every=8
[ "$idle" -gt 0 ] && used
while :; do
    sleep 2 &
    wait $!
    { read -r q <"$D/pid"; } 2>/dev/null && [ "$q" != $$ ] && mine "$q" "$D/watchdog.sh" && exit
    n=$(date +%s) t=$((t + 1))
    [ "$n" -ge "$end" ] && why="its deadline has passed" && break
    [ "$idle" -gt 0 ] && [ $((t % every)) = 0 ] || continue
    used
    [ $((n - seen)) -ge "$idle" ] && why="nobody used it for $idle s" && break
done
say "$A $P $I: $why"

# The key of this instance, which ends it and nothing else, never shows in a command line.
call() {
    command -v curl >/dev/null && printf 'header="Authorization: Bearer %s"\n' "$k" |
        curl -fsSm 20 -K - -X "$1" -H 'Content-Type: application/json' -d "$3" "$U$2" && return
    command -v python3 >/dev/null && printf %s "$k" | python3 -c 'import sys
from urllib.request import*
m,u,b=sys.argv[1:]
h={"Authorization":"Bearer "+sys.stdin.read(),"Content-Type":"application/json"}
urlopen(Request(u,b.encode(),h,method=m),timeout=20)' "$1" "$U$2" "$3" && return
    printf 'header=Authorization: Bearer %s\n' "$k" >"$D/wgetrc"
    WGETRC=$D/wgetrc wget -qO- -T 20 -t 1 --method="$1" --header='Content-Type: application/json' \
        --body-data="$3" "$U$2"
}
first() { tr '\0' '\n' </proc/1/environ 2>/dev/null | sed -n "s/^$1=//p"; }
case $P in
vast)
    v=CONTAINER_ID w=CONTAINER_API_KEY
    try() {
        [ $A = stop ] && set -- PUT '{"state":"stopped"}' || set -- DELETE '{}'
        call $1 "/api/v0/instances/$I/" "$2"
    }
    ;;
runpod)
    v=RUNPOD_POD_ID w=RUNPOD_API_KEY
    try() {
        m=podTerminate f= c=delete
        if [ $A = stop ]; then
            m=podStop f='{id}' c=stop
            call POST "/v2/pods/$I/action" '{"action":"stop"}' && return
        else
            call DELETE "/v2/pods/$I" '' && return
        fi
        call POST /graphql "{\"query\":\"mutation{$m(input:{podId:\\\"$I\\\"})$f}\"}"
        command -v runpodctl >/dev/null && RUNPOD_API_KEY=$k runpodctl pod $c "$I"
    }
    ;;
*)
    # Not rented: all there is to end is the engine that llmctl started.
    { read -r q <"$D/ollama.pid"; } 2>/dev/null && mine "$q" 'ollama serve' && kill "$q"
    exit
    ;;
esac
[ "$I" = - ] && eval "I=\${$v:-\$(first $v)}"
t=0
# Until this process dies with the machine: that an API said yes proves nothing.
while :; do
    for k in "$(cat "$D/key" 2>/dev/null)" "$(eval "echo \$$w")" "$(first $w)"; do
        [ "$k" ] && try >/dev/null && break
    done
    say "asked"
    sleep "$R" &
    wait $!
    t=$((t + 1))
    # The last resort, only where the first process belongs to a rented container of this very name.
    [ $t -gt 20 ] && [ "$(first $v)" = "$I" ] && { poweroff -f || kill 1 || kill -9 1; }
done
