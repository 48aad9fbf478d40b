"""Engines as they behave on the wire, with faults on demand: aiohttp servers on loopback."""
