"""The llama.cpp engine llmctl runs itself: the model file, the child process and its supervisor."""
