"""Tables of the ledger, one tuple of statements per schema version.

What repeats from request to request (who, which model, how it ended) stands once in ``kinds``: rows
stay small, and a report groups a million of them by one number. The view ``ledger`` joins the two
again, for people with the sqlite3 tool.
"""

from math import exp, log

from llmctl.core.sqlitefile import Migration

_FIRST_ALIKE = """(SELECT min(kind) FROM kinds AS alike WHERE alike.cache = kinds.cache
    AND alike.status = kinds.status AND alike.error = kinds.error)"""
_OUTCOME = "(SELECT outcome FROM kinds WHERE kinds.kind = requests.kind)"

MIGRATIONS: tuple[Migration, ...] = (
    (
        """CREATE TABLE kinds (
            kind INTEGER PRIMARY KEY,
            tenant TEXT NOT NULL,
            model_asked TEXT NOT NULL,
            model_used TEXT NOT NULL,
            backend TEXT NOT NULL,
            stream INTEGER NOT NULL,
            cache TEXT NOT NULL,
            status INTEGER NOT NULL,
            error TEXT NOT NULL,
            UNIQUE (tenant, model_asked, model_used, backend, stream, cache, status, error)
        )""",
        """CREATE TABLE requests (
            id INTEGER PRIMARY KEY,
            at REAL NOT NULL,
            kind INTEGER NOT NULL REFERENCES kinds,
            prompt_tokens INTEGER NOT NULL,
            completion_tokens INTEGER NOT NULL,
            cached_prompt_tokens INTEGER NOT NULL,
            first_token_ms REAL,
            first_token_step INTEGER,
            total_ms REAL NOT NULL,
            request_id TEXT NOT NULL
        )""",
        "CREATE INDEX requests_at ON requests (at)",
        # all a summary needs, in the order it groups by: a million rows without sorting them
        """CREATE INDEX requests_kind ON requests (kind, first_token_step, at, prompt_tokens,
            completion_tokens, cached_prompt_tokens)""",
        """CREATE VIEW ledger AS
            SELECT datetime(at, 'unixepoch') AS time, tenant, model_asked, model_used, backend,
                stream, cache, status, error, prompt_tokens, completion_tokens,
                cached_prompt_tokens, first_token_ms, total_ms, request_id, at
            FROM requests JOIN kinds USING (kind) ORDER BY id""",
    ),
    (
        # computed when it is read, kept in the indexes only: old rows have it without being touched
        """ALTER TABLE requests ADD COLUMN generation_ms INTEGER
            GENERATED ALWAYS AS (CAST(total_ms - first_token_ms AS INTEGER)) VIRTUAL""",
        "DROP INDEX requests_kind",
        """CREATE INDEX requests_kind ON requests (kind, first_token_step, at, prompt_tokens,
            completion_tokens, cached_prompt_tokens, generation_ms)""",
        # a period after the other, without visiting the table
        "DROP INDEX requests_at",
        """CREATE INDEX requests_at ON requests (at, kind, first_token_step, prompt_tokens,
            completion_tokens, cached_prompt_tokens, generation_ms)""",
    ),
    (
        "DROP INDEX requests_kind",
        "DROP INDEX requests_at",
        # the first of the kinds that end alike: tenants and models multiply kinds, not outcomes
        "ALTER TABLE kinds ADD COLUMN outcome INTEGER",
        "CREATE INDEX kinds_outcome ON kinds (cache, status, error)",
        f"UPDATE kinds SET outcome = {_FIRST_ALIKE}",  # noqa: S608  our own text, as below
        f"""CREATE TRIGGER kinds_outcome AFTER INSERT ON kinds BEGIN
            UPDATE kinds SET outcome = {_FIRST_ALIKE} WHERE kind = NEW.kind;
        END""",  # noqa: S608
        "ALTER TABLE requests ADD COLUMN outcome INTEGER",
        f"UPDATE requests SET outcome = {_OUTCOME}",  # noqa: S608
        # an older llmctl that has the file open goes on without knowing the column
        f"""CREATE TRIGGER requests_outcome AFTER INSERT ON requests WHEN NEW.outcome IS NULL BEGIN
            UPDATE requests SET outcome = {_OUTCOME} WHERE id = NEW.id;
        END""",  # noqa: S608
        # a time of one kind, or of what ended alike, lies side by side: nothing has to be sorted
        """CREATE INDEX requests_kind ON requests (kind, at, first_token_step, prompt_tokens,
            completion_tokens, cached_prompt_tokens, generation_ms, total_ms)""",
        """CREATE INDEX requests_outcome ON requests (outcome, at, first_token_step, prompt_tokens,
            completion_tokens, cached_prompt_tokens, generation_ms)""",
    ),
)

STEPS_PER_E = 50
"""Latencies are counted in steps of 2 %, equal on a logarithmic scale."""


def latency_step(ms: float) -> int:
    """Return the step a latency falls into; below a microsecond all are one."""
    return round(log(max(ms, 0.001)) * STEPS_PER_E)


def step_ms(step: int) -> float:
    """Return the middle of a step, which is within 1 % of all latencies in it."""
    return exp(step / STEPS_PER_E)
