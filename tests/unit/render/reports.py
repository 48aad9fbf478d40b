"""Reports with something of everything in them, for the golden files of what people see."""

from llmctl.core.model import LoadedModel
from llmctl.core.money import MicroUsd
from llmctl.core.reports_bench import Bench, BenchMoney, Figures, Level, Mix, Prefill
from llmctl.core.reports_health import (
    AuthLink,
    BackendLink,
    CacheLink,
    CheckState,
    CompletionLink,
    DoctorReport,
    Finding,
    HealthReport,
    InstanceLink,
    LedgerLink,
    ProxyLink,
    TunnelLink,
)

AT = 1_800_000_000.0
BAD, NOTE, UNKNOWN = CheckState.BAD, CheckState.NOTE, CheckState.UNKNOWN

HEALTH = HealthReport(
    at=AT,
    status="degraded",
    links=[
        ProxyLink(
            name="http://127.0.0.1:8000",
            latency_ms=1.234,
            status="degraded",
            version="0.2.0",
            uptime_s=11_560.0,
            streams=2,
            generations=1,
        ),
        AuthLink(name="/home/me/.local/share/llmctl/token", latency_ms=2.5, required=True),
        CacheLink(
            name="rediss://cache.example.com:6379/0",
            state=BAD,
            trouble="Redis at rediss://cache.example.com:6379/0 did not answer within 250 ms; "
            "requests go on without it",
            fix="redis-cli -u rediss://cache.example.com:6379/0 ping",
            store="redis",
            breaker="open",
        ),
        LedgerLink(name="/home/me/.local/state/llmctl/ledger.db", latency_ms=0.4, waiting=3),
        BackendLink(
            name="ollama:http://main.localhost:11434",
            latency_ms=44.2,
            engine="ollama",
            version="0.33.0",
            models=2,
            loaded=[LoadedModel(name="qwen3-coder:30b", context_tokens=65536, gpu_share=1.0)],
            in_flight=1,
            queued=4,
        ),
        BackendLink(
            name="ollama:http://10.0.0.5:11434",
            state=NOTE,
            latency_ms=9.0,
            trouble="18 % of qwen3-coder:30b runs on the processor, which is slow",
            fix="llmctl serve --num-ctx 65536",
            engine="ollama",
            version="0.33.0",
            loaded=[LoadedModel(name="qwen3-coder:30b", context_tokens=131072, gpu_share=0.82)],
        ),
        TunnelLink(
            name="main",
            latency_ms=41.0,
            tunnel="up",
            holder="proxy",
            connected_s=7300.0,
            reconnects=2,
        ),
        InstanceLink(
            name="main",
            latency_ms=2140.0,
            provider="vast",
            instance_id="123456",
            phase="ready",
            market="running",
            watchdog=CheckState.OK,
            armed_until=AT + 22_320,
            ends_in_s=22_320.0,
            gpu="RTX 4090",
        ),
        InstanceLink(
            name="other",
            state=BAD,
            trouble="runpod does not know it any more",
            fix="llmctl up other",
            provider="runpod",
            instance_id="abcd1234efgh",
            phase="ready",
            gpu="H100 SXM",
        ),
        CompletionLink(
            name="qwen3-coder:30b", latency_ms=412.0, tokens_per_s=98.14, completion_tokens=48
        ),
    ],
    document={"status": "degraded", "version": "0.2.0"},
)

DOCTOR = DoctorReport(
    findings=[
        Finding(
            section="machine",
            name="python",
            state=CheckState.OK,
            detail="Python 3.13.1, SQLite 3.45.1, llmctl 0.2.0, Linux x86_64",
            took_ms=0.1,
        ),
        Finding(
            section="configuration",
            name="shadowed",
            state=NOTE,
            detail="serve.port is '9001' from LLMCTL_SERVE_PORT, which beats 9000 from "
            "/home/me/.config/llmctl/config.toml:2",
            fix="unset LLMCTL_SERVE_PORT",
            took_ms=1.0,
        ),
        Finding(
            section="credentials",
            name="vast",
            state=BAD,
            detail="the key is taken (VAST_API_KEY, ends in 1234); $0.21 left, 0.6 hours at "
            "$0.360/h",
            fix="add credit at https://cloud.vast.ai/billing/, or llmctl down --all",
            took_ms=811.5,
        ),
        Finding(
            section="machine",
            name="clock",
            state=UNKNOWN,
            detail="nobody to compare it with",
            took_ms=0.0,
        ),
    ]
)

BENCH = Bench(
    at=AT,
    name="main",
    provider="vast",
    instance_id="123456",
    gpu="RTX 4090",
    engine="ollama 0.33.0",
    model="qwen3-coder:30b",
    num_ctx=65536,
    usd_per_hour=MicroUsd(360_000),
    figures=Figures(
        load_s=14.21,
        first_token_ms=183.4,
        cold=Prefill(prompt_tokens=4023, first_token_ms=1610.0, tokens_per_s=2498.8),
        warm=Prefill(prompt_tokens=4023, first_token_ms=201.0, tokens_per_s=20_014.9),
        levels=[
            Level(
                concurrency=1,
                tokens_per_s=98.1,
                each_tokens_per_s=104.2,
                first_token_ms=183.4,
                completion_tokens=128,
                seconds=1.3,
            ),
            Level(
                concurrency=8,
                tokens_per_s=301.7,
                each_tokens_per_s=41.9,
                first_token_ms=640.0,
                completion_tokens=1024,
                seconds=3.4,
            ),
        ],
    ),
    money=BenchMoney(
        mix=Mix(),
        usd_per_hour=MicroUsd(360_000),
        concurrency=8,
        requests_per_hour=2920.0,
        usd_per_million_tokens=MicroUsd(6088),
        usd_per_million_answer_tokens=MicroUsd(331_455),
        cloud_model="claude-sonnet-5",
        cloud_usd_per_million_tokens=MicroUsd(377_778),
        break_even_utilisation=0.0161,
        break_even_requests_per_hour=47.06,
    ),
    seconds=41.0,
    spent_usd=MicroUsd(4100),
)
