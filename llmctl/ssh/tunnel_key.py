"""The key that tunnels use: on the machine it can reach the engine's port, and nothing else.

The key of ``up`` may do everything there; it is not needed while a tunnel runs. Checked against
sshd: another port is "administratively prohibited", and any command runs ``true`` instead, which
is what a login begins with anyway.
"""

from llmctl.core.errors import SshError
from llmctl.ssh.remote import Remote

TUNNEL_KEY_NAME = "tunnel_ed25519"
"""File name beside the key of ``up``, for ``ssh.keys.load_or_make_key``."""
_MINE = "llmctl-tunnel"

# Written whole, beside the old file, then renamed: sshd may read it at any moment. Lines with the
# same key are replaced, others stay as they are. The line comes in through stdin.
_SCRIPT = r"""
set -eu
umask 077
IFS= read -r line
key=$1
mkdir -p "$HOME/.ssh"
file=$HOME/.ssh/authorized_keys
if [ -L "$file" ]; then
    target=$(readlink "$file")
    case $target in /*) file=$target ;; *) file=$HOME/.ssh/$target ;; esac
fi
if [ -d "$file" ]; then
    echo "$file is a directory" >&2
    exit 1
fi
touch "$file"
if grep -qxF -- "$line" "$file" && [ "$(grep -cF -- "$key" "$file")" = 1 ]; then
    echo present
    exit 0
fi
new=$(mktemp "$file.XXXXXX")
trap 'rm -f "$new"' EXIT
grep -vF -- "$key" "$file" >"$new" || [ $? = 1 ]
printf '%s\n' "$line" >>"$new"
chmod 600 "$new"
mv -f "$new" "$file"
trap - EXIT
echo installed
"""


def authorized_line(public_line: str, port: int) -> str:
    """Return the line of ``authorized_keys`` for our public key (sshd(8), AUTHORIZED_KEYS)."""
    kind, key, *_ = public_line.split()
    limits = f'restrict,port-forwarding,permitopen="127.0.0.1:{port}",command="true"'
    return f"{limits} {kind} {key} {_MINE}"


async def install_tunnel_key(remote: Remote, public_line: str, port: int) -> bool:
    """Let our key in for this port only; returns whether anything had to be changed.

    Needs a login that may do everything. Idempotent. Raises ``SshError``.
    """
    _, key, *_ = public_line.split()
    line = authorized_line(public_line, port)
    ran = await remote.run(f"set -- '{key}'\n{_SCRIPT}", stdin=line.encode() + b"\n")
    if ran.status != 0:
        reason = ran.stderr.strip() or f"exit status {ran.status}"
        raise SshError(f"cannot install the tunnel's key on {remote.where}: {reason}")
    return "installed" in ran.stdout


async def remove_tunnel_key(remote: Remote, public_line: str) -> None:
    """Let our tunnel key in no more: for machines that stay when llmctl leaves."""
    _, key, *_ = public_line.split()
    script = (
        f"set -- '{key}'\n"
        'file=$HOME/.ssh/authorized_keys\n[ -f "$file" ] || exit 0\n'
        'umask 077; new=$(mktemp "$file.XXXXXX")\n'
        'grep -vF -- "$1" "$file" >"$new" || [ $? = 1 ] || exit 1\nmv -f "$new" "$file"\n'
    )
    ran = await remote.run(script)
    if ran.status != 0:
        raise SshError(f"cannot remove the tunnel's key on {remote.where}: {ran.stderr.strip()}")
