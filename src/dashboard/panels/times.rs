//! Times that come as texts: `2026-03-01 14:00:00+00`, as a timestamptz is written in a session in UTC.

use super::spec::Spec;
use crate::format::Unit;
use crate::pg::{Table, Value};
use chrono::DateTime;

/// Replaces the times in columns whose unit is one of time by epoch seconds, which these show.
pub(crate) fn read(table: &mut Table, spec: &Spec) {
    let of_time = |unit| matches!(unit, Unit::Time | Unit::Hour);
    let columns = spec.front.columns.iter();
    for (name, _) in columns.filter(|(_, column)| of_time(column.unit)) {
        let Some(column) = table.column(name) else {
            continue;
        };
        for cell in table.rows.iter_mut().filter_map(|row| row.get_mut(column)) {
            if let Some(epoch_s) = cell.text().and_then(epoch_s) {
                *cell = Value::Float(epoch_s);
            }
        }
    }
}

fn epoch_s(text: &str) -> Option<f64> {
    let time = DateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f%#z").ok()?;
    Some(time.timestamp_micros() as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_becomes_epoch_seconds_where_one_is_wanted() {
        let text = "-- title = \"x\"\n-- pool = \"columnar\"\n-- interval = \"1s\"\n-- about = \"x\"\n\
                    -- [columns.hour]\n-- unit = \"hour\"\n-- [columns.at]\n-- unit = \"time\"\nSELECT";
        let spec = Spec::parse("x", text).unwrap();
        let cells = |at: &str| vec![Value::from(at), Value::from(at), Value::from(at)];
        let mut table = Table {
            columns: ["hour".into(), "at".into(), "other".into()].into(),
            rows: vec![
                cells("2026-03-01 14:00:00.25+00"),
                cells("2026-03-01 15:30:00+01:30"),
                cells("infinity"),
                vec![Value::Null, Value::Int(7), Value::Null],
            ],
        };
        read(&mut table, &spec);
        let at = 1_772_373_600.0;
        assert_eq!(
            table.rows[0][..2],
            [Value::Float(at + 0.25), Value::Float(at + 0.25)]
        );
        assert_eq!(table.rows[1][0], Value::Float(at));
        assert_eq!(table.rows[0][2].text(), Some("2026-03-01 14:00:00.25+00"));
        assert_eq!(table.rows[2][0].text(), Some("infinity"));
        assert_eq!(table.rows[3], [Value::Null, Value::Int(7), Value::Null]);
    }
}
