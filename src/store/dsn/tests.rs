//! Every form of an address, right and wrong.

use super::*;

fn parse(text: &str) -> Result<Dsn, DsnError> {
    Dsn::parse(text, Path::new("/data"))
}

fn tls(dsn: &Dsn) -> Tls {
    match dsn {
        Dsn::Sqlite(_) => Tls::Off,
        Dsn::Postgres(dsn) => dsn.tls,
        Dsn::Mysql(dsn) => dsn.tls,
    }
}

#[test]
fn every_form_reaches_its_database() {
    for (text, shown, encrypted) in [
        ("", "sqlite:/data/penstock.db", Tls::Off),
        ("  ", "sqlite:/data/penstock.db", Tls::Off),
        ("sqlite:x/y.db", "sqlite:x/y.db", Tls::Off),
        ("sqlite://x/y.db?_busy_timeout=5000", "sqlite:x/y.db", Tls::Off),
        ("sqlite:///var/lib/y.db", "sqlite:/var/lib/y.db", Tls::Off),
        ("postgres://u:p@h/n", "postgres://u@h:5432/n", Tls::Prefer),
        ("postgresql://u:p@h:6000/n?sslmode=disable", "postgres://u@h:6000/n", Tls::Off),
        ("postgres://u:p%40%2Fq@h/n?sslmode=require", "postgres://u@h:5432/n", Tls::Unverified),
        ("postgres://u@h1,h2:7/n?sslmode=verify-full", "postgres://u@h1:5432,h2:7/n", Tls::Verified),
        ("postgres://u@h/n?sslrootcert=/ca.pem&application_name=x", "postgres://u@h:5432/n", Tls::Verified),
        ("postgres://u:p@%2Ftmp%2Fpg/n", "postgres://u@/tmp/pg:5432/n", Tls::Prefer),
        ("postgres://u:p@h", "postgres://u@h:5432/u", Tls::Prefer),
        ("mysql://u:p@h/n", "mysql://u@h:3306/n", Tls::Off),
        ("mysql://u:p%40x@h:3307/n?ssl-mode=REQUIRED", "mysql://u@h:3307/n", Tls::Unverified),
        ("mysql://u@[::1]:3307/n", "mysql://u@::1:3307/n", Tls::Off),
        ("u:p@tcp(h:3307)/n?charset=utf8mb4&parseTime=True&loc=Local", "mysql://u@h:3307/n", Tls::Off),
        ("u:p@tcp(h)/n?tls=skip-verify", "mysql://u@h:3306/n", Tls::Unverified),
        ("u:p@tcp(h)/n?tls=true", "mysql://u@h:3306/n", Tls::Verified),
        ("u:p@tcp(h)/n?tls=preferred", "mysql://u@h:3306/n", Tls::Prefer),
        ("u:p@tcp([::1]:3307)/n", "mysql://u@::1:3307/n", Tls::Off),
        ("u:p@unix(/run/m.sock)/n", "mysql://u@/run/m.sock/n", Tls::Off),
        ("u:p@/n", "mysql://u@127.0.0.1:3306/n", Tls::Off),
        ("u:p@:a/b@c@tcp(h)/n", "mysql://u@h:3306/n", Tls::Off),
    ] {
        let dsn = parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!((dsn.to_string().as_str(), tls(&dsn)), (shown, encrypted), "{text}");
    }
}

#[test]
fn passwords_of_gos_form_may_hold_any_character() {
    let Ok(Dsn::Mysql(dsn)) = parse("u:p@:a/b@c@tcp(h)/n") else { panic!("no MySQL") };
    assert_eq!(dsn.password, "p@:a/b@c");
    let Ok(Dsn::Mysql(dsn)) = parse("mysql://u:%40%25@h/n") else { panic!("no MySQL") };
    assert_eq!(dsn.password, "@%");
}

#[test]
fn what_reaches_nothing_is_refused_without_repeating_it() {
    for text in [
        "local",
        "penstock.db",
        "s3cret",
        "oracle://u:s3cret@h/n",
        "sqlite:",
        "sqlite::memory:",
        "postgres://",
        "postgres://u:s3cret@h:port/n",
        "postgres://u:s3cret@h/n?sslmode=maybe",
        "postgres://u:s3cret@h/n?s3cret=1",
        "mysql://u:s3cret@h",
        "mysql://u:s3cret@/n",
        "mysql://u:s3cret%zz@h/n",
        "mysql://u:s3cret@h:99999/n",
        "u:s3cret@tcp(h:x)/n",
        "u:s3cret@udp(h)/n",
        "u:s3cret@tcp(h)/",
        "u:s3cret@tcp(h)/n?tls=custom",
        "u:s3cret@tcp(h)/n?sql_mode=ANSI",
    ] {
        let error = parse(text).expect_err(text).to_string();
        assert!(!error.contains("s3cret") && error.len() > 20, "{text}: {error}");
    }
}

#[test]
fn a_password_is_never_shown() {
    for text in ["postgres://u:s3cret@h/n", "mysql://u:s3cret@h/n", "u:s3cret@tcp(h)/n"] {
        let dsn = parse(text).expect(text);
        assert!(!format!("{dsn} {dsn:?}").contains("s3cret"), "{dsn}");
    }
}
