BEGIN TRANSACTION;
CREATE TABLE kinds (
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
        );
INSERT INTO "kinds" VALUES(1,'local','claude-sonnet-5','qwen3-coder:30b','ollama:http://127.0.0.1:11434',1,'miss',200,'');
INSERT INTO "kinds" VALUES(2,'local','claude-sonnet-5','qwen3-coder:30b','ollama:http://127.0.0.1:11434',1,'hit',200,'');
CREATE TABLE requests (
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
        , generation_ms INTEGER
            GENERATED ALWAYS AS (CAST(total_ms - first_token_ms AS INTEGER)) VIRTUAL);
INSERT INTO "requests" VALUES(1,1790000000.0,1,1000,50,900,120.0,239,2120.0,'req_0');
INSERT INTO "requests" VALUES(2,1790003600.0,2,1000,50,900,120.0,239,2120.0,'req_1');
INSERT INTO "requests" VALUES(3,1790007200.0,1,1000,50,900,120.0,239,2120.0,'req_2');
CREATE VIEW ledger AS
            SELECT datetime(at, 'unixepoch') AS time, tenant, model_asked, model_used, backend,
                stream, cache, status, error, prompt_tokens, completion_tokens,
                cached_prompt_tokens, first_token_ms, total_ms, request_id, at
            FROM requests JOIN kinds USING (kind) ORDER BY id;
CREATE INDEX requests_kind ON requests (kind, first_token_step, at, prompt_tokens,
            completion_tokens, cached_prompt_tokens, generation_ms);
CREATE INDEX requests_at ON requests (at, kind, first_token_step, prompt_tokens,
            completion_tokens, cached_prompt_tokens, generation_ms);
COMMIT;
PRAGMA user_version=2;
