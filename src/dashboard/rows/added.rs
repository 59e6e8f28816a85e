//! The columns that derivations add to the server's answers; after a semicolon, those whose cells they replace; after
//! another, those that only have to be there, because rows from another answer bring their cells along.

use super::adds;

adds! {
    /// Derived columns of backends.
    ToActivity to Activity { class, wait, blocks, harm; }

    /// Derived columns of lock waits.
    ToLocks to Locks { tree, class, frees; }

    /// Derived columns of holders of the horizon.
    ToSnapshots to Snapshots { class, age_least_s, pins; age_s }

    /// Derived columns of tables.
    ToBloat to Bloat { in_vain, held_by; }

    /// The dead rows of tables kept by the holder of the horizon.
    Waiting to Bloat { waiting; }

    /// The rate of sequential scans of tables.
    Scans to Bloat { seq_scans_per_s, seq_rows_per_s; }

    /// The estimate of the bloat of tables.
    BloatOfTables to Bloat { bloat_bytes, bloat_pct; }

    /// The estimate of the bloat of indexes.
    BloatOfIndexes to Indexes { bloat_bytes, bloat_pct; }

    /// Derived columns of views.
    ToViews to Views {
        fresh_s, source, target_s, target_own, late, last_s, mode, kind, state, refresh_share; ;
        backlog, uncaptured, checked_s
    }

    /// Facts about an extension, added to the server's other facts.
    ToFacts to Facts { pgss_version, pgss_schema; }

    /// Who uses the machine.
    ToHost to Host {
        who, cpu_pct, share_pct, user_pct, system_pct, running, memory_bytes, read_bytes_per_s, write_bytes_per_s,
        processes, busy_pct, cores, steal_pct, iowait_pct, load_1m, load_5m, load_15m, memory_total_bytes, disk, disk_busy_pct,
        data_bytes, data_left_bytes, wal_bytes, wal_left_bytes;
    }

    /// A backend's use of the machine.
    ToHosted to Activity { cpu_pct, memory_bytes, read_bytes_per_s, write_bytes_per_s; }

    /// The client behind a pooler's server connection.
    ToPooled to Activity { pooler_client; }

    /// Derived columns of nodes.
    ToNodes to Nodes {
        name, role, state, since_s, error, lag_bytes, lag_ms, lag_by, routed_per_s, why, fallbacks_per_s, fallback_reasons,
        breaker, barred, breaker_s, open_breakers, routers, misroutes, slot, retained_bytes, wal_status, safe_wal_bytes,
        xmin_age, feedback, conflicts, conflicts_snapshot, conflicts_lock, conflicts_bufferpin, conflicts_deadlock,
        conflicts_tablespace, cpu_pct, cpu_by, dead_kept, address, application_name, pid, streams, olap, known_by; version, sessions, in_recovery,
        started_us, head_bytes
    }

    /// Derived columns of the pooler's pools.
    ToPooler to Pooler {
        wait_s, pool_size, paused, xacts_per_s, queries_per_s, received_bytes_per_s, sent_bytes_per_s,
        mean_wait_ms, mean_query_ms;
    }

    /// The end of the point query's locks.
    ToPointLocks to PointLocks { ended_s; }

    /// Derived columns of WAL and checkpoints.
    ToWal to Wal { wal_bytes_per_s, forced_every_s, bytes_per_checkpoint; }

    /// The time left until transaction ids run out.
    ToWraparound to Wraparound { left_s; }

    /// Derived columns of replicas, slots and the receiver.
    ToReplication to Replication { down_s, grown_bytes, gone_s; kind, name, client, state, active, lag_s }

    /// The work of statements in the interval.
    ToStatements to Statements { class, share_pct, mean_ms, sd_ms, rows_per_call; }

    /// The difference of statements to those before the moment marked.
    ToComparedStatements to Statements { calls_change, mean_change_ms; }

    /// The difference of tables to the moment marked.
    ToComparedTables to Bloat { dead_change, size_change_bytes; }

    /// Bars of the timeline.
    Bars to Timeline { lane, began, began_ms, lasted_s, goes_on, class, pid, name; }

    /// Waits of sessions.
    Waits to Waits { class, wait, share_pct, sessions, minute; query }
}
