//! One setting is the same in the file, in the environment and as a flag.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Command, CommandFactory as _, FromArgMatches as _};
use socketmesh::engine::{self, Compression, Transport};
use socketmesh::socket;

use super::arguments::settings;
use super::*;
use crate::Cli;

/// The command without the environment of whoever runs the tests.
fn serve() -> Command {
    let serve = Cli::command().find_subcommand("serve").cloned().unwrap();
    with_switches(serve).no_binary_name(true).mut_args(|arg| arg.env(clap::builder::Resettable::Reset))
}

/// The command with its variables, for what names them.
fn serve_with_variables() -> Command {
    with_switches(Cli::command().find_subcommand("serve").cloned().unwrap())
}

fn file(text: &str) -> Result<File, String> {
    static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("socketmesh-{}-{number}.toml", std::process::id()));
    std::fs::write(&path, text).unwrap();
    let read = File::read(&path, &serve_with_variables());
    std::fs::remove_file(path).unwrap();
    read.map_err(|error| error.replace(&format!("socketmesh-{}-{number}", std::process::id()), "a"))
}

fn parse_with(file: Option<&File>, arguments: &[&str]) -> Result<(Settings, Places), String> {
    let command = match file {
        Some(file) => with_defaults(serve(), file),
        None => serve(),
    };
    let matches = command.try_get_matches_from(arguments).map_err(|error| error.to_string())?;
    let places = Places::new(&serve_with_variables(), &matches, file);
    let settings = Settings::from_arg_matches(&matches).unwrap();
    settings.check(&places).map(|()| (settings, places))
}

fn parse(arguments: &[&str]) -> Result<Settings, String> {
    parse_with(None, arguments).map(|(settings, _)| settings)
}

fn engine_config(settings: &Settings) -> engine::Config {
    settings.sessions.engine_config(settings.clients.webtransport())
}

#[test]
fn without_flags_sessions_have_the_defaults_of_the_library() {
    assert_eq!(engine_config(&parse(&[]).unwrap()), engine::Config::default());
    assert_eq!(parse(&[]).unwrap().sessions.socket_config(), socket::Config::default());
}

#[test]
fn flags_reach_the_sessions() {
    let settings = parse(&[
        "--allow-eio3",
        "--transports=websocket",
        "--ping-interval=500ms",
        "--ping-timeout=2m",
        "--max-payload=5kB",
        "--max-sessions=7",
        "--max-sessions-per-address=6",
        "--max-handshakes-per-address=5",
        "--max-buffered-total=4MiB",
        "--per-message-deflate",
        "--compression-level=9",
        "--parser=msgpack",
        "--webtransport=127.0.0.1:0",
        "--webtransport-self-signed",
    ]);
    let settings = settings.unwrap();
    let config = engine_config(&settings);
    assert!(config.allow_eio3);
    assert_eq!(config.transports, [Transport::WebSocket, Transport::WebTransport]);
    assert_eq!(
        (config.ping_interval, config.ping_timeout),
        (Duration::from_millis(500), Duration::from_secs(120))
    );
    assert_eq!((config.max_payload, config.max_sessions, config.max_buffered_total), (5000, 7, 4 << 20));
    assert_eq!(config.max_sessions_per_address, Some(6));
    assert_eq!(config.max_handshakes_per_address, Some(5));
    assert_eq!(config.per_message_deflate, Some(Compression::default().level(9)));
    assert_eq!(config.http_compression, config.per_message_deflate);
    assert_eq!(settings.sessions.socket_config().parser, socket::Parser::MessagePack);
}

#[test]
fn a_flag_wins_over_the_file_in_both_directions() {
    let said =
        file("ping_interval = \"10s\"\nallow_eio3 = true\nseed = [\"a:1\", \"b:2\"]\nmesh = \"127.0.0.1:0\"")
            .unwrap();
    let (settings, _) = parse_with(Some(&said), &[]).unwrap();
    let config = engine_config(&settings);
    assert_eq!((config.ping_interval, config.allow_eio3), (Duration::from_secs(10), true));
    let (settings, _) = parse_with(Some(&said), &["--ping-interval=5s", "--allow-eio3=off"]).unwrap();
    let config = engine_config(&settings);
    assert_eq!((config.ping_interval, config.allow_eio3), (Duration::from_secs(5), false));
}

#[test]
fn what_is_wrong_in_a_file_is_named_with_its_line() {
    for (text, why) in [
        (
            "http = \"0.0.0.0:1\"\nping_intervall = \"1s\"",
            "a.toml:2: there is no setting ping_intervall; is ping_interval meant?",
        ),
        ("ping_interval = 25", "a.toml:1: ping_interval = 25: expected a time with its unit"),
        ("# one\n\nmax_payload = \"a lot\"", "a.toml:3: max_payload = \"a lot\": expected a number of bytes"),
        ("parser = \"xml\"", "a.toml:1: parser = \"xml\": expected json or msgpack"),
        ("http = [\"0.0.0.0:1\"]", "a.toml:1: http = [\"0.0.0.0:1\"]: expected one value"),
        ("allow_eio3 = \"perhaps\"", "a.toml:1: allow_eio3 = \"perhaps\": expected true or false"),
        ("trusted_proxies = [\"loopback\", \"10.0.0.0/99\"]", "\"10.0.0.0/99\" is no network"),
        ("[sessions]\nping_interval = \"1s\"", "a.toml:1: there is no setting sessions"),
        ("config = \"b.toml\"", "a.toml:1: there is no setting config"),
        ("http = ", "a.toml:1: "),
        ("http = \"1.1.1.1:1\"\nhttp = \"1.1.1.1:1\"", "a.toml:2: duplicate key"),
    ] {
        let said = file(text).unwrap_err();
        assert!(said.contains(why), "{text}: {said}");
    }
}

#[test]
fn values_of_a_file_may_have_the_types_of_toml_or_be_texts() {
    let said = "serve_alone = \"yes\"\nmax_sessions = \"7\"\nmax_connections = 9\nmesh = \"127.0.0.1:0\"\nadmin = 9090\n\
        cors_origin = \"https://a, https://b\"\ncors_credentials = 1\ntransports = [\"websocket\"]";
    let said = file(said).unwrap();
    let (settings, places) = parse_with(Some(&said), &[]).unwrap();
    assert_eq!(engine_config(&settings).max_sessions, 7);
    assert_eq!(engine_config(&settings).transports, [Transport::WebSocket]);
    let serve = serve_with_variables();
    let printed: Vec<_> =
        places.printed(&serve).filter_map(|one| Some(format!("{} = {}", one.name, one.value?))).collect();
    for line in [
        "serve_alone = true",
        "max_sessions = 7",
        "cors_origin = [\"https://a\", \"https://b\"]",
        "cors_credentials = true",
        "ping_interval = \"25s\"",
    ] {
        assert!(printed.iter().any(|printed| printed == line), "{line}: {printed:?}");
    }
    // What is printed says the same again.
    let again = file(&printed.join("\n")).unwrap();
    let (again, _) = parse_with(Some(&again), &[]).unwrap();
    assert_eq!(engine_config(&again), engine_config(&settings));
}

#[test]
fn settings_that_need_each_other_are_named_with_their_places() {
    let said = file("tls_cert = \"chain.pem\"").unwrap();
    let refused = parse_with(Some(&said), &[]).unwrap_err();
    assert!(
        refused.contains(".toml:1: tls_cert needs tls_key as well (--tls-key or SOCKETMESH_TLS_KEY)"),
        "{refused}"
    );
    for (said, why) in [
        (&["--tls-key", "key.pem"][..], "--tls-key needs tls_cert"),
        (&["--webtransport-self-signed"], "--webtransport-self-signed needs webtransport"),
        (&["--webtransport", "127.0.0.1:0"], "--webtransport needs a certificate"),
        (&["--mesh-ca", "ca.pem"], "--mesh-ca needs mesh_cert"),
        (&["--seed", "127.0.0.1:1"], "--seed needs mesh"),
        (&["--cors-credentials"], "--cors-credentials needs cors_origin"),
        (&["--cors-credentials", "--cors-origin=*"], "--cors-origin *: browsers send cookies only"),
        (&["--proxy-header=forwarded"], "--proxy-header needs trusted_proxies"),
        (&["--max-payload=0"], "--max-payload 0: expected 1 to"),
        (&["--mesh=127.0.0.1:0", "--seed="], "the seed (--seed or SOCKETMESH_SEED) is empty"),
    ] {
        let refused = parse(said).unwrap_err();
        assert!(refused.contains(why), "{said:?}: {refused}");
    }
}

#[test]
fn a_drain_without_a_notice_of_its_own_may_be_as_short_as_one_likes() {
    use socketmesh::Drain;
    for (said, notice, spread) in [
        (&["--drain=0s"][..], 0, 0),
        (&["--drain=500ms"], 500, 0),
        (&["--drain=3s"], 1000, 2000),
        (&["--drain=3s", "--drain-notice=3s"], 3000, 0),
    ] {
        let [notice, spread] = [notice, spread].map(Duration::from_millis);
        let drain = parse(said).unwrap().clients.drain();
        assert_eq!(drain, Drain::default().notice(notice).spread(spread), "{said:?}");
    }
    let file = file("drain_notice = \"2s\"\n").unwrap();
    let refused = parse_with(Some(&file), &["--drain=1s"]).unwrap_err();
    assert!(refused.contains("drain_notice is a part of --drain, and longer"), "{refused}");
}

#[test]
fn what_means_nothing_is_refused() {
    for said in [
        ["--ping-interval", "25"],
        ["--ping-timeout", "-1s"],
        ["--transports", "polling,tcp"],
        ["--path", "socket.io"],
        ["--admin", "localhost"],
        ["--trusted-proxies", "10.0.0.0/8,elsewhere"],
        ["--proxy-header", "x-real-ip"],
        ["--cookie", "io; SameSite=None"],
        ["--cookie", "i o"],
        ["--cookie", "io; Domain="],
        ["--cookie", "io; Max-Age=soon"],
        ["--cookie", "io; Partitioned"],
        ["--cookie", "io; Expires=never"],
        ["--compression-level", "1"],
        ["--log", "loud"],
    ] {
        assert!(parse(&said).is_err(), "{said:?}");
    }
    assert!(parse(&["--cookie", "io; Path=/chat; Secure; SameSite=None"]).is_ok());
    let all = "io; Max-Age=60; Domain=example.com; Path=/Chat; Secure; Partitioned; Priority=High";
    assert!(parse(&["--cookie", all]).is_ok());
}

#[test]
fn a_path_ends_with_one_slash() {
    for said in ["/realtime", "/realtime/", "/realtime//"] {
        assert_eq!(parse(&["--path", said]).unwrap().clients.path, "/realtime/");
    }
    assert_eq!(parse(&["--path", "/"]).unwrap().clients.path, "/");
}

#[test]
fn operators_of_this_machine_need_only_a_port() {
    assert_eq!(admin_address("9090").unwrap().to_string(), "127.0.0.1:9090");
    assert_eq!(admin_address(" 0.0.0.0:1 ").unwrap().to_string(), "0.0.0.0:1");
}

#[test]
fn there_are_few_settings_each_with_a_variable_and_words() {
    let serve = serve_with_variables();
    let all: Vec<_> = settings(&serve).collect();
    assert!(all.len() <= 49, "{}", all.len());
    for setting in all {
        let name = setting.get_id().as_str();
        assert_eq!(
            setting.get_env().unwrap().to_str().unwrap(),
            format!("SOCKETMESH_{}", name.to_uppercase())
        );
        assert_eq!(setting.get_long().unwrap(), name.replace('_', "-"));
        assert!(setting.get_help().is_some(), "{name}");
    }
}

#[test]
fn the_schema_has_every_setting_with_its_default() {
    let serve = serve_with_variables();
    let schema = schema(&serve);
    let properties = schema["properties"].as_object().unwrap();
    assert_eq!(properties.len(), settings(&serve).count());
    assert_eq!(properties["ping_interval"]["default"], "25s");
    assert_eq!(properties["parser"]["enum"], serde_json::json!(["json", "msgpack"]));
    assert_eq!(properties["transports"]["default"], serde_json::json!(["polling", "websocket"]));
    assert_eq!(properties["serve_alone"]["default"], false);
}

/// The table of the settings is made from their types; `SOCKETMESH_TEST_OVERWRITE=1` writes it anew.
#[test]
fn the_reference_has_the_table_that_the_types_make() {
    let page = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/configuration.md");
    let text = std::fs::read_to_string(&page).unwrap();
    let (begin, end) = ("<!-- settings of the program -->\n", "<!-- end of the settings -->");
    let (before, rest) = text.split_once(begin).unwrap();
    let (_, after) = rest.split_once(end).unwrap();
    let made = format!("{before}{begin}{}{end}{after}", table());
    if std::env::var_os("SOCKETMESH_TEST_OVERWRITE").is_some() {
        std::fs::write(&page, &made).unwrap();
    }
    assert!(text == made, "the table is not up to date: run this test with SOCKETMESH_TEST_OVERWRITE=1");
}

fn table() -> String {
    let serve = serve_with_variables();
    let (mut table, mut heading) = (String::new(), String::new());
    for setting in settings(&serve) {
        let of = setting.get_help_heading().unwrap_or_default();
        if of != heading {
            heading = of.to_owned();
            table += &format!(
                "\n### {heading}\n\n| Key | Flag | Variable | Default | Meaning |\n| --- | --- | --- | --- | --- |\n"
            );
        }
        let help = setting.get_help().unwrap().to_string();
        let (help, told) = match help.split_once(" [default: ") {
            Some((help, rest)) => (help.to_owned() + ".", rest.trim_end_matches(['.', ']']).to_owned()),
            None => (help, String::new()),
        };
        let defaults: Vec<_> =
            setting.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
        let default = match (defaults.join(","), told) {
            (default, _) if !default.is_empty() => format!("`{default}`"),
            (_, told) if !told.is_empty() => told,
            _ => "–".to_owned(),
        };
        let (name, variable) = (setting.get_id().as_str(), setting.get_env().unwrap().to_string_lossy());
        let flag = setting.get_long().unwrap();
        table += &format!(
            "| `{name}` | `--{flag}` | `{variable}` | {default} | {} |\n",
            help.trim_end_matches('.')
        );
    }
    table + "\n"
}
