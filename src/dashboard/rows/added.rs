//! The columns that derivations add to what the server tells; behind the semicolon those whose cells they replace.

use super::adds;

adds! {
    /// What is worked out of backends.
    ToActivity to Activity { class, wait, blocks, harm; }

    /// What is worked out of waits for locks.
    ToLocks to Locks { tree, class, frees; }

    /// What is worked out of holders of the horizon.
    ToSnapshots to Snapshots { class, age_least_s, pins; age_s }

    /// What is worked out of tables.
    ToBloat to Bloat { in_vain, held_by; }

    /// How many dead rows of tables wait for the holder of the horizon.
    Waiting to Bloat { waiting; }

    /// How much of tables is read by sequential scans.
    Scans to Bloat { seq_scans_per_s, seq_rows_per_s; }

    /// The estimate of the bloat of tables.
    BloatOfTables to Bloat { bloat_bytes, bloat_pct; }

    /// The estimate of the bloat of indexes.
    BloatOfIndexes to Indexes { bloat_bytes, bloat_pct; }

    /// What is worked out of views.
    ToViews to Views {
        fresh_s, source, target_s, target_own, late, last_s, mode, kind, backlog, state, refresh_share, uncaptured,
        checked_s;
    }

    /// What the server told of an extension besides its other facts.
    ToFacts to Facts { pgss_version, pgss_schema; }

    /// When the locks of the point query ended.
    ToPointLocks to PointLocks { ended_s; }

    /// What is worked out of WAL and checkpoints.
    ToWal to Wal { wal_bytes_per_s, forced_every_s, bytes_per_checkpoint; }

    /// When transaction ids run out.
    ToWraparound to Wraparound { left_s; }

    /// What is worked out of replicas, slots and the receiver.
    ToReplication to Replication { down_s, grown_bytes, gone_s; kind, name, client, state, active, lag_s }

    /// What statements did in the interval.
    ToStatements to Statements { class, share_pct, mean_ms, sd_ms, rows_per_call; }

    /// What sessions have waited for.
    Waits to Waits { class, wait, share_pct, sessions, minute; query }
}
