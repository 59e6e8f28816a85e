//! Parses the two notations of connection settings: `keyword = value …` and URIs.

use super::conninfo_error::ConninfoError;
use super::keywords::Settings;
use std::iter::Peekable;
use std::str::Chars;

/// Returns true if `text` is a URI or holds settings, rather than being a plain database name.
pub(super) fn is_conninfo(text: &str) -> bool {
    uri_body(text).is_some() || text.contains('=')
}

/// Parses either notation.
pub(super) fn parse(text: &str) -> Result<Settings, ConninfoError> {
    match uri_body(text) {
        Some(body) => parse_uri(body),
        None => parse_words(text),
    }
}

fn uri_body(text: &str) -> Option<&str> {
    text.strip_prefix("postgresql://")
        .or_else(|| text.strip_prefix("postgres://"))
}

/// Returns true for the characters that C's isspace accepts, at which libpq splits.
fn is_space(c: char) -> bool {
    c.is_ascii_whitespace() || c == '\u{b}'
}

fn parse_words(text: &str) -> Result<Settings, ConninfoError> {
    let mut settings = Settings::default();
    let mut chars = text.chars().peekable();
    loop {
        while chars.next_if(|c| is_space(*c)).is_some() {}
        if chars.peek().is_none() {
            return Ok(settings);
        }
        let mut keyword = String::new();
        while let Some(c) = chars.next_if(|c| *c != '=' && !is_space(*c)) {
            keyword.push(c);
        }
        while chars.next_if(|c| is_space(*c)).is_some() {}
        if chars.next_if_eq(&'=').is_none() {
            // The message does not repeat the word: it may be part of a password.
            return Err(ConninfoError::new(
                "missing \"=\" in the connection string: write keyword=value, and put a value with blanks in single quotes",
            ));
        }
        while chars.next_if(|c| is_space(*c)).is_some() {}
        let value = parse_value(&mut chars).ok_or_else(|| {
            ConninfoError::new("unterminated quoted string in the connection string: add a '")
        })?;
        settings.set(&keyword, value)?;
    }
}

/// Parses a bare or quoted value; `None` if the closing quote is missing.
fn parse_value(chars: &mut Peekable<Chars<'_>>) -> Option<String> {
    let quoted = chars.next_if_eq(&'\'').is_some();
    let mut value = String::new();
    loop {
        if !quoted && chars.peek().is_none_or(|c| is_space(*c)) {
            return Some(value);
        }
        match chars.next()? {
            '\'' if quoted => return Some(value),
            '\\' => value.extend(chars.next()),
            c => value.push(c),
        }
    }
}

/// Parses a URI; `body` is the text after `://`.
fn parse_uri(body: &str) -> Result<Settings, ConninfoError> {
    let mut settings = Settings::default();
    let mut rest = body;
    let authority = body.find('/').map_or(body, |end| head(body, end));
    if let Some((credentials, _)) = authority.split_once('@') {
        rest = body
            .strip_prefix(credentials)
            .map_or("", |r| r.strip_prefix('@').unwrap_or(r));
        let (user, password) = match credentials.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (credentials, None),
        };
        for (keyword, value) in [("user", Some(user)), ("password", password)] {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                settings.set(keyword, decode(value)?)?;
            }
        }
    }
    let (path, query) = match rest.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (rest, None),
    };
    let (hosts, dbname) = match path.split_once('/') {
        Some((hosts, dbname)) => (hosts, dbname),
        None => (path, ""),
    };
    parse_hosts(hosts, &mut settings)?;
    if !dbname.is_empty() {
        settings.set("dbname", decode(dbname)?)?;
    }
    for parameter in query.into_iter().flat_map(|query| query.split('&')) {
        parse_parameter(parameter, &mut settings)?;
    }
    Ok(settings)
}

fn head(text: &str, end: usize) -> &str {
    text.get(..end).unwrap_or(text)
}

fn parse_hosts(text: &str, settings: &mut Settings) -> Result<(), ConninfoError> {
    if text.contains('@') {
        return Err(ConninfoError::new(
            "more than one \"@\" in the URI: write an @ in the user name or password as %40",
        ));
    }
    let mut hosts = Vec::new();
    let mut ports = Vec::new();
    for item in text.split(',') {
        let (host, port) = match item.strip_prefix('[') {
            Some(literal) => {
                let (address, after) = literal.split_once(']').ok_or_else(|| {
                    ConninfoError::new("an IPv6 address in the URI lacks its closing \"]\"")
                })?;
                if address.is_empty() {
                    return Err(ConninfoError::new("the IPv6 address in the URI is empty"));
                }
                match after.strip_prefix(':') {
                    Some(port) => (address, port),
                    None if after.is_empty() => (address, ""),
                    None => {
                        return Err(ConninfoError::new(
                            "only \":port\" may follow the \"]\" of an IPv6 address in the URI",
                        ));
                    }
                }
            }
            None => item.split_once(':').unwrap_or((item, "")),
        };
        hosts.push(decode(host)?);
        ports.push(decode(port)?);
    }
    for (keyword, list) in [("host", hosts.join(",")), ("port", ports.join(","))] {
        if !list.is_empty() {
            settings.set(keyword, list)?;
        }
    }
    Ok(())
}

fn parse_parameter(parameter: &str, settings: &mut Settings) -> Result<(), ConninfoError> {
    if parameter.is_empty() {
        return Ok(());
    }
    let Some((keyword, value)) = parameter.split_once('=') else {
        return Err(ConninfoError::new(
            "missing \"=\" in a parameter of the URI: write ?keyword=value&keyword=value",
        ));
    };
    if value.contains('=') {
        return Err(ConninfoError::new(
            "more than one \"=\" in a parameter of the URI: write an = in a value as %3D",
        ));
    }
    let (keyword, value) = (decode(keyword)?, decode(value)?);
    // The spelling of JDBC, which libpq accepts too.
    if keyword == "ssl" && value == "true" {
        return settings.set("sslmode", "require".to_owned());
    }
    settings.set(&keyword, value)
}

/// Decodes `%xx`.
fn decode(text: &str) -> Result<String, ConninfoError> {
    let wrong =
        || ConninfoError::new("wrong percent-encoding in the URI: write a % as %25, and never %00");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let value = digit().zip(digit()).map(|(high, low)| high * 16 + low);
        match value.and_then(|value| u8::try_from(value).ok()) {
            None | Some(0) => return Err(wrong()),
            Some(value) => bytes.push(value),
        }
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> String {
        let settings = parse(text).unwrap();
        let mut shown: Vec<_> = settings
            .shown()
            .map(|(keyword, value)| format!("{keyword}={value}"))
            .collect();
        if let Some(password) = settings.get("password") {
            shown.push(format!("password={password}"));
        }
        shown.join("|")
    }

    #[test]
    fn keyword_strings_follow_libpq() {
        assert_eq!(all(""), "");
        assert_eq!(all("  host = a  port=5 "), "host=a|port=5");
        assert_eq!(all("host='a b' dbname='it\\'s'"), "dbname=it's|host=a b");
        assert_eq!(all("user=a\\ b\\\\c host=''"), "host=|user=a b\\c");
        assert_eq!(all("host=a host=b"), "host=b");
        assert_eq!(all("password='\\\\ x'"), "password=\\ x");
        assert_eq!(all("user=ünï\tport=1\nhost=h"), "host=h|port=1|user=ünï");
        assert_eq!(all("user=a\\"), "user=a");
    }

    #[test]
    fn uris_follow_libpq() {
        assert_eq!(all("postgres://"), "");
        assert_eq!(
            all("postgresql://u:p%40x@h:1/d?sslmode=require&application_name=a%20b"),
            "application_name=a b|dbname=d|host=h|port=1|sslmode=require|user=u|password=p@x"
        );
        assert_eq!(
            all("postgres://h1:1,h2,[::1]:3/d"),
            "dbname=d|host=h1,h2,::1|port=1,,3"
        );
        assert_eq!(
            all("postgres://u@%2Frun%2Fpg:7"),
            "host=/run/pg|port=7|user=u"
        );
        assert_eq!(
            all("postgres:///d?host=/tmp&port=7"),
            "dbname=d|host=/tmp|port=7"
        );
        assert_eq!(all("postgres://h?ssl=true"), "host=h|sslmode=require");
        assert_eq!(all("postgres://u:a?b=c@h"), "host=h|user=u|password=a?b=c");
        assert_eq!(all("postgres://h/d@x"), "dbname=d@x|host=h");
    }

    #[test]
    fn mistakes_are_named_without_repeating_a_password() {
        for (text, part) in [
            ("host=a canary", "missing \"=\""),
            ("password='canary", "unterminated"),
            ("hots=a", "did you mean \"host\""),
            ("postgres://u:x@canary@h", "%40"),
            ("postgres://u:can%4@h", "percent-encoding"),
            ("postgres://u:can%00@h", "percent-encoding"),
            ("postgres://[::1", "]"),
            ("postgres://[]", "empty"),
            ("postgres://[::1]x", ":port"),
            ("postgres://h?sslmod=require", "\"sslmode\""),
            ("postgres://h?canary", "missing \"=\""),
            ("postgres://h?options=a=b", "%3D"),
        ] {
            let said = parse(text).unwrap_err().to_string();
            assert!(said.contains(part), "{text}: {said}");
            assert!(!said.contains("canary"), "{said}");
        }
    }

    #[test]
    fn a_plain_name_is_no_conninfo() {
        assert!(!is_conninfo("shop"));
        assert!(is_conninfo("dbname=shop"));
        assert!(is_conninfo("postgres://h"));
        assert!(!is_conninfo("mysql://h"));
    }

    proptest::proptest! {
        #[test]
        fn any_text_parses_or_is_refused(text in "\\PC*", uri in "[a-z0-9:/@%?&=,\\[\\].]*") {
            let _ = parse(&text);
            let _ = parse(&format!("postgres://{uri}"));
        }

        #[test]
        fn any_value_survives_quoting_and_percent_encoding(value in "[^\\x00]+") {
            let quoted = value.replace('\\', "\\\\").replace('\'', "\\'");
            let settings = parse(&format!("host=h user='{quoted}'")).unwrap();
            proptest::prop_assert_eq!(settings.get("user"), Some(value.as_str()));
            let encoded: Vec<_> = value.bytes().map(|byte| format!("%{byte:02x}")).collect();
            let encoded = encoded.concat();
            let settings = parse(&format!("postgres://{encoded}@h/")).unwrap();
            proptest::prop_assert_eq!(settings.get("user"), Some(value.as_str()));
        }
    }
}
