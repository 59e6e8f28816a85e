//! Claims about keeping reports away from transactions: by limits on the same server, and by a replica.

use super::{Line, line, of};
use crate::bench::isolation::ISOLATION;
use crate::bench::replica::{OWN_WRITES_ASYNCHRONOUS, OWN_WRITES_SYNCHRONOUS};
use crate::bench::store::Store;
use crate::format;

/// Returns the rows of the experiments `isolation` and `replica`.
pub(super) fn lines(store: &Store) -> Vec<Line> {
    let mut lines: Vec<Line> = ISOLATION
        .variants
        .iter()
        .map(|variant| {
            let claim = match *variant {
                "cgroup weight 25%" => "cpu.shares = 512 is a limit of 50 %",
                _ => "",
            };
            let what = format!("full machine, reports in parallel: {variant}");
            line(ISOLATION.section, what, claim, isolated(store, variant))
        })
        .collect();
    for (variant, claim) in [
        (
            "on the primary",
            "a scan blocks writes, performance drops by 50 % and more",
        ),
        (
            "on the replica, feedback off",
            "does not block the primary's writes",
        ),
        ("on the replica, feedback on", ""),
    ] {
        let what = format!("1,000 transactions/s, reports and long snapshots {variant}");
        lines.push(line("10", what, claim, loaded(store, variant)));
    }
    for variant in [OWN_WRITES_SYNCHRONOUS, OWN_WRITES_ASYNCHRONOUS] {
        let what = format!("replica: {variant}");
        lines.push(line("8.1", what, "", own_writes(store, variant)));
    }
    lines
}

fn isolated(store: &Store, variant: &str) -> Option<String> {
    let get = |name| of(store, "isolation", variant, name);
    Some(format!(
        "OLAP {:.2} processors, {:.1} reports/s; OLTP {:.0}/s, P50 {}, P99 {}",
        get("olap_cores")?,
        get("olap_done_per_s")?,
        get("oltp_done_per_s")?,
        format::ms(get("oltp_ms_p50")?),
        format::ms(get("oltp_ms_p99")?),
    ))
}

fn loaded(store: &Store, variant: &str) -> Option<String> {
    let get = |name| of(store, "replica", variant, name);
    Some(format!(
        "OLTP P99 {}; freshness P50 {}, P99 {}; {:.0} of {:.0} long snapshots cancelled; up to {} dead rows in the stock",
        format::ms(get("oltp_ms_p99")?),
        format::ms(get("freshness_ms_p50")?),
        format::ms(get("freshness_ms_p99")?),
        get("long_reads_cancelled")?,
        get("long_reads")? + get("long_reads_cancelled")?,
        format::count(get("inventory_dead_max")?),
    ))
}

fn own_writes(store: &Store, variant: &str) -> Option<String> {
    let get = |name| of(store, "replica", variant, name);
    Some(format!(
        "{:.0} % waited, P50 {}, P99 {}; {:.1} % went to the primary; {:.0} of {:.0} stale",
        get("waited_pct")?,
        format::ms(get("wait_ms_p50")?),
        format::ms(get("wait_ms_p99")?),
        get("not_caught_up_pct")?,
        get("stale")?,
        get("trials")?,
    ))
}
