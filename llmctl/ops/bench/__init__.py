"""Measuring an engine: what is asked, what is timed, what it means in money, what is kept."""
