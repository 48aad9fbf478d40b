"""From an order to the body of a create. Pure.

The start command arms the deadline before anything else and then becomes the image's own start
command, which starts sshd for the key in ``PUBLIC_KEY``. It goes in base64, as RunPod splits
``args`` like a shell would.

RunPod's own timer is not used: ``terminateAfter`` exists only in GraphQL, which goes in early 2027
and answers refusals in a form that cannot be told from failures; it has never worked, and is being
removed. Creating through v2 is what makes outcomes readable, and that is worth more.
"""

import base64
from typing import Any

from llmctl.core.rental import Order
from llmctl.providers.runpod.market import split_offer_id

WORKSPACE = "/workspace"


def pod_body(order: Order) -> dict[str, Any]:
    """Return the JSON of ``POST /v2/pods``; v2 refuses fields that it does not know.

    ``PUBLIC_KEY`` given here takes the place of the account's keys.
    """
    cloud, place, min_cuda, gpu_id = split_offer_id(order.offer.id)
    gpu: dict[str, Any] = {"id": gpu_id, "count": order.offer.gpu_count}
    if min_cuda is not None:
        gpu["minCudaVersion"] = min_cuda
    body: dict[str, Any] = {
        "name": order.label,
        "image": order.image,
        "gpu": gpu,
        "cloud": cloud,
        "disk": order.disk_gb,
        "ports": ["22/tcp"],
        "env": {
            **order.environment,
            "PUBLIC_KEY": order.public_key,
            "LLMCTL_DEADLINE": str(int(order.deadline)),
        },
        "startSsh": True,
        "args": start_command(order.start_script),
    }
    if place:
        body["dataCenterIds"] = [place]
    if order.volume is not None:
        body["mounts"] = {"network": [{"volumeId": order.volume, "path": WORKSPACE}]}
    return body


def start_command(script: str) -> str:
    """Return ``args`` that run ``script`` at each start, and then the image's own start command.

    What the script does wrong must not keep sshd from starting: without it nobody could see why.
    An image without ``/start.sh`` is kept alive, so that what the script armed can end the pod.
    """
    text = base64.b64encode(script.encode()).decode()
    return (
        f'sh -c \'f=$(mktemp); echo {text} | base64 -d >"$f"; sh "$f"; '
        "[ -x /start.sh ] && exec /start.sh; exec sleep 2147483647'"
    )
