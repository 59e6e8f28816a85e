//! The columns of the pooler that code reads, as in [`super::read`].

use super::{Cell, Flag, Int, Number, Word, reads};

reads! {
    /// A pool of the pooler: a database and a user.
    ClientPool of Pooler {
        database: Word;
        user: Word;
        pool_mode: Word;
        cl_waiting: Int;
        sv_active: Int;
        sv_idle: Int;
        sv_used: Int;
        sv_tested: Int;
        sv_login: Int;
        maxwait: Number;
        maxwait_us: Number;
        wait_s: Number;
        pool_size: Int;
        paused: Flag;
    }

    /// The rates of a database of the pooler.
    ClientRates of PoolerStats {
        database: Word;
        total_xact_count: Cell;
        total_query_count: Cell;
        total_received: Cell;
        total_sent: Cell;
        total_query_time: Cell;
        total_wait_time: Cell;
    }

    /// A database of the pooler's configuration.
    PooledDatabase of PoolerDatabases {
        name: Word;
        database: Word;
        force_user: Word;
        pool_size: Int;
        max_connections: Int;
        current_connections: Int;
        paused: Int;
        disabled: Int;
    }

    /// A connection from the pooler to a server.
    ServerConnection of PoolerServers {
        database: Word;
        user: Word;
        addr: Word;
        port: Int;
        local_port: Int;
        ptr: Word;
        link: Word;
        remote_pid: Int;
    }

    /// A client of the pooler that has a server connection.
    LinkedClient of PoolerClients {
        addr: Word;
        port: Int;
        ptr: Word;
        link: Word;
        application_name: Word;
    }

    /// The pooler's version.
    PoolerVersion of PoolerVersion {
        version: Word;
    }
}
