"""A record with rentals in it, for tests of what reads it."""

import os

from llmctl.core.clock import SystemClock
from llmctl.core.paths import find_paths
from llmctl.core.rental import Phase, ProviderName, UpSpec
from llmctl.state.store import RentalStore


def rent(name: str, *, instance_id: str, model: str, phase: Phase = Phase.READY) -> None:
    """Put a vast instance on this installation's record."""
    store = RentalStore(find_paths(os.environ).rentals_file, clock=SystemClock())
    try:
        spec = UpSpec(name=name, providers=(ProviderName.VAST,))
        rental = store.begin(spec, ProviderName.VAST)
        store.advance(rental.uuid, phase, instance_id=instance_id, model=model)
    finally:
        store.close()
