"""Renting: from what is on offer to a model that answers, and to the proof that nothing is left."""
