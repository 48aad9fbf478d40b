# Starts Ollama with the settings that stdin gives, unless it runs with them already; needs no
# systemd. First line: port and directory of the models (- for a good one), then NAME=VALUE lines.
# Prints running or started.
set -eu
read -r port models
if [ "$models" = - ]; then
    # What is mounted there outlives the container.
    if [ -d /workspace ] && [ -w /workspace ]; then models=/workspace/ollama; else models=${HOME:-$d}/.ollama/models; fi
fi
{
    cat
    echo "OLLAMA_MODELS=$models"
} >"$d/ollama.settings.new"
bin=$(cat "$d/ollama.bin" 2>/dev/null) || bin=$(command -v ollama) || {
    echo "Ollama is not installed" >&2
    exit 1
}
q=0
{ read -r q <"$d/ollama.pid"; } 2>/dev/null || :
if mine "$q" 'ollama serve'; then
    if [ "$(cat "$d/ollama.settings" 2>/dev/null)" = "$(cat "$d/ollama.settings.new")" ]; then
        echo running
        exit 0
    fi
    kill "$q"
    i=0
    while mine "$q" 'ollama serve'; do
        i=$((i + 1))
        [ $i -ne 100 ] || kill -9 "$q" 2>/dev/null || :
        sleep 0.1 2>/dev/null || sleep 1
    done
fi
hex=$(printf %04X "$port")
if cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | grep -qE ":$hex [0-9A-F]+:0000 0A "; then
    echo "port $port is taken by a program that llmctl did not start" >&2
    exit 1
fi
mkdir -p "$models"
[ ! -e "$d/ollama.log" ] || mv -f "$d/ollama.log" "$d/ollama.log.1"
set --
while IFS= read -r line; do set -- "$@" "$line"; done <"$d/ollama.settings.new"
HOME=${HOME:-$d} $(command -v setsid || echo nohup) env "$@" "$bin" serve >>"$d/ollama.log" 2>&1 </dev/null &
echo $! >"$d/ollama.pid"
mv -f "$d/ollama.settings.new" "$d/ollama.settings"
echo started
