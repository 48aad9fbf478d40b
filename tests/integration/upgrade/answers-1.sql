BEGIN TRANSACTION;
CREATE TABLE entries (
            key BLOB NOT NULL UNIQUE,
            expires REAL NOT NULL,
            accessed REAL NOT NULL,
            value BLOB NOT NULL
        );
INSERT INTO "entries" VALUES(X'6B6579',2.79541040208638668067e+09,1.79541040208643221855e+09,X'616E20616E7377657220696E20746865206F70656E');
CREATE INDEX entries_expires ON entries (expires);
CREATE INDEX entries_accessed ON entries (accessed);
COMMIT;
PRAGMA user_version=1;
