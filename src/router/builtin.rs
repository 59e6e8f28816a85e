//! Properties of PostgreSQL's own functions beyond their volatility. They apply to the schema pg_catalog only: a
//! function of the same name elsewhere is judged by its own volatility.

/// Functions that are volatile but work the same on a read-only server: they change nothing, not even their session,
/// and their result does not reveal which server answered.
const HARMLESS: [&str; 23] = [
    "array_sample",
    "array_shuffle",
    // Sampling methods for TABLESAMPLE.
    "bernoulli",
    "system",
    "clock_timestamp",
    "current_query",
    "gen_random_uuid",
    "pg_partition_ancestors",
    "pg_partition_tree",
    // Replicas have the same files.
    "pg_database_size",
    "pg_indexes_size",
    "pg_relation_size",
    "pg_table_size",
    "pg_tablespace_size",
    "pg_total_relation_size",
    // These delay only their own session.
    "pg_sleep",
    "pg_sleep_for",
    "pg_sleep_until",
    "random",
    "random_normal",
    "timeofday",
    "uuidv4",
    "uuidv7",
];

/// Functions that are not volatile, but whose result depends on one server, session or transaction, or that need a
/// transaction ID, which a standby cannot assign.
const OF_ONE_SERVER: [&str; 24] = [
    "inet_server_addr",
    "inet_server_port",
    "inet_client_addr",
    "inet_client_port",
    "pg_backend_pid",
    "pg_conf_load_time",
    "pg_config",
    "pg_current_snapshot",
    "pg_current_xact_id",
    "pg_current_xact_id_if_assigned",
    "pg_cursor",
    "pg_get_replication_slots",
    "pg_listening_channels",
    "pg_my_temp_schema",
    "pg_postmaster_start_time",
    "pg_prepared_statement",
    "pg_show_all_settings",
    "pg_tablespace_location",
    "pg_available_extensions",
    "pg_available_extension_versions",
    "pg_extension_update_paths",
    "txid_current",
    "txid_current_if_assigned",
    "txid_current_snapshot",
];

/// Functions that are not volatile but run code that the router does not see: a view that they read may write, and so
/// may the check of a domain given by its OID or name.
const HIDING: [&str; 16] = [
    "array_in",
    "domain_in",
    "multirange_in",
    "pg_input_error_info",
    "pg_input_is_valid",
    "range_in",
    "record_in",
    "database_to_xml",
    "database_to_xml_and_xmlschema",
    "database_to_xmlschema",
    "schema_to_xml",
    "schema_to_xml_and_xmlschema",
    "schema_to_xmlschema",
    "table_to_xml",
    "table_to_xml_and_xmlschema",
    "table_to_xmlschema",
];

/// System views that only read catalogue tables, which are replicated. The others describe a single server.
const REPLICATED_VIEWS: [&str; 18] = [
    "pg_group",
    "pg_indexes",
    "pg_matviews",
    "pg_policies",
    "pg_publication_tables",
    "pg_roles",
    "pg_rules",
    "pg_seclabels",
    "pg_shadow",
    "pg_stats",
    "pg_stats_ext",
    "pg_stats_ext_exprs",
    "pg_tables",
    "pg_timezone_abbrevs",
    "pg_timezone_names",
    "pg_user",
    "pg_user_mappings",
    "pg_views",
];

/// Settings that clients use to find out if they are connected to the primary.
const SETTINGS_OF_ONE_SERVER: [&str; 4] = [
    "default_transaction_read_only",
    "in_hot_standby",
    "transaction_read_only",
    "primary_conninfo",
];

/// Functions that count as harmless if no server can be asked: those of everyday reports.
const EVERYDAY: &str = "\
abs age array_agg array_append array_length array_position array_to_string avg bit_and bit_or bool_and \
bool_or btrim cardinality ceil ceiling char_length coalesce concat concat_ws corr count cume_dist \
current_date current_time current_timestamp current_user date date_bin date_part date_trunc decode \
dense_rank div encode every exp extract first_value floor format generate_series greatest grouping \
initcap isfinite json_agg json_build_array json_build_object json_object_agg jsonb_agg \
jsonb_array_elements jsonb_build_array jsonb_build_object jsonb_each jsonb_object_agg lag last_value lead \
least left length ln localtime localtimestamp log lower lpad ltrim make_date make_interval \
make_timestamptz max md5 min mod mode normalize now nth_value ntile nullif num_nonnulls num_nulls \
octet_length overlay percent_rank percentile_cont percentile_disc position power quote_ident \
quote_literal rank regexp_match regexp_matches regexp_replace regexp_split_to_array \
regexp_split_to_table regr_slope repeat replace reverse right round row row_number row_to_json rpad \
rtrim session_user setweight sign split_part sqrt statement_timestamp stddev stddev_pop stddev_samp \
string_agg string_to_array strpos substr substring sum timezone to_char to_date to_json to_jsonb \
to_number to_timestamp to_tsquery to_tsvector transaction_timestamp translate trim trunc unnest upper \
user var_pop var_samp variance width_bucket";

/// Routing class of a function of pg_catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nature {
    /// Routed by its volatility.
    AsDeclared,
    /// Declared volatile, but harmless.
    Harmless,
    /// The result depends on one server.
    OfOneServer,
    /// It runs statements of its own.
    Hiding,
}

/// Returns the routing class of the function of pg_catalog with this name.
pub(crate) fn nature(name: &str) -> Nature {
    if HARMLESS.contains(&name) {
        Nature::Harmless
    } else if OF_ONE_SERVER.contains(&name) || name.starts_with("pg_stat_get_") {
        Nature::OfOneServer
    } else if HIDING.contains(&name) {
        Nature::Hiding
    } else {
        Nature::AsDeclared
    }
}

/// Returns true if a view of pg_catalog has the same content on every server.
pub(crate) fn is_replicated_view(name: &str) -> bool {
    REPLICATED_VIEWS.contains(&name)
}

/// Returns true if a setting distinguishes the primary from a standby.
pub(crate) fn tells_servers_apart(setting: &str) -> bool {
    SETTINGS_OF_ONE_SERVER.contains(&setting)
}

/// Returns true if a function is so common that it counts as PostgreSQL's own if no server can be asked.
pub(crate) fn is_everyday(name: &str) -> bool {
    nature(name) == Nature::Harmless || EVERYDAY.split(' ').any(|known| known == name)
}
