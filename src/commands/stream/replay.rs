//! `htap-top stream replay`.

use super::trail::Trail;
use super::{Kafka, failure};
use crate::commands::options::Server;
use crate::commands::{FAILURE, Failure, MISSED, block_on, interrupted, print, target};
use crate::format;
use crate::stream::aggregator::replay::{Comparison, Counted, From, Plan, replay};
use clap::Args;
use serde::Serialize;
use serde_json::json;
use std::io::Write as _;

/// Options of `stream replay`.
#[derive(Clone, Debug, Args)]
pub(in crate::commands) struct Options {
    /// The server.
    #[command(flatten)]
    server: Server,
    /// The topic.
    #[command(flatten)]
    kafka: Kafka,
    /// beginning, an offset in every partition, or offsets by partition, such as 0:1200,3:950
    #[arg(long, value_name = "OFFSET", default_value = "beginning", value_parser = parse_from)]
    from: From,
    /// Table to fill: mart.replay, or mart.replay_ and a name; one of an earlier replay is replaced
    #[arg(long, value_name = "TABLE", default_value = "mart.replay", value_parser = parse_shadow)]
    into: String,
}

fn parse_from(text: &str) -> Result<From, String> {
    let wrong = || "expected beginning, an offset, or PARTITION:OFFSET,…".to_owned();
    let offset = |text: &str| {
        let offset = text.parse().ok().filter(|offset| *offset >= 0);
        offset.ok_or_else(wrong)
    };
    if text == "beginning" {
        return Ok(From::Beginning);
    }
    if !text.contains(':') {
        return Ok(From::Offset(offset(text)?));
    }
    let pairs = text.split(',').map(|pair| {
        let (partition, at) = pair.split_once(':').ok_or_else(wrong)?;
        let partition = partition.parse().map_err(|_| wrong())?;
        Ok((partition, offset(at)?))
    });
    Ok(From::Offsets(pairs.collect::<Result<_, String>>()?))
}

/// Returns the table's name without its schema.
fn parse_shadow(text: &str) -> Result<String, String> {
    let name = text.strip_prefix("mart.").unwrap_or_default();
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let rest = name.strip_prefix("replay").unwrap_or("!");
    let fits = rest.is_empty() || rest.starts_with('_') && (2..=51).contains(&rest.len());
    if fits && rest.chars().all(allowed) {
        return Ok(name.to_owned());
    }
    Err(
        "expected mart.replay, or mart.replay_ and small letters, digits and underscores"
            .to_owned(),
    )
}

/// Lines of the audit file.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Note<'a> {
    StreamReplay {
        topic: &'a str,
        from: String,
        into: String,
    },
    Replayed {
        equal: bool,
        only_live: i64,
        only_replayed: i64,
    },
    Interrupted,
    Failed(String),
}

/// Replays and compares.
pub(super) fn run(options: &Options) -> Result<(), Failure> {
    let target = target(&options.server, "htap-top stream replay")?;
    let plan = Plan {
        broker: options.kafka.broker(),
        from: options.from.clone(),
        shadow: options.into.clone(),
    };
    let trail = Trail::begin(
        &target,
        &Note::StreamReplay {
            topic: &plan.broker.topic,
            from: begins(&plan.from),
            into: format!("mart.{}", plan.shadow),
        },
    )?;
    let json = options.kafka.format == "json";
    let replayed = block_on(async {
        let mut stop = std::pin::pin!(interrupted()?);
        let replaying = Box::pin(replay(&target, &plan, |counted| {
            let _ = writeln!(std::io::stderr(), "{} …", told(counted));
        }));
        Ok(tokio::select! {
            replayed = replaying => Some(replayed),
            () = &mut stop => None,
        })
    })?;
    match replayed {
        None => {
            trail.end(&Note::Interrupted)?;
            let what = format!("interrupted: mart.{} is incomplete", plan.shadow);
            Err(Failure::new(FAILURE, what))
        }
        Some(Err(error)) => {
            trail.end(&Note::Failed(error.to_string()))?;
            Err(failure(error))
        }
        Some(Ok((counted, comparison))) => {
            trail.end(&Note::Replayed {
                equal: comparison.is_equal(),
                only_live: comparison.only_live,
                only_replayed: comparison.only_replayed,
            })?;
            let text = if json {
                as_json(&plan, &counted, &comparison)
            } else {
                as_text(&plan, &counted, &comparison)
            };
            print(text.as_bytes())?;
            if comparison.live_rows == 0 && comparison.replayed_rows == 0 {
                let why = "nothing was compared: no window begins after what the replay lacks; choose an earlier --from";
                return Err(Failure::new(FAILURE, why));
            }
            if comparison.is_equal() {
                return Ok(());
            }
            Err(Failure::new(
                MISSED,
                format!("mart.realtime_stream differs from mart.{}", plan.shadow),
            ))
        }
    }
}

fn begins(from: &From) -> String {
    match from {
        From::Beginning => "beginning".to_owned(),
        From::Offset(offset) => offset.to_string(),
        From::Offsets(offsets) => {
            let pairs = offsets.iter().map(|(number, at)| format!("{number}:{at}"));
            pairs.collect::<Vec<_>>().join(",")
        }
    }
}

fn told(counted: &Counted) -> String {
    let count = |number: u64| format::count(number as f64);
    format!(
        "{} records: {} events that change windows, {} duplicates; put aside {} dead letters, {} late",
        count(counted.records),
        count(counted.events),
        count(counted.duplicates),
        count(counted.dead_letters),
        count(counted.late_events),
    )
}

fn as_text(plan: &Plan, counted: &Counted, comparison: &Comparison) -> String {
    let mut lines = vec![told(counted)];
    lines.extend(comparison.since.as_ref().map(|since| {
        format!("compared from {since} on: earlier windows hold events before the first offset")
    }));
    lines.push(format!(
        "mart.realtime_stream: {} rows, {} of them only there; mart.{}: {} rows, {} of them only there",
        comparison.live_rows,
        comparison.only_live,
        plan.shadow,
        comparison.replayed_rows,
        comparison.only_replayed,
    ));
    lines.extend(comparison.differences.iter().map(|difference| {
        let place = if difference.replayed {
            &plan.shadow
        } else {
            "realtime_stream"
        };
        format!("only in mart.{place}: {}", difference.row.escape_debug())
    }));
    let shown = i64::try_from(comparison.differences.len()).unwrap_or(0);
    let more = comparison.only_live + comparison.only_replayed - shown;
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    if comparison.is_equal() && comparison.live_rows > 0 {
        lines.push("equal".to_owned());
    }
    lines.join("\n") + "\n"
}

fn as_json(plan: &Plan, counted: &Counted, comparison: &Comparison) -> String {
    let differences = comparison
        .differences
        .iter()
        .map(|difference| json!({"replayed": difference.replayed, "row": difference.row}));
    let told = json!({
        "into": format!("mart.{}", plan.shadow), "from": begins(&plan.from), "since": comparison.since,
        "records": counted.records, "events": counted.events, "duplicates": counted.duplicates,
        "dead_letters": counted.dead_letters, "late_events": counted.late_events,
        "equal": comparison.is_equal(), "live_rows": comparison.live_rows, "replayed_rows": comparison.replayed_rows,
        "only_live": comparison.only_live, "only_replayed": comparison.only_replayed,
        "differences": differences.collect::<Vec<_>>(),
    });
    format!("{told}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_and_tables_are_read() {
        assert_eq!(parse_from("beginning"), Ok(From::Beginning));
        assert_eq!(parse_from("12"), Ok(From::Offset(12)));
        let by_partition = From::Offsets([(0, 5), (3, 0)].into());
        assert_eq!(parse_from("0:5,3:0"), Ok(by_partition));
        for wrong in ["", "-1", "end", "1:", "1:2,", "a:1", "1:-2"] {
            assert!(parse_from(wrong).is_err(), "{wrong}");
        }
        assert_eq!(parse_shadow("mart.replay"), Ok("replay".to_owned()));
        assert_eq!(parse_shadow("mart.replay_2"), Ok("replay_2".to_owned()));
        for wrong in [
            "replay",
            "mart.realtime_stream",
            "mart.replay_",
            "mart.replays",
            "mart.replay_A",
        ] {
            assert!(parse_shadow(wrong).is_err(), "{wrong}");
        }
    }
}
