//! The columns that code reads. A column that not all panels have names those that do after `in`.

use super::{Cell, Flag, Int, Number, Word, reads};

reads! {
    /// A backend or prepared transaction, regardless of the panel that shows it.
    Backend of Activity, Locks, Snapshots, PointLocks {
        pid: Int;
        leader_pid: Int in Activity;
        usename: Word in Activity, Locks, PointLocks;
        role: Word in Snapshots;
        datname: Word;
        application_name: Word;
        backend_type: Word in Activity;
        class: Word in Activity, Locks, Snapshots;
        state: Word;
        wait_event_type: Word in Activity;
        wait_event: Word in Activity;
        wait: Word in Activity;
        wait_s: Number in Activity, Locks;
        blocked_by: Word in Activity, Locks;
        blocks: Cell in Activity;
        locktype: Word in Locks;
        target: Word in Locks;
        query: Word in Activity, Locks, Snapshots;
        query_age_s: Number in Activity, Locks, Snapshots;
        xact_age_s: Number in Activity, Locks, Snapshots;
        backend_start: Word in Activity, Locks, Snapshots;
        xact_start: Word in Activity, Locks, Snapshots;
        query_start: Word in Activity, Locks, Snapshots;
        xmin_age: Int in Activity;
        xid_age: Int in Activity;
        restricted: Flag in Activity, Locks;
        superuser: Flag in Activity;
        may_signal: Flag in Activity;
        client_port: Int in Activity;
        harm: Number in Activity;
        cpu_pct: Number in Activity;
    }

    /// A row that may be a backend, which a key can end.
    Signalled of Activity, Locks, Snapshots, Progress {
        pid: Int;
        usename: Word in Activity, Locks, Progress;
        role: Word in Snapshots;
        datname: Word in Activity, Locks, Snapshots;
        class: Word in Activity, Locks, Snapshots;
        application_name: Word;
        state: Word in Activity, Locks, Snapshots;
        age_s: Number in Snapshots;
        query: Word;
        query_age_s: Number in Activity, Locks, Snapshots;
        xact_age_s: Number in Activity, Locks, Snapshots;
        backend_start: Word;
        xact_start: Word in Activity, Locks, Snapshots;
        query_start: Word;
    }

    /// A row with a statement that can be planned.
    Planned of Activity, Locks, Snapshots, Progress, Statements {
        pid: Int in Activity, Locks, Snapshots, Progress;
        backend_start: Word in Activity, Locks, Snapshots, Progress;
        query_start: Word in Activity, Locks, Snapshots, Progress;
        usename: Word in Activity, Locks, Progress, Statements;
        queryid: Word in Statements;
    }

    /// A waiter and its blockers.
    Waiter of Activity, Locks {
        pid: Int;
        blocked_by: Word;
        blocked_by_xid: Word;
        prepared_xid: Word;
    }

    /// Number of waiters whose blockers were not queried.
    Unasked of Locks {
        unasked: Int;
    }

    /// A holder of the horizon.
    Holder of Snapshots {
        kind: Word;
        holder: Word;
        pid: Int;
        role: Word;
        datname: Word;
        application_name: Word;
        state: Word;
        query: Word;
        own_database: Flag;
        age_xids: Int;
        age_s: Number;
        age_least_s: Number;
        pins: Int;
        xmin: Int;
        xid: Int;
        backend_start: Word;
        xact_start: Word;
        query_start: Word;
        xact_age_s: Number;
        query_age_s: Number;
        state_age_s: Number;
    }

    /// A table and its dead rows.
    Relation of Bloat {
        relid: Int;
        relation: Word;
        quoted: Word;
        relkind: Word;
        size_bytes: Number;
        n_live: Int;
        n_dead: Int;
        dead_pct: Number;
        deaths: Int;
        vacuums: Int;
        last_vacuum_s: Number;
        autovacuum_due: Number;
        switch_on: Word;
        seq_scan: Int;
        seq_rows: Int;
        in_vain: Int;
        held_by: Word;
        waiting: Int;
        seq_scans_per_s: Number;
        seq_rows_per_s: Number;
    }

    /// A relation that has an estimate of its bloat.
    Estimated of Bloat, Indexes {
        relid: Int;
    }

    /// An estimate of bloat.
    Estimate of BloatEstimate, IndexBloatEstimate {
        relid: Int;
        bloat_bytes: Cell;
        bloat_pct: Cell;
        lower_bound: Flag;
    }

    /// A relation that can be measured exactly.
    Measurable of Bloat, Tables, Vacuum, Indexes {
        relid: Int;
        relation: Word in Bloat, Tables, Vacuum;
        index: Word in Indexes;
        size_bytes: Number;
    }

    /// A materialized view or summary.
    View of Views {
        relid: Int;
        view: Word;
        schemaname: Word;
        matviewname: Word;
        owner: Word;
        populated: Flag;
        xmin: Int;
        definition: Int;
        refreshed_s: Number;
        refreshing: Word;
        refresh_pid: Int;
        refresh_waiting: Flag;
        refresh_holds: Flag;
        refresh_running_s: Number;
        refresh_xact_s: Number;
        concurrent_ok: Flag;
        concurrent_reason: Word;
        may_refresh: Flag;
        on_standby: Flag;
        depends_on: Word;
        def_has_now: Flag;
        kind: Word;
        mode: Word;
        state: Word;
        fresh_s: Cell;
        source: Word;
        target_s: Number;
        target_own: Flag;
        late: Number;
        last_s: Number;
        refresh_share: Number;
        uncaptured: Word;
    }

    /// The refresher's record of a view or summary.
    Summary of Summaries {
        view: Word;
        kind: Word;
        populated: Flag;
        fresh_s: Cell;
        target_s: Number;
        last_s: Number;
        backlog: Number;
        uncaptured: Word;
    }

    /// Counters of the watched database and its server.
    Counters of Database {
        now_epoch: Number;
        postmaster_start: Number;
        stats_reset: Number;
        in_recovery: Flag;
        replay_lag_s: Number;
        xmin: Int;
        xmax: Int;
        xact_commit: Number;
        xact_rollback: Number;
        deadlocks: Number;
        wal_lsn_bytes: Number;
        blks_hit: Number;
        blks_read: Number;
        numbackends_all: Number;
        usable_connections: Number;
        max_connections: Number;
    }

    /// Sessions with the same attributes, counted.
    SessionCount of Sessions {
        datname: Word;
        usename: Word;
        application_name: Word;
        state: Word;
        waiting: Flag;
        n: Int;
    }

    /// Facts about the server and the current role's privileges.
    Fact of Facts {
        server_version_num: Int;
        server_version: Word;
        current_database: Word;
        current_user: Word;
        pg_monitor: Flag;
        in_recovery: Flag;
        max_parallel_workers: Int;
        pgss_schema: Word;
        system_identifier: Word;
    }

    /// The extension that some statements read.
    Extension of Extensions {
        pgss_version: Word;
        pgss_schema: Word;
    }

    /// A relation that some panel needs.
    Need of Needs {
        name: Word;
        found: Flag;
        readable: Flag;
        stranger: Word;
    }

    /// A session that holds a table of the point query in ACCESS EXCLUSIVE mode, or waits for that.
    PointLock of PointLocks {
        pid: Int;
        application_name: Word;
        datname: Word;
        state: Word;
        granted: Flag;
        schemaname: Word;
        relname: Word;
        quoted: Word;
        ended_s: Number;
    }

    /// Temporary files of a backend.
    TempFiles of TempFiles {
        pid: Int;
        bytes: Number;
    }

    /// Reads and writes of one kind of work.
    Io of Io {
        backend_type: Word;
        context: Word;
        evictions: Number;
    }

    /// WAL, checkpoints and the archiver.
    Wal of Wal {
        now_epoch: Number;
        checkpoints_timed: Number;
        checkpoints_requested: Number;
        checkpoint_write_ms: Number;
        checkpoint_sync_ms: Number;
        buffers_checkpoint: Number;
        last_checkpoint_s: Number;
        wal_lsn_bytes: Number;
        checkpoint_timeout_s: Number;
        max_wal_size_bytes: Number;
        forced_every_s: Number;
        bytes_per_checkpoint: Number;
        archive_failing: Flag;
        archive_failed: Number;
        archive_failed_wal: Word;
        last_failed_s: Number;
        last_archived_s: Number;
    }

    /// Ages of the oldest ids of a database.
    Wraparound of Wraparound {
        datname: Word;
        frozen_age: Number;
        mxid_age: Number;
        xid_left: Number;
    }

    /// A replica, a slot, or this server as a standby.
    Replication of Replication {
        kind: Word;
        name: Word;
        pid: Int;
        client: Cell;
        state: Word;
        active: Flag;
        lasting: Flag;
        head_bytes: Int;
        lag_bytes: Int;
        lag_s: Number;
        retained_bytes: Number;
        wal_status: Word;
        safe_wal_bytes: Number;
        xmin_age: Cell;
        restricted: Flag;
        wanted: Flag;
        replay_paused: Flag;
        restores: Flag;
        replayed_s: Number;
        down_s: Cell;
        grown_bytes: Number;
        gone_s: Number;
    }

    /// A sequence that is at least half used up.
    Sequence of Sequences {
        sequence: Word;
        used_pct: Number;
        last_value: Number;
        most: Number;
        by_column: Flag;
        column_name: Word;
        type_name: Word;
        statement: Word;
    }

    /// Sums of a statement in pg_stat_statements.
    Statement of Statements {
        now_epoch: Number;
        usename: Word;
        query: Word;
        calls: Number;
        mean_ms: Number;
        total_calls: Number;
        total_exec_ms: Number;
        m2: Number;
        rows: Number;
        total_rows: Number;
        total_blocks: Number;
        stats_since: Number;
    }

    /// Sums of all statements of a role.
    StatementTotal of StatementTotals {
        usename: Word;
        class: Word;
        calls: Number;
        total_exec_ms: Number;
    }

    /// A statement whose text tells more than its role.
    StatementKind of StatementKinds {
        usename: Word;
        queryid: Word;
        own: Flag;
        query: Word;
    }

    /// Sessions with the same wait in one sample.
    WaitSample of Waits {
        usename: Word;
        application_name: Word;
        datname: Word;
        backend_type: Word;
        wait_event_type: Word;
        wait_event: Word;
        query: Word;
        n: Int;
    }

    /// Waits of the sessions of a class, over a minute.
    Wait of Waits {
        class: Word;
        wait: Word;
        share_pct: Number;
        sessions: Number;
        query: Word;
    }

    /// Sales of an hour.
    HourlySales of HourlySales {
        sales: Number;
    }

    /// A row that is about one backend.
    OfBackend of BackendLocks, BackendQuery, BackendStatement, Progress {
        pid: Int;
    }

    /// The whole text of a backend's statement.
    BackendQuery of BackendQuery {
        pid: Int;
        query: Word;
    }

    /// A lock that a backend holds or waits for.
    BackendLock of BackendLocks {
        pid: Int;
        granted: Flag;
        mode: Word;
        target: Word;
        wait_s: Number;
        n: Int;
    }

    /// Progress of a long command.
    Progress of Progress {
        pid: Int;
        command: Word;
        relation: Word;
        phase: Word;
        pct: Number;
        extra: Word;
    }
}
