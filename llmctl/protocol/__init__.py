"""Anthropic, Ollama and OpenAI wire formats and the translations between them.

Sans-IO: bytes and structs in, bytes and structs out. Nothing here opens a socket or waits.
"""
