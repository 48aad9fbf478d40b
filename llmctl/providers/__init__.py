"""Offers, instances and credit of the markets llmctl rents from; each behind the same contract."""
