"""A small Ollama as an installable archive, and a server that archives are downloaded from."""
