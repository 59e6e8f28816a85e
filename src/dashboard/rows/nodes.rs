//! The columns of nodes that code reads, as in [`super::read`].

use super::{Cell, Flag, Int, Number, Word, reads};

reads! {
    /// This server, as one of the nodes.
    Here of Nodes {
        in_recovery: Flag;
        version: Cell;
        started_us: Int;
        head_bytes: Int;
        sessions: Cell;
    }

    /// The OLAP pool's own server.
    OlapServer of NodeReplica {
        in_recovery: Flag;
        version: Cell;
        started_us: Int;
        system: Word;
        paused: Flag;
        replayed_bytes: Int;
        caught_up: Flag;
        replay_age_s: Number;
        receives: Flag;
        slot_name: Word;
        set_slot_name: Word;
        restores: Flag;
        feedback: Cell;
        address: Word;
        sessions: Cell;
        by_snapshot: Int;
        by_lock: Int;
        by_bufferpin: Int;
        by_deadlock: Int;
        by_tablespace: Int;
    }

    /// The last heartbeat on the OLAP pool's own server.
    Beat of NodeBeat {
        seq: Int;
    }

    /// The heartbeats that it lacks.
    Lack of Heartbeat {
        newest_ms: Number;
        missing_ms: Number;
    }

    /// A router's report.
    Router of Routing {
        instance: Word;
        reported_epoch: Number;
        routed: Word;
        fallbacks: Word;
        misroutes: Int;
        breaker: Word;
        barred: Word;
        breaker_s: Number;
    }

    /// A node.
    Node of Nodes {
        name: Word;
        state: Word;
        slot: Word;
        application_name: Word;
        pid: Int;
        olap: Flag;
        streams: Flag;
        lag_bytes: Number;
        lag_ms: Number;
        retained_bytes: Number;
        fallbacks_per_s: Number;
        routers: Int;
        open_breakers: Int;
        barred: Word;
        breaker_s: Number;
        since_s: Cell;
        error: Word;
    }
}
