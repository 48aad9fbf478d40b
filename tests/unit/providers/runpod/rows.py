"""Documents of v2, as short as they may be."""

import msgspec

from llmctl.providers.runpod.wire import GpuRow, Pod

RTX_4090 = "NVIDIA GeForce RTX 4090"


def pod_document(**changes) -> dict:
    usual = {
        "id": "7h9k2m4n6p",
        "name": "llmctl/0a1b2c3d/" + "0" * 32,
        "status": "RUNNING",
        "disk": 60,
        "mounts": {},
        "gpu": {"id": RTX_4090, "count": 1},
        "cloud": "SECURE",
        "dataCenterId": "EU-RO-1",
        "ssh": {"proxy": None, "direct": None},
        "cost": 0.69,
        "runtime": {"uptime": 5, "ports": None},
        "createdAt": "2026-06-01T12:00:00Z",
        "startedAt": "2026-06-01T12:02:00Z",
    }
    return usual | changes


def pod(**changes) -> Pod:
    return msgspec.convert(pod_document(**changes), Pod)


def gpu_document(**changes) -> dict:
    usual = {
        "id": RTX_4090,
        "name": "RTX 4090",
        "pool": "ADA_24",
        "manufacturer": "NVIDIA",
        "memory": 24,
        "secure": True,
        "community": True,
        "price": {"secure": 0.69, "community": 0.34, "serverless": 1.1},
        "maxCount": {"secure": 8, "community": 4},
        "availability": "HIGH",
        "dataCenters": [
            {"id": "EU-RO-1", "name": "EU Romania", "availability": "HIGH"},
            {"id": "US-KS-2", "name": "US Kansas", "availability": "LOW"},
            {"id": "EUR-IS-1", "name": "Iceland", "availability": "NONE"},
        ],
        "cudaVersions": [
            {"version": "12.4", "available": True},
            {"version": "13.0", "available": False},
        ],
    }
    return usual | changes


def gpu_row(**changes) -> GpuRow:
    return msgspec.convert(gpu_document(**changes), GpuRow)
