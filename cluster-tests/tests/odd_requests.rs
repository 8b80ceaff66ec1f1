//! What a request is, is decided once, where it arrives: its answer is the same whichever node owns the session.

use cluster_tests::answer::answer;
use cluster_tests::fixture::Suite;
use cluster_tests::polling::Polling;
use cluster_tests::target::Target;
use futures_util::future::join_all;

#[tokio::test]
async fn every_node_gives_the_same_answer_to_an_odd_request() {
    let target = Target::three_nodes(Suite::EngineV3Patient);
    let answers = requests().into_iter().map(async |(name, request)| {
        let ask = async |node: usize| {
            let session = Polling::open(&target.at(0)).await;
            session.send("4hello").await;
            let request = request.replace("SID", session.sid());
            answer(target.at(node).addr(), request.as_bytes()).await
        };
        let (own, other) = tokio::join!(ask(0), ask(1));
        (own != other).then(|| format!("{name}:\n  at the owner:    {own}\n  at another node: {other}"))
    });
    let different: Vec<_> = join_all(answers).await.into_iter().flatten().collect();
    assert!(different.is_empty(), "{}", different.join("\n"));
}

#[tokio::test]
async fn the_names_of_headers_are_spelled_as_node_spells_them() {
    let target = Target::three_nodes(Suite::EngineV3Patient);
    for node in [0, 1] {
        let session = Polling::open(&target.at(0)).await;
        session.send("4hello").await;
        let head = async |query: &str, more: &str| {
            let uri = target.uri(&format!("{query}&sid={}", session.sid()));
            let request = format!("GET {uri} HTTP/1.1\r\nHost: x\r\n{more}\r\n");
            target.at(node).raw(&request, "\r\n\r\n").await
        };
        let poll = head("EIO=4&transport=polling", "Connection: close\r\n").await;
        for name in ["Content-Type: text/plain", "Content-Length: 6", "Cache-Control: no-store"] {
            assert!(poll.contains(&format!("\r\n{name}")), "{name} at node {node}: {poll}");
        }
        let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: chat\r\n";
        let accepted = head("EIO=4&transport=websocket", upgrade).await;
        for name in [
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
            "Sec-WebSocket-Protocol: chat",
        ] {
            assert!(accepted.contains(&format!("\r\n{name}\r\n")), "{name} at node {node}: {accepted}");
        }
    }
}

#[tokio::test]
async fn what_asks_for_a_websocket_is_decided_by_the_letter() {
    let target = Target::three_nodes(Suite::EngineV3Patient);
    let poll = "200 4hello";
    for (name, expected) in [
        ("a WebSocket", "101 "),
        ("a WebSocket of version 8", "101 "),
        ("a list with websocket", "101 "),
        ("an upgrade that the connection does not name", "400 {\"code\":3,\"message\":\"Bad request\"}"),
        ("an upgrade over HTTP/1.0", "400 {\"code\":3,\"message\":\"Bad request\"}"),
        ("a poll with a stray upgrade", poll),
        ("a poll with an upgrade to h2c", poll),
        ("a WebSocket of version 7", "400 Bad request"),
        ("a WebSocket without a key", "400 Bad request"),
        ("a WebSocket with a subprotocol twice", "400 Bad request"),
        ("a poll with 101 headers", poll),
        ("a poll with quotes", poll),
        ("a poll with letters", poll),
        ("a poll with 500 headers", poll),
        ("a post with 200 headers", "200 ok"),
        ("a poll without a host", "400 "),
    ] {
        let requests = requests();
        let request = requests.iter().find(|(other, _)| *other == name).map(|(_, request)| request);
        for node in [0, 1] {
            let session = Polling::open(&target.at(0)).await;
            session.send("4hello").await;
            let request = request.expect(name).replace("SID", session.sid());
            let answer = answer(target.at(node).addr(), request.as_bytes()).await;
            assert_eq!(answer.essence(), expected, "{name} at node {node}");
        }
    }
}

#[tokio::test]
async fn the_first_subprotocol_that_is_offered_is_spoken_on_every_node() {
    let target = Target::three_nodes(Suite::EngineV3Patient);
    for (name, spoken) in [("a WebSocket with a subprotocol", Some("app.v1")), ("a WebSocket", None)] {
        let requests = requests();
        let (_, request) = requests.iter().find(|(other, _)| *other == name).expect(name);
        for node in [0, 1] {
            let session = Polling::open(&target.at(0)).await;
            let answer =
                answer(target.at(node).addr(), request.replace("SID", session.sid()).as_bytes()).await;
            assert_eq!(answer.header("Sec-WebSocket-Protocol"), spoken, "{name}");
        }
    }
}

/// Requests with a name each, in which `SID` is the id of a session on polling that has a message to send.
fn requests() -> Vec<Odd> {
    [upgrades(), polls(), posts(), methods()].concat()
}

type Odd = (&'static str, String);

fn upgrades() -> Vec<Odd> {
    let usual = ["Connection: Upgrade", "Upgrade: websocket", VERSION, KEY];
    let upgrade = |headers: &[&str]| get(WS, &[&usual, headers].concat());
    vec![
        ("a WebSocket", upgrade(&[])),
        (
            "a list with websocket",
            get(WS, &["Connection: keep-alive, upgrade", "Upgrade: h2c, WebSocket", VERSION, KEY]),
        ),
        (
            "a WebSocket of version 8",
            get(WS, &["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 8", KEY]),
        ),
        (
            "a WebSocket of version 7",
            get(WS, &["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 7", KEY]),
        ),
        ("a WebSocket without a version", get(WS, &["Connection: Upgrade", "Upgrade: websocket", KEY])),
        ("a WebSocket without a key", get(WS, &["Connection: Upgrade", "Upgrade: websocket", VERSION])),
        (
            "a WebSocket with a short key",
            get(WS, &["Connection: Upgrade", "Upgrade: websocket", VERSION, "Sec-WebSocket-Key: abc"]),
        ),
        ("a WebSocket with two keys", upgrade(&[KEY])),
        ("a WebSocket with a subprotocol", upgrade(&["Sec-WebSocket-Protocol: app.v1, app.v2"])),
        ("a WebSocket with a subprotocol twice", upgrade(&["Sec-WebSocket-Protocol: a, a"])),
        ("a WebSocket with a subprotocol that is none", upgrade(&["Sec-WebSocket-Protocol: a/b"])),
        ("a WebSocket with an extension", upgrade(&["Sec-WebSocket-Extensions: permessage-deflate"])),
        ("a WebSocket with an origin", upgrade(&["Origin: http://a.example"])),
        ("a WebSocket with a body", upgrade(&["Content-Length: 2"]) + "ab"),
        ("an upgrade that the connection does not name", get(WS, &["Upgrade: websocket", VERSION, KEY])),
        (
            "an upgrade that the connection spells otherwise",
            get(WS, &["Connection: upgraded", "Upgrade: websocket", VERSION, KEY]),
        ),
        ("a connection that names an upgrade to nothing", get(WS, &["Connection: upgrade", VERSION, KEY])),
        ("an upgrade to h2c", get(WS, &["Connection: upgrade", "Upgrade: h2c", VERSION, KEY])),
        (
            "an upgrade over HTTP/1.0",
            http(
                &format!("GET {WS} HTTP/1.0"),
                &["Connection: Upgrade", "Upgrade: websocket", VERSION, KEY],
                "",
            ),
        ),
        (
            "an upgrade by POST",
            http(
                &format!("POST {WS} HTTP/1.1"),
                &["Host: x", "Connection: Upgrade", "Upgrade: websocket", VERSION, KEY, "Content-Length: 0"],
                "",
            ),
        ),
        (
            "an upgrade by HEAD",
            http(
                &format!("HEAD {WS} HTTP/1.1"),
                &["Host: x", "Connection: Upgrade", "Upgrade: websocket", VERSION, KEY],
                "",
            ),
        ),
    ]
}

fn polls() -> Vec<Odd> {
    vec![
        ("a poll", get(POLL, &[])),
        ("a poll with a stray upgrade", get(POLL, &["Upgrade: websocket"])),
        (
            "a poll with an upgrade to h2c",
            get(
                POLL,
                &[
                    "Connection: Upgrade, HTTP2-Settings",
                    "Upgrade: h2c",
                    "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA",
                ],
            ),
        ),
        (
            "a poll that asks for a WebSocket",
            get(POLL, &["Connection: Upgrade", "Upgrade: websocket", VERSION, KEY]),
        ),
        ("a poll that asks for a WebSocket badly", get(POLL, &["Connection: Upgrade", "Upgrade: websocket"])),
        ("a poll over HTTP/1.0", http(&format!("GET {POLL} HTTP/1.0"), &[], "")),
        (
            "a poll over HTTP/1.0 that stays",
            http(&format!("GET {POLL} HTTP/1.0"), &["Connection: keep-alive"], ""),
        ),
        ("a poll that closes", get(POLL, &["Connection: close"])),
        ("a poll whose connection names a header", get(POLL, &["Connection: x-own", "x-own: 1"])),
        ("a poll with trailers", get(POLL, &["TE: trailers", "Connection: TE"])),
        (
            "a poll that was given up by a proxy",
            get(POLL, &["Proxy-Connection: keep-alive", "Proxy-Authorization: Basic eA=="]),
        ),
        ("a poll with a body", get(POLL, &["Content-Length: 2"]) + "4x"),
        ("a poll in pieces", get(POLL, &["Transfer-Encoding: chunked"]) + "2\r\n4x\r\n0\r\n\r\n"),
        ("a poll with an expectation", get(POLL, &["Expect: 100-continue"])),
        ("a poll with a range", get(POLL, &["Range: bytes=0-1", "If-None-Match: \"x\""])),
        ("a poll that takes gzip", get(POLL, &["Accept-Encoding: gzip"])),
        ("a poll without a host", http(&format!("GET {POLL} HTTP/1.1"), &[], "")),
        ("a poll with two hosts", http(&format!("GET {POLL} HTTP/1.1"), &["Host: x", "Host: y"], "")),
        ("a poll with an empty host", http(&format!("GET {POLL} HTTP/1.1"), &["Host:"], "")),
        ("a poll of a whole address", get("http://x/engine.io/?EIO=4&transport=polling&sid=SID", &[])),
        ("a poll with odd characters", get(&format!("{POLL}&x=%00%ff%zz&y=a|b\\{{}}"), &[])),
        ("a poll with letters", get(&format!("{POLL}&x=é"), &[])),
        ("a poll with quotes", get(&format!("{POLL}&x={{\"a\":<1>}}"), &[])),
        ("a poll with the sid twice", get(&format!("{POLL}&sid=SID"), &[])),
        ("a poll with an empty value", get(&format!("{POLL}&&=&x"), &[])),
        ("a poll of version 3", get("/engine.io/?EIO=3&transport=polling&sid=SID", &[])),
        ("a poll without a version", get("/engine.io/?transport=polling&sid=SID", &[])),
        ("a poll without a transport", get("/engine.io/?EIO=4&sid=SID", &[])),
        ("a poll of no transport", get("/engine.io/?EIO=4&transport=carrier-pigeon&sid=SID", &[])),
        ("a poll as a script", get(&format!("{POLL}&j=1"), &[])),
        ("a poll with an odd origin", get(POLL, &["Origin: a\u{e9}b"])),
        ("a poll with an empty header", get(POLL, &["x-empty:"])),
        ("a poll with a folded header", get(POLL, &["x-folded: a\r\n b"])),
        ("a poll with forged headers", get(POLL, &["x-socketmesh-request: 1", "socketmesh-request: 1"])),
        ("a poll with 98 headers", get_with_many(98)),
        ("a poll with 101 headers", get_with_many(101)),
        ("a poll with 500 headers", get_with_many(500)),
    ]
}

fn posts() -> Vec<Odd> {
    vec![
        ("a post", post(&["Content-Length: 2"], "4x")),
        ("a post with 98 headers", post_with_many(98)),
        ("a post with 200 headers", post_with_many(200)),
        ("a post with a stray upgrade", post(&["Upgrade: websocket", "Content-Length: 2"], "4x")),
        ("a post in pieces", post(&["Transfer-Encoding: chunked"], "2\r\n4x\r\n0\r\n\r\n")),
        (
            "a post in pieces with a length",
            post(&["Transfer-Encoding: chunked", "Content-Length: 2"], "2\r\n4x\r\n0\r\n\r\n"),
        ),
        ("a post that waits", post(&["Expect: 100-continue", "Content-Length: 2"], "4x")),
        ("a post without a length", post(&[], "")),
        ("a post of nothing", post(&["Content-Length: 0"], "")),
        ("a post of no packet", post(&["Content-Length: 3"], "abc")),
        ("a post of bytes", post(&["Content-Type: application/octet-stream", "Content-Length: 2"], "4x")),
        ("a post that is too large", post(&["Content-Length: 99999999"], "")),
        ("a post with two lengths", post(&["Content-Length: 2", "Content-Length: 3"], "4x")),
    ]
}

fn methods() -> Vec<Odd> {
    vec![
        ("a PUT", http(&format!("PUT {POLL} HTTP/1.1"), &["Host: x", "Content-Length: 2"], "4x")),
        ("a DELETE", http(&format!("DELETE {POLL} HTTP/1.1"), &["Host: x"], "")),
        ("a HEAD", http(&format!("HEAD {POLL} HTTP/1.1"), &["Host: x"], "")),
        ("an OPTIONS", http(&format!("OPTIONS {POLL} HTTP/1.1"), &["Host: x"], "")),
        ("a TRACE", http(&format!("TRACE {POLL} HTTP/1.1"), &["Host: x"], "")),
        ("a method of no name", http(&format!("get {POLL} HTTP/1.1"), &["Host: x"], "")),
        ("a CONNECT", http("CONNECT x:80 HTTP/1.1", &["Host: x"], "")),
        ("no HTTP", "hello\r\n\r\n".to_owned()),
    ]
}

fn http(line: &str, headers: &[&str], body: &str) -> String {
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    format!("{line}\r\n{headers}\r\n{body}")
}

fn get(path: &str, headers: &[&str]) -> String {
    http(&format!("GET {path} HTTP/1.1"), &[&["Host: x"], headers].concat(), "")
}

fn post(headers: &[&str], body: &str) -> String {
    http(&format!("POST {POLL} HTTP/1.1"), &[&["Host: x"], headers].concat(), body)
}

fn get_with_many(count: usize) -> String {
    get(POLL, &many(count).iter().map(String::as_str).collect::<Vec<_>>())
}

fn post_with_many(count: usize) -> String {
    let many = many(count);
    let headers = many.iter().map(String::as_str).chain(["Content-Length: 2"]).collect::<Vec<_>>();
    post(&headers, "4x")
}

fn many(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("x-{number}: y")).collect()
}

const POLL: &str = "/engine.io/?EIO=4&transport=polling&sid=SID";
const WS: &str = "/engine.io/?EIO=4&transport=websocket&sid=SID";
const KEY: &str = "Sec-WebSocket-Key: c29ja2V0bWVzaCB0ZXN0cw==";
const VERSION: &str = "Sec-WebSocket-Version: 13";
