use super::*;
use crate::pg::options::SslMode;
use std::collections::HashMap;

fn resolve(conninfo: &str, env: &[(&str, &str)]) -> Result<Target, ConninfoError> {
    let flags = Flags {
        conninfo: Some(conninfo.to_owned()),
        ..Flags::default()
    };
    resolve_flags(&flags, env)
}

fn resolve_flags(flags: &Flags, env: &[(&str, &str)]) -> Result<Target, ConninfoError> {
    let mut env: HashMap<_, _> = env.iter().copied().collect();
    env.entry("HOME").or_insert("/nonexistent");
    env.entry("PGSYSCONFDIR").or_insert("/nonexistent");
    Target::resolve(flags, &|name| env.get(name).map(|v| (*v).to_owned()))
}

fn password(target: &Target) -> Option<String> {
    target.password(&target.endpoints[0]).map(|(text, _)| text)
}

#[test]
fn nothing_given_is_the_local_server_as_oneself() {
    let target = resolve("", &[]).unwrap();
    let me = account::user().unwrap();
    assert_eq!((target.user(), target.dbname()), (&*me, &*me));
    assert!(target.host_display().ends_with(":5432"));
    assert_eq!(target.application_name, "htap-top");
    assert_eq!(target.tls.mode, SslMode::Prefer);
    assert_eq!(target.connect_timeout(), None);
    assert_eq!(target.connect_deadline(), Duration::from_secs(5));
    assert_eq!(password(&target), None);
}

#[test]
fn connection_string_before_flags_before_service_before_environment() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("service");
    let text = "[s]\nhost=service\nport=2\nuser=service\ndbname=service\npassword=canary\n";
    std::fs::write(&file, text).unwrap();
    let file = file.to_string_lossy().into_owned();
    let env = [
        ("PGSERVICEFILE", &*file),
        ("PGHOST", "env"),
        ("PGPORT", "3"),
        ("PGAPPNAME", "env"),
        ("PGPASSWORD", "env"),
        ("PGSSLMODE", "require"),
    ];
    let mut flags = Flags {
        conninfo: Some("host=string service=s".to_owned()),
        host: Some("flag".to_owned()),
        user: Some("flag".to_owned()),
        ..Flags::default()
    };
    let target = resolve_flags(&flags, &env).unwrap();
    assert_eq!(target.to_string(), "flag@string:2/service");
    assert_eq!(target.application_name, "env");
    assert_eq!(password(&target).as_deref(), Some("canary"));
    assert_eq!(target.tls.mode, SslMode::Require);

    flags.conninfo = Some("shop".to_owned());
    let target = resolve_flags(&flags, &env).unwrap();
    assert_eq!(target.to_string(), "flag@flag:3/shop");
    assert_eq!(password(&target).as_deref(), Some("env"));

    flags.dbname = Some("postgres://uri/db".to_owned());
    flags.conninfo = None;
    let target = resolve_flags(&flags, &env).unwrap();
    assert_eq!(target.to_string(), "flag@uri:3/db");

    let target = resolve("", &[("PGSERVICE", "s"), ("PGSERVICEFILE", &file)]).unwrap();
    assert_eq!(target.host_display(), "service:2");
    assert!(
        resolve("service=none", &env)
            .unwrap_err()
            .to_string()
            .contains("\"none\" not found")
    );
}

#[test]
fn an_empty_value_hides_the_environment() {
    let env = [("PGAPPNAME", "env"), ("PGPORT", "7")];
    let target = resolve("host=h application_name='' port=''", &env).unwrap();
    assert_eq!(target.application_name, "htap-top");
    assert_eq!(target.host_display(), "h:5432");
    let target = resolve("fallback_application_name=f", &[]).unwrap();
    assert_eq!(target.application_name, "f");
}

#[test]
fn the_password_file_is_asked_for_the_role_in_question() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(".pgpass");
    std::fs::write(&file, "h:5432:d:u:pu\n*:*:*:v:pv\nlocalhost:*:*:w:pw\n").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let home = folder.path().to_string_lossy().into_owned();
    let env = [("HOME", &*home)];
    let target = resolve("host=h user=u dbname=d", &env).unwrap();
    assert_eq!(password(&target).as_deref(), Some("pu"));
    assert_eq!(password(&target.with_user("v")).as_deref(), Some("pv"));
    assert_eq!(password(&target.with_dbname("x")), None);
    let socket = resolve("host=/var/run/postgresql user=w", &env).unwrap();
    assert_eq!(password(&socket).as_deref(), Some("pw"));
    let given = resolve("host=h user=u dbname=d password=mine", &env).unwrap();
    assert_eq!(password(&given).as_deref(), Some("mine"));
    let none = resolve("host=h user=u dbname=d passfile=''", &env).unwrap();
    assert_eq!(password(&none), None);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let target = resolve("host=h user=u dbname=d", &env).unwrap();
    assert_eq!(password(&target), None);
    assert!(target.warnings()[0].contains("chmod 0600"));
}

#[test]
fn no_password_is_ever_shown() {
    for text in [
        "postgres://u:canary@h/d",
        "host=h password=canary sslpassword=canary oauth_client_secret=canary",
    ] {
        let target = resolve(text, &[]).unwrap();
        let shown = format!(
            "{target:?} {target} {} {}",
            target.to_conninfo(),
            target.host_display()
        );
        assert!(!shown.contains("canary"), "{shown}");
    }
    for text in [
        "postgres://u:canary/@h/d",
        "postgres://u:x@canary@h",
        "host=h password='canary",
        "host=h port=canary",
        "host=h password=a canary",
    ] {
        let said = resolve(text, &[]).unwrap_err().to_string();
        assert!(!said.contains("canary"), "{said}");
    }
}

#[test]
fn settings_can_be_handed_on() {
    let target = resolve("postgres://o'h:x@h1:1,h2:2/d%5C?sslmode=require", &[]).unwrap();
    assert_eq!(
        target
            .with_dbname("it's")
            .with_application_name("n")
            .to_conninfo(),
        "host='h1,h2' port='1,2' sslmode='require' user='o\\'h' dbname='it\\'s' application_name='n'"
    );
    let again = resolve(&target.to_conninfo(), &[("PGHOST", "x")]).unwrap();
    assert_eq!(again.to_string(), "o'h@h1:1, h2:2/d\\");
    let local = Target::local(Path::new("/run/x y"), 7, "u", "d");
    let again = resolve(&local.to_conninfo(), &[]).unwrap();
    assert_eq!(again.to_string(), "u@/run/x y:7/d");
    assert_eq!(again.endpoints, local.endpoints);
}

#[test]
fn times_have_the_units_of_libpq() {
    let target = resolve(
        "host=h,i connect_timeout=1 tcp_user_timeout=1500 keepalives_idle=0 keepalives_count=9",
        &[],
    )
    .unwrap();
    assert_eq!(target.connect_timeout(), Some(Duration::from_secs(2)));
    assert_eq!(target.connect_deadline(), Duration::from_secs(4));
    let network = &target.network;
    assert_eq!(network.user_timeout, Some(Duration::from_millis(1500)));
    assert_eq!((network.idle, network.count), (None, Some(9)));
    assert_eq!(network.interval, Some(Duration::from_secs(5)));
    let target = resolve("connect_timeout=0 keepalives=0", &[]).unwrap();
    assert_eq!(target.connect_timeout(), None);
    assert!(!target.network.keepalives);
}

#[test]
fn wrong_values_are_refused_with_the_right_ones() {
    for (text, part) in [
        (
            "sslmode=full",
            "disable, allow, prefer, require, verify-ca, verify-full",
        ),
        ("target_session_attrs=master", "primary"),
        ("channel_binding=yes", "require"),
        ("connect_timeout=soon", "whole number"),
        ("sslmode=require sslrootcert=system", "verify-full"),
        ("sslnegotiation=direct", "sslmode=require"),
        ("gssencmode=require", "not supported"),
        ("require_auth=scram-sha-256", "channel_binding=require"),
        ("ssl_min_protocol_version=1.2", "TLSv1.2"),
        ("requiressl=1", "unknown connection keyword"),
    ] {
        let said = resolve(text, &[]).unwrap_err().to_string();
        assert!(said.contains(part), "{text}: {said}");
    }
    let ignored = "krbsrvname=x gsslib=y replication=database sslcompression=1 client_encoding=L1";
    resolve(ignored, &[]).unwrap();
    let target = resolve("sslrootcert=system", &[]).unwrap();
    assert_eq!(target.tls.mode, SslMode::VerifyFull);
}
