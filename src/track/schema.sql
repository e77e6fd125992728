CREATE TABLE word (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE);
CREATE TABLE run (
    id INTEGER PRIMARY KEY, uuid TEXT NOT NULL UNIQUE, user INTEGER NOT NULL, project INTEGER, system TEXT, job TEXT,
    command TEXT NOT NULL, nodes INTEGER NOT NULL, tasks INTEGER NOT NULL, started REAL NOT NULL,
    seconds REAL NOT NULL, probability REAL NOT NULL);
CREATE TABLE module (
    id INTEGER PRIMARY KEY, program TEXT NOT NULL, name TEXT NOT NULL, version TEXT NOT NULL, path TEXT NOT NULL,
    UNIQUE (name, version, path, program));
CREATE TABLE interpreter (
    id INTEGER PRIMARY KEY, implementation TEXT NOT NULL, version TEXT NOT NULL, kind TEXT NOT NULL,
    executable TEXT NOT NULL, UNIQUE (implementation, version, kind, executable));
-- One row for each process that was ingested, so that it is never counted again.
CREATE TABLE process (
    run INTEGER NOT NULL, host TEXT NOT NULL, pid INTEGER NOT NULL, started_us INTEGER NOT NULL,
    interpreter INTEGER NOT NULL, PRIMARY KEY (run, host, pid, started_us)) WITHOUT ROWID;
CREATE TABLE import (
    run INTEGER NOT NULL, module INTEGER NOT NULL, processes INTEGER NOT NULL, own_us INTEGER NOT NULL,
    total_us INTEGER NOT NULL, asked INTEGER NOT NULL, number INTEGER NOT NULL,
    PRIMARY KEY (run, module)) WITHOUT ROWID;
-- As XALT names things, for queries that sites have.
CREATE VIEW xalt_run AS
    SELECT run.id AS run_id, run.uuid AS run_uuid, job AS job_id, started AS start_time, seconds AS run_time,
        probability, nodes AS num_nodes, tasks AS num_cores, word.text AS user, charged.text AS account,
        command AS exec_path, system AS syshost, date(started, 'unixepoch') AS date
    FROM run JOIN word ON word.id = run.user LEFT JOIN word AS charged ON charged.id = run.project;
CREATE VIEW xalt_pkg AS
    SELECT import.run AS run_id, program, name AS pkg_name, version AS pkg_version, path AS pkg_path
    FROM import JOIN module ON module.id = import.module;
