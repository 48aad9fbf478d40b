"""The Anthropic-compatible proxy: aiohttp, one request at a time through the pipeline."""
