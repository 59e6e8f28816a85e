//! Connection strings and URIs mean the same as in psql, or are refused as by psql.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of a test: a failure here is a failure of the test"
)]

use super::server::{Server, psql};
use htap_top::pg::{Client, Flags, Target};
use std::path::Path;

/// Settings; each one that connects sets its application name.
const SPELLINGS: &[&str] = &[
    "host=localhost port=OPEN user=either dbname=postgres application_name=a",
    " host = localhost  port =OPEN user= either dbname=postgres application_name = 'a b' ",
    "host=localhost port=OPEN user=either dbname=postgres application_name='it\\'s \\\\ x'",
    "host=localhost port=OPEN user=either dbname=postgres application_name=a\\ b\\'",
    "host=localhost port=OPEN user=either dbname=x dbname=postgres application_name=a",
    "host=localhost port=OPEN user=either dbname=postgres application_name=a\\",
    "host=localhost port=OPEN user=either dbname=postgres application_name='a'b'",
    "host=localhost port=OPEN user=either dbname=postgres application_name='a",
    "host=localhost port=OPEN user=either dbname=postgres application_name",
    "host=localhost port=OPEN user=either dbname=postgres nonsense=a",
    "host='localhost'port=OPEN user=either dbname=postgres application_name=a",
    "host=localhost port=OPEN, user=either dbname=postgres application_name=a",
    "host=localhost port=' OPEN ' user=either dbname=postgres application_name=a",
    "host=localhost,localhost port=OPEN,OPEN,OPEN user=either dbname=postgres",
    "host=localhost hostaddr=127.0.0.1,127.0.0.1 port=OPEN user=either dbname=postgres",
    "host=localhost hostaddr=localhost port=OPEN user=either dbname=postgres",
    "host=localhost port=0 user=either dbname=postgres",
    "host=localhost port=65536 user=either dbname=postgres",
    "host=localhost port=OPEN user=either dbname=postgres sslmode=sometimes",
    "host=localhost port=OPEN user=either dbname=postgres target_session_attrs=master",
    "host=localhost port=OPEN user=either dbname=postgres connect_timeout=x",
    "host=localhost port=OPEN user=either dbname=postgres keepalives_idle=3.5",
    "host=localhost port=OPEN user=either dbname=postgres application_name=a connect_timeout=' 9 '",
    "host=localhost port=OPEN user=either dbname=postgres service=nosuch",
    "host=localhost port=OPEN dbname=postgres user=secret password='can'ary",
    "host=localhost port=OPEN dbname=postgres user=secret password=canary application_name=a",
    "host=localhost port=OPEN dbname=postgres user=secret password='c\\anary' application_name=a",
    "postgres://either@localhost:OPEN/postgres?application_name=a%20b",
    "postgresql://either@localhost:OPEN/postgres?application_name=a+b",
    "postgresql://secret:canary@localhost:OPEN/postgres?application_name=a",
    "postgresql://secret:c%61nary@localhost:OPEN/postgres?application_name=a",
    "postgresql://secret@localhost:OPEN/postgres?application_name=a&password=canary",
    "postgresql://localhost:OPEN/postgres?application_name=a&user=either",
    "postgresql:///postgres?host=localhost&port=OPEN&application_name=a&user=either",
    "postgresql://either@/postgres?host=FOLDER&port=OPEN&application_name=a",
    "postgresql://either@ENCODED:OPEN/postgres?application_name=a",
    "postgresql://either@[127.0.0.1]:OPEN/postgres?application_name=a",
    "postgresql://either@localhost:OPEN/p%6Fstgres?application_n%61me=a",
    "postgresql://either@nosuch.invalid:OPEN,localhost:OPEN/postgres?application_name=a",
    "postgresql://either@localhost:OPEN/postgres?application_name=a&",
    "postgresql://either@localhost:OPEN/postgres?application_name=a&ssl=true",
    "postgresql://either@localhost:OPEN/postgres?application_name=a=b",
    "postgresql://either@localhost:OPEN/postgres?application_name",
    "postgresql://either@localhost:OPEN/postgres?nonsense=a",
    "postgresql://either@localhost:OPEN/postgres?application_name=%0",
    "postgresql://either@localhost:OPEN/postgres?application_name=%00",
    "postgresql://either@[::1/postgres",
    "postgresql://either@[]:OPEN/postgres",
    "postgresql://either@[127.0.0.1]x:OPEN/postgres",
];

const WHO: &str = "SELECT current_user || '|' || current_database() || '|' || current_setting('application_name')";

async fn ours(conninfo: &str) -> Result<String, String> {
    let flags = Flags {
        dbname: Some(conninfo.to_owned()),
        ..Flags::default()
    };
    let nothing = |name: &str| (name == "HOME").then(|| "/nonexistent".to_owned());
    let target = Target::resolve(&flags, &nothing).map_err(|error| error.to_string())?;
    let client = Client::connect(&target).await;
    let client = client.map_err(|error| error.to_string())?;
    let answer = client.query_text(WHO, 1).await.unwrap();
    let cell = answer.rows.first().and_then(|row| row.first());
    Ok(cell.unwrap().text().unwrap_or_default().to_owned())
}

/// Connects with every spelling and compares role, database and application name.
pub async fn mean_what_psql_takes_them_for(server: &Server) {
    let folder = server.folder.path().to_string_lossy().into_owned();
    let mut differences = Vec::new();
    for spelling in SPELLINGS {
        let conninfo = spelling
            .replace("OPEN", &server.port.to_string())
            .replace("FOLDER", &folder)
            .replace("ENCODED", &folder.replace('/', "%2F"));
        let ours = ours(&conninfo).await;
        let output = psql(&conninfo, WHO, Path::new("/nonexistent"));
        let said = String::from_utf8_lossy(&output.stdout);
        let theirs = if output.status.success() {
            // Each program has its own default name.
            Ok(said.trim_end_matches('\n').replace("|psql", "|htap-top"))
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        };
        match (&ours, &theirs) {
            (Ok(ours), Ok(theirs)) if ours == theirs => {}
            (Err(_), Err(_)) => {}
            _ => differences.push(format!("{conninfo}\nours {ours:?}\npsql {theirs:?}")),
        }
        if let Err(said) = ours {
            assert!(!said.contains("canary"), "{said}");
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n\n"));
}
