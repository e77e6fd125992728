CREATE TABLE setting (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE word (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE);
CREATE TABLE run (
    id INTEGER PRIMARY KEY, uuid TEXT NOT NULL UNIQUE, user_word INTEGER NOT NULL, project_word INTEGER, system TEXT,
    job TEXT, command TEXT NOT NULL, nodes BIGINT NOT NULL, tasks BIGINT NOT NULL, started DOUBLE PRECISION NOT NULL,
    seconds DOUBLE PRECISION NOT NULL, probability DOUBLE PRECISION NOT NULL);
-- What a row says is found by its digest: an index over paths of any length is refused by some databases.
CREATE TABLE module (
    id INTEGER PRIMARY KEY, digest TEXT NOT NULL UNIQUE, program TEXT NOT NULL, name TEXT NOT NULL, version TEXT NOT NULL,
    path TEXT NOT NULL);
CREATE TABLE interpreter (
    id INTEGER PRIMARY KEY, digest TEXT NOT NULL UNIQUE, implementation TEXT NOT NULL, version TEXT NOT NULL,
    kind TEXT NOT NULL, executable TEXT NOT NULL);
-- One row for each process that was ingested, so that it is never counted again.
CREATE TABLE process (
    run INTEGER NOT NULL, host_word INTEGER NOT NULL, pid BIGINT NOT NULL, started_us BIGINT NOT NULL,
    interpreter INTEGER NOT NULL, PRIMARY KEY (run, host_word, pid, started_us));
-- What a run imported, over all its processes: [[module, processes, own_us, total_us, asked, place], ...].
CREATE TABLE imported (run INTEGER PRIMARY KEY, packages TEXT NOT NULL);
