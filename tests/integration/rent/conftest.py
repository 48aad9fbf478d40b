"""What a machine of tests needs: see ``tests/integration/ssh/conftest.py``."""

from tests.integration.ssh.conftest import free_port, key, machine

__all__ = ["free_port", "key", "machine"]
