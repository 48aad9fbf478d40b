"""Append-only record of what was asked, answered and spent."""
