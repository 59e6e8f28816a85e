//! Converts columns that arrived as text and contain only numbers.

use super::table::{Table, Value};

/// Converts every column whose known cells all parse as numbers.
pub(crate) fn numbers(table: &mut Table) {
    for column in 0..table.columns.len() {
        let cells = || table.rows.iter().filter_map(|row| row.get(column));
        let numeric = cells().all(|cell| !cell.is_known() || cell.text().is_some_and(is_number));
        if !numeric || !cells().any(Value::is_known) {
            continue;
        }
        for cell in table.rows.iter_mut().filter_map(|row| row.get_mut(column)) {
            if let Some(text) = cell.text() {
                *cell = number(text);
            }
        }
    }
}

/// Returns true for the format in which the server prints numbers: digits, sign, point, exponent, or a special value.
/// It never prints a leading zero or plus: such a text is a code, and a conversion would lose a part of it.
fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let code = digits.starts_with('+')
        || (digits.starts_with('0') && digits.as_bytes().get(1).is_some_and(|byte| *byte != b'.'));
    matches!(text, "NaN" | "Infinity" | "-Infinity")
        || (!code
            && text
                .bytes()
                .all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte))
            && text.parse::<f64>().is_ok())
}

fn number(text: &str) -> Value {
    match text.parse::<i64>() {
        Ok(value) => Value::Int(value),
        Err(_) => Value::Decimal(text.into(), text.parse().unwrap_or(f64::NAN)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_columns_of_numbers_change() {
        let cell = |text: &str| Value::from(text);
        let mut table = Table {
            columns: ["a".into(), "b".into(), "c".into()].into(),
            rows: vec![
                vec![cell("1"), cell("1"), Value::Null],
                vec![cell("2.50"), cell("x"), Value::Null],
            ],
        };
        numbers(&mut table);
        assert_eq!(table.rows[0][0], Value::Int(1));
        assert_eq!(table.rows[1][0], Value::Decimal("2.50".into(), 2.5));
        assert_eq!(table.rows[0][1], cell("1"));
        assert_eq!(table.rows[0][2], Value::Null);
    }

    #[test]
    fn codes_of_digits_stay_what_they_are() {
        for text in ["007", "+86", "00", "-01"] {
            assert!(!is_number(text), "{text}");
        }
        for text in ["0", "-0", "0.5", "-0.50", "1e+20", "10", "-3"] {
            assert!(is_number(text), "{text}");
        }
    }
}
