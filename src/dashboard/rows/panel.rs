//! Panels that code refers to by name.

/// Declares the panels: the name of each file below `queries`.
macro_rules! panels {
    ($($panel:ident = $name:literal,)+) => {
        /// A built-in panel or feed that code refers to. A panel that only shows its rows has no entry here.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Panel {
            $(
                #[doc = concat!("The file `", $name, ".sql`.")]
                $panel,
            )+
        }

        impl Panel {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$panel),+];

            /// Returns the name of its file, without extension.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$panel => $name,)+
                }
            }
        }
    };
}

panels! {
    Activity = "activity",
    BackendLocks = "backend_locks",
    BackendQuery = "backend_query",
    BackendStatement = "backend_statement",
    Bloat = "bloat",
    BloatEstimate = "bloat_estimate",
    Canary = "canary",
    CanaryShop = "canary_shop",
    Columnar = "columnar",
    Database = "database",
    Extensions = "extensions",
    Facts = "facts",
    Host = "host",
    HostProcesses = "host_processes",
    HostServer = "host_server",
    Heartbeat = "heartbeat",
    HourlySales = "hourly_sales",
    IndexBloatEstimate = "index_bloat_estimate",
    Indexes = "indexes",
    Io = "io",
    Locks = "locks",
    Needs = "needs",
    NodeBeat = "node_beat",
    NodeHost = "node_host",
    NodeHostProcesses = "node_host_processes",
    NodeHostServer = "node_host_server",
    NodeReplica = "node_replica",
    Nodes = "nodes",
    PointLocks = "point_locks",
    Pooler = "pooler",
    PoolerClients = "pooler_clients",
    PoolerDatabases = "pooler_databases",
    PoolerServers = "pooler_servers",
    PoolerStats = "pooler_stats",
    PoolerVersion = "pooler_version",
    Progress = "progress",
    Replication = "replication",
    RfmSegments = "rfm_segments",
    Routing = "routing",
    Sequences = "sequences",
    Sessions = "sessions",
    Settings = "settings",
    Snapshots = "snapshots",
    StatementKinds = "statement_kinds",
    StatementTotals = "statement_totals",
    Statements = "statements",
    StreamWindows = "stream_windows",
    Stream = "stream",
    Summaries = "summaries",
    Tables = "tables",
    TempFiles = "temp_files",
    TopCategories = "top_categories",
    Timeline = "timeline",
    Vacuum = "vacuum",
    Views = "views",
    Waits = "waits",
    Wal = "wal",
    Wraparound = "wraparound",
}

impl Panel {
    /// Returns the panel called `name`, if code refers to it.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|panel| panel.name() == name)
    }
}
