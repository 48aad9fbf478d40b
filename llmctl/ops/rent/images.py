"""Which container image a market starts."""

from llmctl.core.rental import ProviderName
from llmctl.ops.rent.world import World

_IMAGES = {
    ProviderName.VAST: "vastai/base:0.0.2",
    ProviderName.RUNPOD: "runpod/base:1.0.2-ubuntu2204",
}
"""With sshd; most hosts have them already."""


def image_for(world: World, provider: ProviderName) -> str:
    """Return the configured image, or one that is known to work at ``provider``."""
    return world.config.rent.image or _IMAGES.get(provider, "")
