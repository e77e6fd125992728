-- As XALT names things, for queries that sites have.
CREATE VIEW xalt_run AS
    SELECT run.id AS run_id, coalesce(job, '') AS job_id, run.uuid AS run_uuid,
        datetime(started, 'unixepoch') AS date, coalesce(system, '') AS syshost, '' AS uuid, '' AS hash_id,
        coalesce(charged.text, '') AS account, 'binary' AS exec_type, started AS start_time,
        started + seconds AS end_time, seconds AS run_time, probability, tasks AS num_cores, nodes AS num_nodes,
        0 AS num_threads, 0 AS num_gpus, '' AS queue, 0 AS sum_runs, 0.0 AS sum_time, login.text AS "user",
        command AS exec_path, NULL AS module_name, '' AS cwd, '' AS cmdline
    FROM run JOIN word AS login ON login.id = run.user_word LEFT JOIN word AS charged ON charged.id = run.project_word;
CREATE VIEW xalt_pkg AS
    SELECT imported.run * 100000 + package.key AS pkg_id, imported.run AS run_id, module.program,
        module.name AS pkg_name, module.version AS pkg_version, module.path AS pkg_path
    FROM imported, json_each(imported.packages) AS package JOIN module ON module.id = package.value ->> 0
    WHERE module.program <> 'library';
