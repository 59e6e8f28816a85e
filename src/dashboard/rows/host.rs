//! The columns of the host that code reads, as in [`super::read`].

use super::{Flag, Int, Number, Word, reads};

reads! {
    /// A file of /proc.
    HostFile of Host, NodeHost {
        pid: Int;
        file: Word;
        content: Word;
    }

    /// A process that is worth reading.
    HostProcess of HostProcesses, NodeHostProcesses {
        pid: Int;
        leader_pid: Int;
        datname: Word;
        usename: Word;
        application_name: Word;
        backend_type: Word;
        query: Word;
        started_s: Number;
    }

    /// Access to the machine's figures.
    HostServer of HostServer, NodeHostServer {
        data_directory: Word;
        installed: Flag;
        executable: Flag;
        owner: Word;
    }

    /// Use of the machine by a class of work, and figures of the machine itself.
    HostUse of Host {
        who: Word;
        busy_pct: Number;
        share_pct: Number;
        cpu_pct: Number;
        memory_bytes: Number;
        memory_total_bytes: Number;
        cores: Int;
        load_1m: Number;
        disk: Word;
        disk_busy_pct: Number;
        data_bytes: Number;
        data_left_bytes: Number;
        wal_bytes: Number;
        wal_left_bytes: Number;
    }
}
