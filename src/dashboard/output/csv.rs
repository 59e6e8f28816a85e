//! CSV as in RFC 4180: a header, lines that end in CRLF, quotes if needed.

use super::sheet::Sheet;
use crate::pg::Value;
use std::borrow::Cow;

/// Returns the rows of a panel. An unknown value is an empty field; an empty text is `""`.
pub(crate) fn text(sheet: &Sheet) -> String {
    let header = sheet.columns.iter().map(|column| quoted(&column.name));
    let mut text = line(header);
    for row in sheet.rows.iter().flatten() {
        text += &line(row.iter().map(field));
    }
    text
}

fn line<'a>(fields: impl Iterator<Item = Cow<'a, str>>) -> String {
    let fields: Vec<Cow<'a, str>> = fields.collect();
    format!("{}\r\n", fields.join(","))
}

fn field(cell: &Value) -> Cow<'_, str> {
    match cell {
        Value::Null | Value::Unavailable | Value::Pending => Cow::Borrowed(""),
        Value::Bool(yes) => Cow::Borrowed(if *yes { "true" } else { "false" }),
        Value::Int(number) => Cow::Owned(number.to_string()),
        Value::Float(number) | Value::AtLeast(number) | Value::AtMost(number) => {
            Cow::Owned(number.to_string())
        }
        Value::Decimal(exact, _) => Cow::Borrowed(exact),
        Value::Text(text) => quoted(text.as_str()),
    }
}

fn quoted(text: &str) -> Cow<'_, str> {
    let plain = !text.is_empty() && text.trim() == text && !text.contains(['"', ',', '\r', '\n']);
    if plain {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(format!("\"{}\"", text.replace('"', "\"\"")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_stand_where_they_are_needed() {
        for (text, written) in [
            ("plain", "plain"),
            ("a b", "a b"),
            ("", "\"\""),
            (" a", "\" a\""),
            ("a,b", "\"a,b\""),
            ("a\"b", "\"a\"\"b\""),
            ("a\nb", "\"a\nb\""),
        ] {
            assert_eq!(quoted(text), written);
        }
    }
}
