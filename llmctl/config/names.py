"""What settings are called on the command line and in the environment.

Plain strings only: the command line imports this before it knows whether it needs more.
"""

FLAGS = {
    "backend": "--backend",
    "backend.parallel": "--parallel",
    "budget.timezone": "--timezone",
    "cache.enabled": "--no-cache",
    "cache.semantic.mode": "--semantic",
    "cost.compare": "--compare",
    "embedded.gguf": "--gguf",
    "embedded.parallel": "--parallel",
    "model.keep_alive": "--keep-alive",
    "model.name": "--model",
    "model.num_ctx": "--num-ctx",
    "ollama.kv_cache_type": "--kv-cache-type",
    "redis.url": "--redis-url",
    "rent.disk_gb": "--disk",
    "rent.gpu": "--gpu",
    "rent.gpu_count": "--gpus",
    "rent.host": "--host",
    "rent.idle_s": "--idle",
    "rent.image": "--image",
    "rent.max_price": "--max-price",
    "rent.min_reliability": "--min-reliability",
    "rent.provider": "--provider",
    "rent.region": "--region",
    "rent.spot": "--spot",
    "rent.ttl_s": "--ttl",
    "rent.volume": "--volume",
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
    {
        "LLMCTL_AUTH_TOKEN",
        "LLMCTL_BACKEND_API_KEY",
        "LLMCTL_CLAUDE",
        "LLMCTL_CONFIG",
        "LLMCTL_DEBUG",
        "LLMCTL_HOME",
        "LLMCTL_PREFIX",
        "LLMCTL_STATE_DIR",
        "LLMCTL_VAST_URL",
    }
)
"""Variables with our prefix that are read elsewhere."""


def env_name(key: str) -> str:
    """Return the variable of a setting: ``serve.port`` → ``LLMCTL_SERVE_PORT``."""
    return "LLMCTL_" + key.upper().replace(".", "_")
