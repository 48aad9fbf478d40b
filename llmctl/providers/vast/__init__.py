"""vast.ai: hosts of all kinds offer GPUs at their own prices; machines are containers with SSH."""
