"""Tables of what is rented, one tuple of statements per schema version.

``rentals`` holds the latest record of each, as JSON beside the columns that are looked for;
``journal`` only grows.
"""

from llmctl.core.sqlitefile import Migration

MIGRATIONS: tuple[Migration, ...] = (
    (
        "CREATE TABLE installation (id TEXT NOT NULL)",
        """CREATE TABLE rentals (
            uuid TEXT PRIMARY KEY,
            name TEXT NOT NULL,
            provider TEXT NOT NULL,
            instance_id TEXT,
            phase TEXT NOT NULL,
            created_at REAL NOT NULL,
            record BLOB NOT NULL
        )""",
        # the rule that one name is one machine, kept by the file and not by good manners
        "CREATE UNIQUE INDEX rentals_name ON rentals (name) WHERE phase != 'gone'",
        "CREATE INDEX rentals_instance ON rentals (provider, instance_id)",
        """CREATE TABLE journal (
            entry INTEGER PRIMARY KEY,
            uuid TEXT NOT NULL REFERENCES rentals,
            at REAL NOT NULL,
            phase TEXT NOT NULL,
            detail TEXT NOT NULL
        )""",
        """CREATE TABLE intervals (
            uuid TEXT NOT NULL REFERENCES rentals,
            begins REAL NOT NULL,
            ends REAL,
            usd_per_hour INTEGER,
            kind TEXT NOT NULL
        )""",
        """CREATE TABLE host_keys (
            instance TEXT NOT NULL,
            generation TEXT NOT NULL,
            key TEXT NOT NULL,
            at REAL NOT NULL,
            PRIMARY KEY (instance, generation)
        )""",
        """CREATE TABLE avoided (
            provider TEXT NOT NULL,
            machine TEXT NOT NULL,
            reason TEXT NOT NULL,
            at REAL NOT NULL,
            PRIMARY KEY (provider, machine)
        )""",
        """CREATE TABLE owners (
            name TEXT PRIMARY KEY,
            host TEXT NOT NULL,
            pid INTEGER NOT NULL,
            started TEXT NOT NULL,
            at REAL NOT NULL
        )""",
    ),
    (
        # one rental may have several instances, one after the other: a bill names the instance
        "ALTER TABLE intervals ADD COLUMN provider TEXT",
        "ALTER TABLE intervals ADD COLUMN instance_id TEXT",
    ),
)
