# Puts Ollama in place from an archive whose checksum is known, and does nothing else: no user, no
# service, no driver, unlike the installer's own script. Repeats do nothing.
#
# Reads "url sha256 version prefix" from stdin (prefix - for the usual place). Prints lines of
#   progress DONE TOTAL | note TEXT | installed VERSION PATH
# and ends with a status other than 0 and a last line on stderr when it cannot.
set -eu
export LC_ALL=C
read -r url sha version prefix
umask 022
if [ "$prefix" = - ]; then
    prefix=${LLMCTL_PREFIX:-}
    [ "$prefix" ] || { [ "$(id -u)" = 0 ] && prefix=/usr/local; } || prefix=$HOME/.local
fi
bin=$prefix/bin/ollama
part=$d/ollama.part

fail() {
    echo "$*" >&2
    exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }
version_of() {
    # Asked where nothing listens: else it tells the version of the server that runs.
    OLLAMA_HOST=127.0.0.1:1 HOME=${HOME:-$d} "$1" --version 2>/dev/null |
        sed -n 's/.*version is \([0-9][^ ]*\).*/\1/p' | tail -n 1
}
done_with() {
    echo "$bin" >"$d/ollama.bin"
    echo "installed $1 $bin"
    exit 0
}

if [ -x "$bin" ]; then
    found=$(version_of "$bin") || found=
    if [ "$found" ] && { [ "$found" = "$version" ] || [ "$(cat "$d/ollama.sha256" 2>/dev/null)" = "$sha" ]; }; then
        done_with "$found"
    fi
fi

# What is missing and can be had.
package() {
    echo "note installing $*"
    if have apt-get; then
        { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"; } >"$d/packages.log" 2>&1
    elif have apk; then
        apk add "$@" >"$d/packages.log" 2>&1
    elif have dnf; then
        dnf -y install "$@" >"$d/packages.log" 2>&1
    else
        return 1
    fi
}
have curl || have wget || have python3 || { [ "$(id -u)" = 0 ] && package curl ca-certificates; } ||
    fail "neither curl nor wget nor python3 is there to download Ollama with"
zstd_missing() {
    have zstd && return 1
    ! { have python3 && python3 -c 'import zstandard' 2>/dev/null; }
}
need_zstd() {
    zstd_missing || return 0
    [ "$(id -u)" = 0 ] && package zstd && have zstd && return
    fail "zstd is missing and cannot be installed here: name a .tgz archive as ollama.archive_url"
}
case $url in *.zst | *.zst\?*) need_zstd ;; esac

# Sizes in bytes; 0 where the server does not say.
mkdir -p "$prefix/bin" "$prefix/lib" 2>/dev/null || fail "cannot write to $prefix"
size_of() { if [ -e "$1" ]; then wc -c <"$1" | tr -d ' '; else echo 0; fi; }
total=0
if have curl; then
    total=$(curl -sIL -m 30 "$url" | tr -d '\r' | tr 'A-Z' 'a-z' | sed -n 's/^content-length: *//p' | tail -n 1) || :
elif have wget; then
    total=$(wget --spider -S -T 30 -t 1 "$url" 2>&1 | tr 'A-Z' 'a-z' | sed -n 's/^ *content-length: *//p' | tail -n 1) || :
fi
case $total in '' | *[!0-9]*) total=0 ;; esac
[ "$total" -gt 0 ] && [ "$(size_of "$part")" -gt "$total" ] && rm -f "$part"
free_kib() { df -Pk "$1" | sed -n '2{s/  */ /g;p;}' | cut -d ' ' -f 4; }
room() {
    [ "$(free_kib "$1")" -ge "$2" ] ||
        fail "the disk is full: $1 has $(($(free_kib "$1") / 1024)) MiB free, Ollama needs $(($2 / 1024)) MiB there"
}
kib=$((total / 1024))
# Unpacked it is about twice as large as the archive.
if [ "$(df -Pk "$d" | tail -n 1 | cut -d ' ' -f 1)" = "$(df -Pk "$prefix" | tail -n 1 | cut -d ' ' -f 1)" ]; then
    room "$d" $((kib * 3 - $(size_of "$part") / 1024))
else
    room "$d" $((kib - $(size_of "$part") / 1024))
    room "$prefix" $((kib * 2))
fi

# A download that an earlier login began may still go on, unseen, into the same file.
{ read -r q <"$d/download.pid"; } 2>/dev/null &&
    mine "$q" "$part" && kill "$q" 2>/dev/null && sleep 1
child=
stop_child() { [ -z "$child" ] || kill "$child" 2>/dev/null || :; }
trap stop_child EXIT
trap 'exit 1' HUP INT TERM PIPE
fetch() {
    if have curl; then
        exec curl -fsSL --connect-timeout 20 --speed-limit 1000 --speed-time 60 -C - -o "$part" "$url"
    elif have wget; then
        exec wget -q -c -T 60 -O "$part" "$url"
    fi
    exec python3 -c 'import os, shutil, sys
from urllib.request import Request, urlopen
url, part = sys.argv[1:]
had = os.path.getsize(part) if os.path.exists(part) else 0
answer = urlopen(Request(url, headers={"Range": "bytes=%d-" % had} if had else {}), timeout=60)
file = open(part, "ab" if answer.status == 206 else "wb")
shutil.copyfileobj(answer, file, 1 << 20)
file.close()
sys.exit("the answer broke off" if answer.length else 0)' "$url" "$part"
}
download() {
    tries=0 best=0
    until [ "$total" -gt 0 ] && [ "$(size_of "$part")" = "$total" ]; do
        tries=$((tries + 1))
        fetch >/dev/null 2>"$d/download.log" &
        child=$!
        echo "$child" >"$d/download.pid"
        while kill -0 "$child" 2>/dev/null; do
            sleep 0.5 2>/dev/null || sleep 1
            echo "progress $(size_of "$part") $total"
        done
        wait "$child" && { child=; break; }
        child=
        [ "$(free_kib "$d")" -ge 1024 ] || fail "the disk is full: $d has no room for the archive"
        # Further than ever counts as a fresh start; a server that cannot go on begins at 0.
        [ "$(size_of "$part")" -gt "$best" ] && best=$(size_of "$part") tries=1
        [ $tries -ge 2 ] && rm -f "$part"
        [ $tries -lt 4 ] || fail "cannot download $url: $(tail -n 1 "$d/download.log")"
        sleep 1
    done
    echo "progress $(size_of "$part") $total"
}
sum() {
    if have sha256sum; then sha256sum "$1"; else
        python3 -c 'import hashlib, sys; print(hashlib.sha256(open(sys.argv[1], "rb").read()).hexdigest())' "$1"
    fi | cut -d ' ' -f 1
}
resumed=$(size_of "$part")
download
got=$(sum "$part")
if [ "$got" != "$sha" ] && [ "$resumed" -gt 0 ]; then
    # What was there before may belong to another archive.
    rm -f "$part"
    download
    got=$(sum "$part")
fi
if [ "$got" != "$sha" ]; then
    rm -f "$part"
    fail "the archive $url has SHA-256 $got, expected $sha: nothing was installed"
fi

# Unpacked aside, tried, and only then put in place of what is there.
fresh=$prefix/.llmctl-ollama
rm -rf "$fresh"
mkdir "$fresh"
case $(head -c 4 "$part" | od -An -tx1 | tr -d ' \n') in
1f8b*) unpack() { tar -xzf "$part" -C "$fresh"; } ;;
28b52ffd)
    need_zstd
    unpack() {
        if have zstd; then zstd -dqc "$part"; else
            python3 -c 'import sys, zstandard; zstandard.ZstdDecompressor().copy_stream(open(sys.argv[1], "rb"), sys.stdout.buffer)' "$part"
        fi | tar -xf - -C "$fresh"
    }
    ;;
*) fail "the archive $url is neither .tar.zst nor .tgz" ;;
esac
echo "note unpacking"
unpack 2>"$d/unpack.log" || {
    words=$(tail -n 1 "$d/unpack.log")
    rm -rf "$fresh"
    fail "cannot unpack the archive: ${words:-no reason was given}"
}
[ -x "$fresh/bin/ollama" ] || fail "the archive $url holds no bin/ollama"
got=$(version_of "$fresh/bin/ollama") || got=
[ "$got" ] || fail "the ollama of $url does not run on this machine"
{ read -r q <"$d/ollama.pid"; } 2>/dev/null &&
    mine "$q" 'ollama serve' && {
    kill "$q"
    i=0
    while mine "$q" 'ollama serve'; do
        i=$((i + 1))
        [ $i -ne 100 ] || kill -9 "$q" 2>/dev/null || :
        sleep 0.1 2>/dev/null || sleep 1
    done
}
rm -rf "$prefix/lib/ollama"
[ ! -d "$fresh/lib/ollama" ] || mv "$fresh/lib/ollama" "$prefix/lib/ollama"
mv -f "$fresh/bin/ollama" "$bin"
rm -rf "$fresh" "$part" "$d/download.pid" "$d/download.log" "$d/unpack.log"
echo "$sha" >"$d/ollama.sha256"
done_with "$got"
