"""The cards llmctl rents: their names here, at the providers, and what fits on them."""

from msgspec import Struct


class Gpu(Struct, frozen=True, kw_only=True):
    """One exact variant; a 4090D or an H100 of another form is another card."""

    key: str
    """What ``--gpu`` takes, e.g. ``h100-sxm``."""
    name: str
    memory_gib: int
    vast: str
    """``gpu_name`` in vast.ai's offers."""
    runpod: str
    """``gpu.id`` in RunPod's catalogue; empty where it has none."""
    max_price: str
    """Dollars an hour above which an offer is not taken unless ``--max-price`` says so."""


_ROWS = (
    ("rtx3090", "RTX 3090", 24, "RTX 3090", "NVIDIA GeForce RTX 3090", "0.60"),
    ("rtx4090", "RTX 4090", 24, "RTX 4090", "NVIDIA GeForce RTX 4090", "1.00"),
    ("rtx4090d", "RTX 4090D", 24, "RTX 4090D", "", "1.00"),
    ("rtx5090", "RTX 5090", 32, "RTX 5090", "NVIDIA GeForce RTX 5090", "1.40"),
    ("a100-pcie", "A100 PCIe", 80, "A100 PCIE", "NVIDIA A100 80GB PCIe", "2.50"),
    ("a100-sxm", "A100 SXM", 80, "A100 SXM4", "NVIDIA A100-SXM4-80GB", "2.50"),
    ("h100-pcie", "H100 PCIe", 80, "H100 PCIE", "NVIDIA H100 PCIe", "4.00"),
    ("h100-sxm", "H100 SXM", 80, "H100 SXM", "NVIDIA H100 80GB HBM3", "4.50"),
    ("h100-nvl", "H100 NVL", 94, "H100 NVL", "NVIDIA H100 NVL", "4.50"),
)

GPUS = tuple(
    Gpu(key=key, name=name, memory_gib=gib, vast=vast, runpod=runpod, max_price=max_price)
    for key, name, gib, vast, runpod, max_price in _ROWS
)

_FAMILIES = {
    "h100": ("h100-sxm", "h100-pcie", "h100-nvl"),
    "a100": ("a100-sxm", "a100-pcie"),
}


def gpu_names() -> list[str]:
    """Return what ``find_gpus`` understands."""
    return [*_FAMILIES, *(gpu.key for gpu in GPUS)]


def find_gpus(name: str) -> tuple[Gpu, ...]:
    """Return the variants a name stands for: ``h100`` for all three forms, ``h100-sxm`` for one.

    Case, blanks and underscores do not matter (``RTX_4090``). Raises ``ValueError`` for others.
    """
    wanted = name.strip().lower().replace("_", "-").replace(" ", "-")
    wanted = wanted.replace("rtx-", "rtx")
    keys = _FAMILIES.get(wanted, (wanted,))
    found = tuple(gpu for key in keys for gpu in GPUS if gpu.key == key)
    if not found:
        raise ValueError(f"no GPU is called {name!r}; known are {', '.join(gpu_names())}")
    return found
