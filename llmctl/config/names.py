"""What settings are called on the command line and in the environment.

Plain strings only: the command line imports this before it knows whether it needs more.
"""

FLAGS = {
    "backend": "--backend",
    "backend.parallel": "--parallel",
    "cache.enabled": "--no-cache",
    "embedded.gguf": "--gguf",
    "embedded.parallel": "--parallel",
    "model.keep_alive": "--keep-alive",
    "model.name": "--model",
    "model.num_ctx": "--num-ctx",
    "redis.url": "--redis-url",
    "serve.auth": "--no-auth",
    "serve.listen": "--listen",
    "serve.port": "--port",
}

CUSTOMARY = {
    "backend": "OLLAMA_HOST",
    "model.name": "ANTHROPIC_MODEL",
    "redis.host": "REDIS_HOST",
    "redis.port": "REDIS_PORT",
    "redis.url": "REDIS_URL",
    "serve.port": "API_PORT",
}
"""Names that operators already use; a name of our own beats them."""

NOT_SETTINGS = frozenset(
    {"LLMCTL_AUTH_TOKEN", "LLMCTL_CLAUDE", "LLMCTL_CONFIG", "LLMCTL_DEBUG", "LLMCTL_HOME"}
)
"""Variables with our prefix that are read elsewhere."""


def env_name(key: str) -> str:
    """Return the variable of a setting: ``serve.port`` → ``LLMCTL_SERVE_PORT``."""
    return "LLMCTL_" + key.upper().replace(".", "_")
