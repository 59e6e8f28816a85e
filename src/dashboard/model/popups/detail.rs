//! The detail of a row; for a backend also its waits, locks and blockers.

use super::pair;
use crate::dashboard::action::WRITING_AUDIT;
use crate::dashboard::feed::{Feed, Room};
use crate::dashboard::model::{Detail, Model, Plan, Watched};
use crate::dashboard::rows::{Panel, Row, Rows, Text, read};
use crate::dashboard::widgets::Entry;
use crate::format;
use crate::keys::Keymap;

/// The field with the text of a statement.
const STATEMENT: &str = "query";
/// Maximum number of locks listed; the others are counted.
const LOCKS: usize = 30;

pub(super) fn entries<'a>(model: &'a Model, detail: &'a Detail) -> Vec<Entry<'a>> {
    let mut entries = Vec::new();
    if let Some(gone) = detail.gone {
        let gone = format::time_of_day(gone.epoch_ms as f64 / 1000.0, model.start.utc_offset_s);
        entries.push(Entry::Warning(
            format!("No longer in the panel since {gone}; these are the last values seen.").into(),
        ));
    }
    let (lead, rest) = detail
        .fields
        .split_at_checked(detail.lead)
        .unwrap_or((&detail.fields, &[]));
    fields(&mut entries, lead, whole_text(model, detail));
    for (head, lines) in &detail.lists {
        list(&mut entries, head.clone(), lines.iter().cloned());
    }
    if let Some(watched) = &detail.watched {
        waits(&mut entries, watched);
        workers(&mut entries, model, watched);
        locks(&mut entries, model, watched);
        progress(&mut entries, model, watched);
    }
    plan(&mut entries, detail, &model.config.keys);
    if let Some(watched) = &detail.watched {
        statistics(&mut entries, model, watched);
        entries.push(Entry::Blank);
        entries.push(Entry::Head("Other columns".into()));
    }
    fields(&mut entries, rest, None);
    entries
}

fn fields<'a>(
    entries: &mut Vec<Entry<'a>>,
    fields: &'a [(String, String)],
    statement: Option<&'a str>,
) {
    entries.extend(fields.iter().map(|(name, text)| {
        // The panel holds only the beginning of the text.
        let beginning = text.strip_suffix('…').filter(|_| name == STATEMENT);
        let whole = statement.filter(|all| beginning.is_some_and(|begun| all.starts_with(begun)));
        Entry::Pair(name.as_str().into(), whole.unwrap_or(text).into())
    }));
}

/// The text of a backend's statement, as far as known.
fn whole_text<'a>(model: &'a Model, detail: &Detail) -> Option<&'a str> {
    let watched = detail.watched.as_ref()?;
    let mut told = Rows::<read::BackendQuery>::of(model.rows(Panel::BackendQuery)).iter();
    let row = told.find(|row| row.pid() == Some(watched.pid))?;
    row.query().text()
}

fn list(
    entries: &mut Vec<Entry<'_>>,
    head: String,
    lines: impl IntoIterator<Item = (String, String)>,
) {
    entries.push(Entry::Blank);
    entries.push(Entry::Head(head.into()));
    entries.extend(lines.into_iter().map(|(left, right)| pair(left, right)));
}

fn waits(entries: &mut Vec<Entry<'_>>, watched: &Watched) {
    let mut waits: Vec<(&String, &u32)> = watched.waits.iter().collect();
    waits.sort_by(|a, b| b.1.cmp(a.1).then_with(|| a.0.cmp(b.0)));
    let samples = watched.samples.max(1);
    let lines = waits.into_iter().map(|(wait, n)| {
        let share = f64::from(*n) / f64::from(samples) * 100.0;
        (format!("{share:.0} %"), wait.clone())
    });
    let plural = if watched.samples == 1 { "" } else { "s" };
    list(
        entries,
        format!(
            "Waits in {} sample{plural} since this was opened",
            watched.samples
        ),
        lines,
    );
}

fn workers(entries: &mut Vec<Entry<'_>>, model: &Model, watched: &Watched) {
    let backends = Rows::<read::Backend>::of(model.rows(Panel::Activity)).iter();
    let workers = backends.filter(|row| row.leader_pid() == Some(watched.pid));
    let lines = workers.map(|row| {
        let wait = match row.wait().shown() {
            "" => "on CPU",
            wait => wait,
        };
        let pid = row.pid().unwrap_or_default();
        (
            pid.to_string(),
            format!("{}, {wait}", row.backend_type().shown()),
        )
    });
    let lines: Vec<(String, String)> = lines.collect();
    if !lines.is_empty() {
        list(entries, "Parallel workers".into(), lines);
    }
}

/// A feed, or an entry with the reason why it has no data.
fn told<'a>(
    entries: &mut Vec<Entry<'_>>,
    model: &'a Model,
    panel: Panel,
    head: &str,
) -> Option<&'a Feed> {
    let feed = model.feed_of(panel)?;
    let why = if let Some(why) = &feed.sampling.strange {
        why.to_string()
    } else if let Some(missing) = feed.sampling.missing.first() {
        format!("needs {missing}")
    } else if let Some(error) = &feed.sampling.error {
        error.to_string()
    } else if feed.sampling.at.is_none() {
        "not measured yet".to_owned()
    } else {
        return Some(feed);
    };
    list(entries, head.to_owned(), [(format::PENDING.into(), why)]);
    None
}

fn locks(entries: &mut Vec<Entry<'_>>, model: &Model, watched: &Watched) {
    let Some(feed) = told(entries, model, Panel::BackendLocks, "Locks") else {
        return;
    };
    let rows = Rows::<read::BackendLock>::of(&feed.table).iter();
    let rows = rows.filter(|row| row.pid() == Some(watched.pid));
    let mut lines: Vec<(String, String)> = rows
        .clone()
        .take(LOCKS)
        .map(|row| {
            let how = match (row.granted(), row.wait_s()) {
                (Some(true), _) => "holds".to_owned(),
                (_, Some(wait_s)) => format!("waits {}", format::seconds(wait_s)),
                (_, None) => "waits".to_owned(),
            };
            let times = match row.n() {
                Some(n) if n > 1 => format!(" ({n} of them)"),
                _ => String::new(),
            };
            let (mode, target) = (row.mode().shown(), row.target().shown());
            (how, format!("{mode} on {target}{times}"))
        })
        .collect();
    let more = rows.skip(LOCKS).count();
    if more > 0 {
        lines.push((String::new(), format!("… {more} more")));
    }
    if lines.is_empty() {
        lines.push((format::NONE.into(), "holds none, waits for none".into()));
    }
    list(entries, "Locks".into(), lines);
}

fn progress(entries: &mut Vec<Entry<'_>>, model: &Model, watched: &Watched) {
    let rows = Rows::<read::Progress>::of(model.rows(Panel::Progress)).iter();
    let lines: Vec<(String, String)> = rows
        .filter(|row| row.pid() == Some(watched.pid))
        .map(|row: Row<'_, read::Progress>| {
            let share = row.pct();
            let share =
                share.map_or_else(|| format::PENDING.into(), |share| format!("{share:.0} %"));
            let parts = [row.command(), row.relation(), row.phase(), row.extra()];
            let parts = parts.map(Text::shown).into_iter();
            let parts: Vec<&str> = parts.filter(|part| !part.is_empty()).collect();
            (share, parts.join(", "))
        })
        .collect();
    if !lines.is_empty() {
        list(entries, "Progress".into(), lines);
    }
}

fn statistics(entries: &mut Vec<Entry<'_>>, model: &Model, watched: &Watched) {
    const HEAD: &str = "This statement, from pg_stat_statements";
    let Some(feed) = told(entries, model, Panel::BackendStatement, HEAD) else {
        return;
    };
    let mut rows = Rows::<read::OfBackend>::of(&feed.table).iter();
    let Some(row) = rows.find(|row| row.pid() == Some(watched.pid)) else {
        let why = "not found: it has not ended once yet, or is not tracked";
        list(entries, HEAD.into(), [(format::NONE.into(), why.into())]);
        return;
    };
    let names = feed.columns(Room::ALL);
    let line = |name: &String| feed.field(row.position(), name, model.start.utc_offset_s);
    list(entries, HEAD.into(), names.iter().map(line));
}

fn plan<'a>(entries: &mut Vec<Entry<'a>>, detail: &'a Detail, keys: &Keymap) {
    let has_statement =
        detail.watched.is_some() || detail.fields.iter().any(|(name, _)| name == "queryid");
    if !has_statement && detail.plan == Plan::Unasked {
        return;
    }
    entries.push(Entry::Blank);
    entries.push(Entry::Head("Plan".into()));
    match &detail.plan {
        Plan::Unasked => entries.push(Entry::Text(
            keys.fill("{explain} asks for it; the statement is not run.")
                .into(),
        )),
        Plan::Wanted(_) => entries.push(Entry::Text(WRITING_AUDIT.into())),
        Plan::Asked(_) => entries.push(Entry::Text("asked for …".into())),
        Plan::Refused(why) => entries.push(Entry::Warning(format!("no plan: {why}").into())),
        Plan::Known(explained) => {
            entries.push(Entry::Text(explained.how.as_str().into()));
            let lines = explained.lines.iter();
            entries.extend(lines.map(|line| Entry::Text(line.as_str().into())));
        }
    }
}
