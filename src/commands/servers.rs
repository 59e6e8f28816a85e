//! The servers that the dashboard, `once`, `serve` and `record` watch: those of the command line, or else those of the
//! configuration.

use super::options::{Beside, Servers};
use super::{Failure, USAGE, env};
use crate::config::Config;
use crate::config::servers::Server;
use crate::dashboard::model::Start;
use crate::dashboard::runtime::Targets;
use crate::dashboard::tabs::Place;
use crate::dashboard::theme::{self, Colour, Depth};
use crate::pg::{Flags, Target};
use crate::text::Clean;

/// A server to watch.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    /// Number and name, if there are several.
    pub(super) place: Option<Place>,
    /// Where its sessions connect to.
    pub(super) targets: Targets,
    /// True if the OLAP pool has a connection string of its own.
    olap: bool,
}

impl Choice {
    /// The only server.
    pub(super) fn alone(targets: Targets, olap: bool) -> Self {
        Self {
            place: None,
            targets,
            olap,
        }
    }

    /// Enters the server into the parameters of its model.
    pub(super) fn enter(&self, start: &mut Start) {
        let targets = &self.targets;
        start.target = shown(&targets.oltp);
        start.olap_target = self.olap.then(|| shown(&targets.olap));
        let own = targets.stand_in.is_some();
        start.olap_server = own.then(|| Clean::from(host(&targets.olap)));
        let pooler = targets.pooler.as_deref();
        start.pooler = pooler.map(|target| Clean::from(target.host_display()));
        let columnar = targets.columnar.as_deref();
        start.columnar = columnar.map(|target| Clean::from(target.host_display()));
        let users = [&targets.oltp, &targets.olap].map(|target| target.user().to_owned());
        start.own_roles = users.into();
        start.server.clone_from(&self.place);
    }
}

/// Returns the servers to watch; at least one.
pub(super) fn choose(
    servers: &Servers,
    beside: &Beside,
    config: &Config,
) -> Result<Vec<Choice>, Failure> {
    let listed = config.servers.as_deref().unwrap_or_default();
    if servers.is_given() || listed.is_empty() {
        return on_the_line(servers, beside, config);
    }
    refuse_configured(config)?;
    if listed.len() > 1 {
        refuse_options(beside, "in [[servers]] of the configuration")?;
    }
    let several = listed.len() > 1;
    let listed = (1..).zip(listed);
    listed
        .map(|(number, server)| {
            let place = place(number, server)?;
            let targets = configured(server, beside)?;
            Ok(Choice {
                olap: server.olap.is_some() || beside.pool.olap.is_some(),
                place: several.then_some(place),
                targets,
            })
        })
        .collect()
}

/// Returns the servers of the command line; the default one if it names none.
fn on_the_line(
    servers: &Servers,
    beside: &Beside,
    config: &Config,
) -> Result<Vec<Choice>, Failure> {
    let several = servers.conninfos.len() > 1;
    if several {
        refuse_options(beside, "in [[servers]] of the configuration")?;
        refuse_configured(config)?;
        refuse_unquoted(&servers.conninfos)?;
    }
    let mut targets = Vec::new();
    for (number, flags) in (1..).zip(servers.each()) {
        let target = Target::resolve(&flags, &env).map_err(|error| {
            let which = if several {
                format!("server {number}: ")
            } else {
                String::new()
            };
            Failure::new(USAGE, format!("{which}{error}"))
        })?;
        targets.push(target.with_application_name("htap-top"));
    }
    let names = names(&targets.iter().map(shown).collect::<Vec<_>>());
    if let Some((one, other)) = twice(&names) {
        let name = names.get(one).cloned().unwrap_or_default();
        let (one, other) = (one + 1, other + 1);
        let why = format!(
            "servers {one} and {other} are the same ({name}): name each server once, or give them names in [[servers]] of the \
             configuration"
        );
        return Err(Failure::new(USAGE, why));
    }
    let of_config = |key: &str| format!("configuration: {key}");
    let olap = written(("--olap", &beside.pool.olap), (of_config("olap"), &None));
    let olap = olap_target(olap)?;
    let given = ("--pooler", &beside.pooler.pooler);
    let pooler = pooler_target(written(given, (of_config("pooler"), &config.pooler)))?;
    let given = ("--columnar", &beside.store.columnar);
    let store = written(given, (of_config("columnar"), &config.columnar));
    let choices = (1..).zip(targets).zip(names);
    choices
        .map(|((number, oltp), name)| {
            let columnar = store_target(store.clone(), &oltp)?;
            Ok(Choice {
                place: several.then(|| Place {
                    number,
                    name: Clean::from(name),
                    colour: None,
                }),
                olap: olap.is_some(),
                targets: Targets::new(oltp, olap.clone(), pooler.clone())
                    .with_column_store(columnar),
            })
        })
        .collect()
}

/// A connection string, and where it is written: `--olap`.
type Written = (String, String);

/// Returns the connection string of an option, else that of the configuration at `place`.
fn written(
    (option, given): (&str, &Option<String>),
    (place, listed): (String, &Option<String>),
) -> Option<Written> {
    let given = given.clone().map(|conninfo| (conninfo, option.to_owned()));
    given.or_else(|| Some((listed.clone()?, place)))
}

/// Resolves the connection of the OLAP pool: a replica, or the same server with another role.
fn olap_target(written: Option<Written>) -> Result<Option<Target>, Failure> {
    let Some((conninfo, whence)) = written else {
        return Ok(None);
    };
    let flags = Flags {
        conninfo: Some(conninfo),
        ..Default::default()
    };
    let target = Target::resolve(&flags, &env)
        .map_err(|error| Failure::new(USAGE, format!("{whence}: {error}")))?;
    Ok(Some(target.with_application_name("htap-top")))
}

/// Variables that describe the watched server's sessions, not the pooler's console or the column store.
const OF_THE_SERVER: [&str; 5] = [
    "PGSERVICE",
    "PGDATABASE",
    "PGPORT",
    "PGOPTIONS",
    "PGTARGETSESSIONATTRS",
];
/// Those that describe its connections, which the column store, on this machine, has without TLS.
const OF_THE_WAY: [&str; 5] = [
    "PGHOSTADDR",
    "PGSSLMODE",
    "PGSSLNEGOTIATION",
    "PGREQUIREPEER",
    "PGCHANNELBINDING",
];

/// Resolves the connection to the column store; role and database are those of the watched server if not given.
fn store_target(written: Option<Written>, watched: &Target) -> Result<Option<Target>, Failure> {
    let Some((conninfo, whence)) = written else {
        return Ok(None);
    };
    let flags = Flags {
        conninfo: Some(conninfo),
        ..Default::default()
    };
    // The connection string takes precedence, and a service that it names.
    let env = |name: &str| match name {
        "PGHOST" => Some("127.0.0.1".to_owned()),
        "PGPORT" => Some("5439".to_owned()),
        "PGUSER" => Some(watched.user().to_owned()),
        "PGDATABASE" => Some(watched.dbname().to_owned()),
        name if OF_THE_SERVER.contains(&name) || OF_THE_WAY.contains(&name) => None,
        name => env(name),
    };
    let target = Target::resolve(&flags, &env)
        .map_err(|error| Failure::new(USAGE, format!("{whence}: {error}")))?;
    Ok(Some(target.with_application_name("htap-top")))
}

/// Resolves the connection to the pooler's admin console.
fn pooler_target(written: Option<Written>) -> Result<Option<Target>, Failure> {
    let Some((conninfo, whence)) = written else {
        return Ok(None);
    };
    // The connection string takes precedence.
    let flags = Flags {
        conninfo: Some(conninfo),
        port: Some("6432".into()),
        dbname: Some("pgbouncer".into()),
        ..Default::default()
    };
    let env = |name: &str| env(name).filter(|_| !OF_THE_SERVER.contains(&name));
    let target = Target::resolve(&flags, &env)
        .map_err(|error| Failure::new(USAGE, format!("{whence}: {error}")))?;
    Ok(Some(target.with_application_name("htap-top")))
}

/// Formats a target as `shop @ primary:5432`; a socket's folder is shown as `[local]`.
fn shown(target: &Target) -> Clean {
    Clean::from(format!("{} @ {}", target.dbname(), host(target)))
}

fn host(target: &Target) -> String {
    let host = target.host_display();
    let port = host.rsplit_once(':').map(|(_, port)| port);
    match port {
        Some(port) if host.starts_with('/') => format!("[local]:{port}"),
        _ => host,
    }
}

/// Returns an error if an option belongs to one server.
fn refuse_options(beside: &Beside, instead: &str) -> Result<(), Failure> {
    let given = [
        ("--olap", beside.pool.olap.is_some()),
        ("--pooler", beside.pooler.pooler.is_some()),
        ("--columnar", beside.store.columnar.is_some()),
    ];
    match given.iter().find(|(_, given)| *given) {
        None => Ok(()),
        Some((option, _)) => Err(Failure::new(
            USAGE,
            format!("{option} belongs to one server, and several are given: write it {instead}"),
        )),
    }
}

/// Returns an error if the configuration names a pooler or a column store outside of `[[servers]]`.
fn refuse_configured(config: &Config) -> Result<(), Failure> {
    let why = if config.pooler.is_some() {
        "configuration: pooler belongs to one server: write it under the [[servers]] that it is in front of"
    } else if config.columnar.is_some() {
        "configuration: columnar belongs to one server: write it under the [[servers]] whose facts it has"
    } else {
        return Ok(());
    };
    Err(Failure::new(USAGE, why))
}

/// Returns an error if the words are one connection string without quotes: `host=a port=5433`.
fn refuse_unquoted(words: &[String]) -> Result<(), Failure> {
    let keyword = |word: &String| {
        let (keyword, _) = word.split_once('=')?;
        let plain = keyword.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        (plain && !word.contains(char::is_whitespace)).then(|| keyword.to_owned())
    };
    let keywords: Option<Vec<String>> = words.iter().map(keyword).collect();
    match keywords {
        Some(keywords) if twice(&keywords).is_none() => Err(Failure::new(
            USAGE,
            "each of these words would be a server: put a connection string of several settings in quotes",
        )),
        _ => Ok(()),
    }
}

/// Returns the positions of two equal texts, if there are any.
fn twice(texts: &[String]) -> Option<(usize, usize)> {
    texts.iter().enumerate().find_map(|(at, text)| {
        let before = texts.iter().take(at).position(|other| other == text);
        before.map(|before| (before, at))
    })
}

/// Returns a name for each of the targets, which are shown as `shop @ primary:5432`: the database if that is enough to
/// tell them apart, else host and port, else both.
fn names(shown: &[Clean]) -> Vec<String> {
    let part = |pick: fn((&str, &str)) -> String| -> Vec<String> {
        let parts = shown.iter().map(Clean::as_str);
        let parts = parts.map(|shown| shown.rsplit_once(" @ ").map_or(shown.to_owned(), pick));
        parts.collect()
    };
    let candidates = [
        part(|(database, _)| database.to_owned()),
        part(|(_, host)| host.to_owned()),
    ];
    let mut apart = candidates
        .into_iter()
        .filter(|names| twice(names).is_none());
    let whole = || shown.iter().map(ToString::to_string).collect();
    apart.next().unwrap_or_else(whole)
}

/// Returns number, name and colour of a server of the configuration.
fn place(number: usize, server: &Server) -> Result<Place, Failure> {
    let read = |word: &String| -> Result<Option<Colour>, Failure> {
        let colour = theme::colour(word).map_err(|why| fault(server, "colour", &why))?;
        Ok(Depth::detect(&env).shown(colour))
    };
    let colour = server.colour.as_ref().map(read).transpose()?;
    Ok(Place {
        number,
        name: Clean::from(server.name.as_str()),
        colour: colour.flatten(),
    })
}

/// Returns where the sessions of a server of the configuration connect to.
fn configured(server: &Server, beside: &Beside) -> Result<Targets, Failure> {
    let flags = Flags {
        conninfo: Some(server.conninfo.clone()),
        ..Flags::default()
    };
    let oltp = Target::resolve(&flags, &env).map_err(|error| fault(server, "conninfo", &error))?;
    let oltp = oltp.with_application_name("htap-top");
    let place = |key: &str| place_of(server, key);
    let given = ("--olap", &beside.pool.olap);
    let pool = olap_target(written(given, (place("olap"), &server.olap)))?;
    let given = ("--pooler", &beside.pooler.pooler);
    let console = pooler_target(written(given, (place("pooler"), &server.pooler)))?;
    let given = ("--columnar", &beside.store.columnar);
    let store = written(given, (place("columnar"), &server.columnar));
    let store = store_target(store, &oltp)?;
    Ok(Targets::new(oltp, pool, console).with_column_store(store))
}

/// The error of a key in the configuration of a server.
fn fault(server: &Server, key: &str, why: &dyn std::fmt::Display) -> Failure {
    Failure::new(USAGE, format!("{}: {why}", place_of(server, key)))
}

/// Returns where a key of a server is written.
fn place_of(server: &Server, key: &str) -> String {
    let name = Clean::from(server.name.as_str());
    format!("configuration: server {name}: {key}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::options::{ColumnStore, Connection, OlapPool, Pooler};
    use std::path::Path;

    fn words(words: &[&str]) -> Servers {
        Servers {
            conninfos: words.iter().map(|word| (*word).to_owned()).collect(),
            connection: Connection::default(),
        }
    }

    fn chosen(words: &Servers, config: &str) -> Result<Vec<String>, String> {
        let config =
            Config::parse(Path::new("htap.toml"), config).map_err(|error| error.to_string())?;
        let choices = choose(words, &Beside::default(), &config);
        let choices = choices.map_err(|failure| failure.message)?;
        Ok(choices
            .iter()
            .map(|choice| {
                let place = choice.place.as_ref();
                place.map_or(String::new(), |place| place.name.to_string())
            })
            .collect())
    }

    #[test]
    fn names_are_as_short_as_they_can_be() {
        let names = |list: &[&str]| chosen(&words(list), "").unwrap();
        assert_eq!(names(&["host=a dbname=x", "host=b dbname=y"]), ["x", "y"]);
        assert_eq!(
            names(&["host=a dbname=x port=1", "postgresql://b:2/x"]),
            ["a:1", "b:2"]
        );
        assert_eq!(
            names(&[
                "host=a dbname=x port=1",
                "host=b dbname=x port=1",
                "host=b dbname=y port=1"
            ]),
            ["x @ a:1", "x @ b:1", "y @ b:1"]
        );
        assert_eq!(names(&["host=a dbname=x"]), [""], "one has no tab");
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_a_cure() {
        let why = |list: &[&str]| chosen(&words(list), "").unwrap_err();
        let same = why(&["host=a dbname=x", "host=b dbname=x", "host=a dbname=x"]);
        assert!(
            same.contains("servers 1 and 3 are the same") && same.contains("[[servers]]"),
            "{same}"
        );
        let unquoted = why(&["host=a", "port=5433"]);
        assert!(unquoted.contains("in quotes"), "{unquoted}");
        let bad = why(&["host=a dbname=x", "host=b password=secret sslmode=nonsense"]);
        assert!(
            bad.starts_with("server 2: ") && !bad.contains("secret"),
            "{bad}"
        );
        let pooler = chosen(&words(&["host=a", "host=b"]), "pooler = \"host=c\"").unwrap_err();
        assert!(pooler.contains("pooler belongs to one server"), "{pooler}");
        let store = chosen(&words(&["host=a", "host=b"]), "columnar = \"port=1\"").unwrap_err();
        assert!(store.contains("columnar belongs to one server"), "{store}");
        for (number, option) in ["--olap", "--pooler", "--columnar"].iter().enumerate() {
            let given = |at: usize| (at == number).then(|| "x".to_owned());
            let beside = Beside {
                pool: OlapPool {
                    olap: given(0),
                    ..OlapPool::default()
                },
                pooler: Pooler { pooler: given(1) },
                store: ColumnStore { columnar: given(2) },
            };
            let refused = choose(&words(&["host=a", "host=b"]), &beside, &Config::default());
            let why = refused.unwrap_err().message;
            assert!(
                why.contains(option) && why.contains("belongs to one server"),
                "{why}"
            );
        }
    }

    #[test]
    fn the_column_store_is_on_this_machine_unless_the_conninfo_says_otherwise() {
        let target = |conninfo: &str| {
            let beside = Beside {
                store: ColumnStore {
                    columnar: Some(conninfo.to_owned()),
                },
                ..Beside::default()
            };
            let server = words(&["host=db port=5433 user=monitor dbname=shop"]);
            let choices = choose(&server, &beside, &Config::default());
            let choices = choices.map_err(|failure| failure.message).unwrap();
            let target = choices[0].targets.columnar.clone().unwrap();
            [
                target.host_display(),
                target.user().to_owned(),
                target.dbname().to_owned(),
            ]
        };
        assert_eq!(target(""), ["127.0.0.1:5439", "monitor", "shop"]);
        let given = target("port=7 user=htap_olap dbname=other host=::1");
        assert_eq!(given, ["[::1]:7", "htap_olap", "other"]);
        let services = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(services.path(), "[store]\nport=8\nuser=asker\n").unwrap();
        let named = format!("service=store servicefile='{}'", services.path().display());
        assert_eq!(target(&named), ["127.0.0.1:8", "asker", "shop"]);
    }

    #[test]
    fn the_configuration_lists_servers_unless_the_command_line_does() {
        let two = "[[servers]]\nname = \"shop\"\nconninfo = \"host=a\"\ncolour = \"red\"\n\
                   [[servers]]\nname = \"reports\"\nconninfo = \"host=b\"\nolap = \"host=c\"\npooler = \"host=d\"\n\
                   columnar = \"port=7\"\n";
        assert_eq!(chosen(&words(&[]), two).unwrap(), ["shop", "reports"]);
        assert_eq!(chosen(&words(&["host=z"]), two).unwrap(), [""]);
        let pooler = chosen(&words(&[]), &format!("pooler = \"host=c\"\n{two}")).unwrap_err();
        assert!(pooler.contains("pooler belongs to one server"), "{pooler}");
        let bad = two.replace("host=b", "host=b sslmode=x");
        let why = chosen(&words(&[]), &bad).unwrap_err();
        assert!(why.contains("server reports: conninfo: "), "{why}");
        let why = chosen(&words(&[]), &two.replace("host=d", "host=d port")).unwrap_err();
        assert!(why.contains("server reports: pooler: "), "{why}");
        let why = chosen(&words(&[]), &two.replace("port=7", "port=7 sslmode=x")).unwrap_err();
        assert!(why.contains("server reports: columnar: "), "{why}");
        let why = chosen(&words(&[]), &two.replace("red", "rde")).unwrap_err();
        assert!(
            why.contains("server shop: colour: ") && why.contains("the nearest is red"),
            "{why}"
        );
    }
}
