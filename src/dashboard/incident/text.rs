//! The text of a report.

use super::panels::Panels;
use super::{BEFORE_S, ENDED_S, Incident, Origin, Place, actions};
use crate::dashboard::action::Grade;
use crate::dashboard::diagnosis::Health;
use crate::dashboard::event::Moment;
use crate::dashboard::model::LogLine;
use crate::dashboard::output;
use crate::dashboard::output::table;
use crate::dashboard::tape::Trouble;
use crate::format;
use std::fmt::Write as _;

/// Milliseconds after the trouble, or the moment, within which an action belongs to it.
const AFTER_MS: i64 = 60_000;
/// Maximum number of troubles and lines of the log, the newest.
const TROUBLES: usize = 20;
const LOG_LINES: usize = 40;
/// Before these words the log names an action; after them it quotes the server, perhaps with data. The audit file has
/// the message without data.
const QUOTED: [&str; 3] = [
    "failed: ",
    "outcome unknown: ",
    "refused, nothing was sent: ",
];

impl Incident {
    /// Formats a time with its date and offset from UTC.
    pub(super) fn time(&self, at: Moment) -> String {
        // The clock of the machine may have been set meanwhile: the moment's own time counts.
        format::moment(at.epoch_ms, self.model.start.utc_offset_s)
    }

    /// Returns the report; `overview` and `chart` are the names of its pictures.
    pub(super) fn text(&self, place: &Place, overview: &str, chart: Option<&str>) -> String {
        let model = &self.model;
        let mut panels = Panels::of(model);
        let mut out = self.head();
        let _ = write!(out, "\n![Overview at this moment]({overview})\n");
        if let Some(chart) = chart {
            let _ = write!(out, "\n![p99 and sessions before it]({chart})\n");
        }
        let mut section = |title: &str, parts: &[&str]| {
            let _ = write!(out, "\n## {title}\n");
            for part in parts.iter().filter(|part| !part.is_empty()) {
                let _ = write!(out, "\n{part}\n");
            }
        };
        section("Evidence", &[&block(&table::cause(model)), &self.others()]);
        section(
            "Figures and their targets",
            &[
                &block(&table::gauges(model, usize::MAX)),
                &block(&panels.oltp()),
            ],
        );
        section(
            "What went on in the 15 minutes before, the newest first",
            &[&block(&panels.timeline())],
        );
        section("Locks: who waits for whom", &[&block(&panels.locks())]);
        let sessions = [panels.sessions(), panels.statements_of_sessions()];
        let sessions = sessions.map(|text| block(&text));
        section(
            "Sessions, the most harmful first",
            &[&sessions[0], &sessions[1]],
        );
        let (statements, texts) = panels.top_statements();
        section("Top statements", &[&block(&statements), &block(&texts)]);
        section("Troubles and log", &[&self.troubles(), &self.log()]);
        section("Actions", &[&self.actions(place)]);
        let others: Vec<String> = panels.others().iter().map(|text| block(text)).collect();
        let others: Vec<&str> = others.iter().map(String::as_str).collect();
        section("Other panels", &others);
        let (settings, advice) = panels.settings();
        section(
            "Settings that matter",
            &[&block(&settings), &block(&advice)],
        );
        section("Versions", &[&self.versions()]);
        section("Not known", &[&self.unknown()]);
        let meaning = panels.meanings.text(model);
        section("Meaning of the figures", &[READING, &block(&meaning)]);
        out
    }

    /// What, when, where.
    fn head(&self) -> String {
        let (model, now) = (&self.model, self.model.now);
        let target = plain(model.start.target.as_str());
        let mut out = format!("# {target}, {}\n\n", self.time(now));
        let (health, sentence) = match model.unreachable() {
            Some(sentence) => (output::health(Health::Danger), sentence),
            None => (
                output::health(model.cause.health),
                model.cause.sentence.clone(),
            ),
        };
        let others = model.cause.others();
        let _ = writeln!(out, "**{health}: {}{others}**\n", plain(&sentence));
        out.push_str(&self.when());
        if !model.cause.cure.is_empty() {
            let cure = plain(&model.cause.cure);
            let _ = writeln!(out, "- What helps: {cure} (keys of the dashboard).");
        }
        let origin = match self.origin {
            Origin::Live => "the server, at this moment".to_owned(),
            Origin::Past => "the last hour that a dashboard keeps".to_owned(),
            Origin::Recording => "a recording".to_owned(),
        };
        let _ = writeln!(
            out,
            "- Read from: {origin}, by htap-top {}.",
            env!("CARGO_PKG_VERSION")
        );
        out.push_str(
            "- In this file: names of databases, roles, applications, relations and clients; statements without strings and \
             numbers. The picture of the Overview also shows figures of the business panels.\n",
        );
        out
    }

    /// From when to when.
    fn when(&self) -> String {
        let mut out = String::new();
        if let Some(trouble) = &self.trouble {
            let length = format::seconds(trouble.until.since(trouble.at));
            let until = self.time(trouble.until);
            let end = if self.last.since(trouble.until) > ENDED_S {
                format!("to {until} ({length})")
            } else {
                format!("and still so at {until} ({length} so far)")
            };
            let _ = writeln!(out, "- When: from {} {end}.", self.time(trouble.at));
            let _ = writeln!(out, "- At the beginning: {}.", plain(&trouble.sentence));
            return out;
        }
        out.push_str("- When: no danger was found at this moment.\n");
        if let Some(last) = self.recent().next_back() {
            let (begun, until) = (self.time(last.at), self.time(last.until));
            let sentence = plain(&last.sentence);
            let _ = writeln!(
                out,
                "- The last trouble: from {begun} to {until}: {sentence}."
            );
        }
        out
    }

    /// The findings that the cause line does not name.
    fn others(&self) -> String {
        let model = &self.model;
        let findings = model.findings.iter();
        let others = findings.filter(|finding| finding.rule != model.cause.rule);
        let told = others.map(|finding| {
            let cure = match finding.cure.as_str() {
                "" => String::new(),
                cure => format!(" — {cure}"),
            };
            format!("- {}: {}{cure}\n", finding.rule, plain(&finding.sentence))
        });
        let told: String = told.collect();
        if told.is_empty() {
            return "No other rule found anything.".into();
        }
        format!("Also found:\n\n{}", told.trim_end())
    }

    /// Beginning and end of the time that the report looks back on, in milliseconds since the epoch.
    fn window(&self) -> (i64, i64) {
        let (begin, end) = match &self.trouble {
            Some(trouble) => (trouble.at.epoch_ms, trouble.until.epoch_ms),
            None => (self.model.now.epoch_ms, self.model.now.epoch_ms),
        };
        let end = end.max(self.model.now.epoch_ms);
        (begin - (BEFORE_S * 1000.0) as i64, end + AFTER_MS)
    }

    /// The troubles within the time that the report looks back on.
    fn recent(&self) -> impl DoubleEndedIterator<Item = &Trouble> {
        let (from, to) = self.window();
        let within = move |at: i64| (from..=to).contains(&at);
        let troubles = self.troubles.iter();
        troubles.filter(move |one| within(one.at.epoch_ms) || within(one.until.epoch_ms))
    }

    fn troubles(&self) -> String {
        let lines: Vec<String> = (self.recent())
            .map(|trouble| {
                let length = format::seconds(trouble.until.since(trouble.at));
                let sentence = plain(&trouble.sentence);
                format!("- {}, for {length}: {sentence}\n", self.time(trouble.at))
            })
            .collect();
        if lines.is_empty() {
            return "No trouble in the 15 minutes before.".into();
        }
        let first = lines.len().saturating_sub(TROUBLES);
        let lines = lines.get(first..).unwrap_or_default().concat();
        format!("Troubles since 15 minutes before:\n\n{}", lines.trim_end())
    }

    fn log(&self) -> String {
        let (from, to) = self.window();
        let lines = self.model.log.iter();
        let lines = lines.filter(|line| (from..=to).contains(&line.epoch_ms));
        let lines: Vec<String> = lines.map(|line| self.logged(line)).collect();
        if lines.is_empty() {
            return "Nothing was logged.".into();
        }
        let first = lines.len().saturating_sub(LOG_LINES);
        let lines = lines.get(first..).unwrap_or_default().concat();
        format!("Log of the dashboard:\n\n{}", block(&lines))
    }

    fn logged(&self, line: &LogLine) -> String {
        let sign = match line.grade {
            Grade::Running => "…",
            Grade::Good => "✔",
            Grade::Doubtful => "▲",
            Grade::Bad => "✖",
        };
        let at_s = line.epoch_ms as f64 / 1000.0;
        let time = format::time_of_day(at_s, self.model.start.utc_offset_s);
        let text = line.text.as_str();
        let quoted = QUOTED
            .iter()
            .find_map(|words| text.split_once(words).zip(Some(words)));
        match quoted {
            Some(((head, _), words)) => {
                let words = words.trim_end_matches(": ");
                format!("{time} {sign} {head}{words} (message left out)\n")
            }
            None => format!("{time} {sign} {text}\n"),
        }
    }

    fn actions(&self, place: &Place) -> String {
        let told = actions::between(&place.audit, self.window(), self.model.start.utc_offset_s);
        let file = plain(&place.audit.display().to_string());
        match told {
            Err(why) => format!("Not known: {}", plain(&why)),
            Ok(lines) if lines.is_empty() => {
                format!(
                    "None from 15 minutes before on, says the audit file of this machine, {file}."
                )
            }
            Ok(lines) => {
                let lines = lines.iter().map(|line| format!("- {}\n", plain(line)));
                let lines: String = lines.collect();
                format!(
                    "From the audit file of this machine, {file}; behind each dash what was read back:\n\n{}",
                    lines.trim_end()
                )
            }
        }
    }

    fn versions(&self) -> String {
        let model = &self.model;
        let fact = model.fact();
        let yes = |flag: Option<bool>, yes: &str, no: &str| match flag {
            Some(true) => yes.to_owned(),
            Some(false) => no.to_owned(),
            None => "not known".to_owned(),
        };
        let known = |text: &str| match text {
            "" => "not known".to_owned(),
            text => text.to_owned(),
        };
        let lines = [
            ("htap-top", env!("CARGO_PKG_VERSION").to_owned()),
            ("PostgreSQL", known(fact.server_version().shown())),
            ("server", yes(fact.in_recovery(), "standby", "primary")),
            (
                "pg_stat_statements",
                known(model.extension().pgss_version().shown()),
            ),
            ("database", known(fact.current_database().shown())),
            ("role of htap-top", known(fact.current_user().shown())),
            (
                "its privileges",
                yes(fact.pg_monitor(), "pg_monitor", "without pg_monitor"),
            ),
            ("system identifier", known(fact.system_identifier().shown())),
        ];
        let lines = lines
            .iter()
            .map(|(name, value)| format!("- {name}: {}\n", plain(value)));
        lines.collect::<String>().trim_end().to_owned()
    }

    fn unknown(&self) -> String {
        let unknown = output::unknown(&self.model);
        if unknown.is_empty() {
            return "All figures were known.".into();
        }
        let lines = unknown.iter().map(|line| format!("- {}\n", plain(line)));
        lines.collect::<String>().trim_end().to_owned()
    }
}

/// How to read figures.
const READING: &str = "Figures carry their unit (ms, s, m, h, kB, MB; 1 kB is 1024 bytes). `—`: there is no value; \
`n/a`: not available on this server or to this role; `?`: not measured yet; `≥` and `≤`: a bound. None of them means 0. \
Ages are those of the moment at the top. Units in brackets are those in which the server counts.";

/// Text in a block without markup.
fn block(text: &str) -> String {
    if text.trim().is_empty() {
        return String::new();
    }
    // Names and statements may contain a fence of their own.
    let mut fence = "```".to_owned();
    while text.contains(&fence) {
        fence.push('`');
    }
    format!("{fence}text\n{}\n{fence}", text.trim_end())
}

/// Text that Markdown shows as it is.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '\\' | '`' | '*' | '[' | '<' | '|' | '~') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_are_no_markup() {
        assert_eq!(plain("a![x](http://e) <b>"), "a!\\[x](http://e) \\<b>");
        let text = block("x\n````\n# title");
        assert!(text.starts_with("`````text\n") && text.ends_with("\n`````"));
        assert_eq!(block(" \n"), "");
    }
}
