//! What the packets, payloads, frames and requests of sequences are made of.

type Texts = &'static [&'static str];

pub(super) const PROBES: Texts = &["2", "2probe", "3probe", "4early", "abc", "", "1", "5", "5x", "6", "2probex", "b5", "0"];

pub(super) const MESSAGES: Texts = &["4hello", "4", "4€ 😀 é", "4 \t\n\0\u{7f}\\\"", "bAQIDBA==", "4\u{2028}<>&'"];
pub(super) const PACKETS: Texts = &[
    "0", "0{}", "1", "1x", "2", "2abc", "2probe", "3", "3probe", "5", "6", "6x", "7", "9", "a", "", " 4x", "44",
    "\u{feff}4x", "b", "bAQ", "bAQI", "b!!!", "bAQ==", "bAQ==AQ==", "bA=QID", "bA Q=", "b-_8", "b\u{e9}AQ", "b4AQID", "b4", "b0AQ", "bb", "-1", "４x",
];

pub(super) const SOCKET_PACKETS: Texts =
    &[r#"4{"message":"x"}"#, "5", "6", "7", "", "2", "2/", "2/,", "3", "0,", "1,", "51-", "61-1[]"];
pub(super) const ROOM_EVENTS: Texts = &[r#""echo""#, r#""mirror""#, r#""nobody""#];
pub(super) const NAMESPACES: Texts = &["", "/custom,", "/rooms,", "/guarded,"];
pub(super) const ODD_NAMESPACES: Texts = &[
    "/,", "/", "/custom", "/random,", "/rooms", "custom,", "/custom/,", "/Custom,", "/cus,tom,", "//,", "/é,", "/ ,",
];
pub(super) const NAMESPACES_WITH_QUERIES: Texts =
    &["/custom?a=b,", "/custom?a=b&a=c&d=%20,", "/custom?,", "/rooms?x,", "/guarded?word=please,"];
pub(super) const AUTHS: Texts = &[
    "{}", r#"{"word":"sesame"}"#, r#"{"word":1}"#, r#"{"word":null}"#, "[]", "null", "1", r#""x""#, "{", "{}}", " {}",
    r#"{"a":1,"a":2}"#, r#"{"__proto__":{"word":"please"}}"#, "true",
    r#"{"word":"please","sid":"x","pid":"y","offset":"z"}"#,
];
pub(super) const IDS: Texts = &["", "0", "7", "12"];
pub(super) const ODD_IDS: Texts = &["007", "9007199254740991", "00"];
pub(super) const EVENTS: Texts = &[r#""message""#, r#""message-with-ack""#];
pub(super) const ODD_EVENTS: Texts = &[
    r#""nobody""#, r#""""#, r#""error""#, r#""connection""#, r#""connect""#, r#""disconnect""#, r#""disconnecting""#,
    r#""newListener""#, r#""removeListener""#, r#""connect_error""#, "1", "1.5", "-1", "null", "true", "{}", "[]",
    r#""__proto__""#, r#""constructor""#, r#""message" "#, r#" "message""#, r#""m\u0065ssage""#, r#""MESSAGE""#,
    r#""anonymous""#,
];
pub(super) const VALUES: Texts = &[
    "1", "-1", "0", "1.5", "1e3", "1E-7", "123456789012", "true", "false", "null", r#""""#, r#""x""#, r#""€ 😀""#,
    r#""\u20ac\n\\\/""#, r#""\u0000""#, "\"\u{2028}\"", "\"\u{7f}\"", " 1 ", r#"{"_placeholder":true,"num":0}"#,
    r#"{"_placeholder":true}"#, r#""[,]{}""#, "-0", "0.1", "9007199254740993", "1e21",
];
pub(super) const KEYS: Texts =
    &[r#""a""#, r#""b""#, r#""""#, r#""__proto__""#, r#""1""#, r#""toJSON""#, r#""a\u0062""#, r#""_placeholder""#];
pub(super) const BINARY_PACKETS: Texts = &[
    r#"51-["message",{"_placeholder":true,"num":0}]"#, r#"51-7["message-with-ack",{"_placeholder":true,"num":0}]"#,
    r#"51-["message"]"#, r#"51-["message",{"num":0,"_placeholder":true}]"#, r#"51-["message",{"_placeholder":true}]"#,
    r#"51-["message",{"_placeholder":true,"num":1}]"#, r#"51-["message",{"_placeholder":true,"num":-1}]"#,
    r#"51-["message",{"_placeholder":true,"num":0.0}]"#, r#"51-["message",{"_placeholder":true,"num":"0"}]"#,
    r#"51-["message",{"_placeholder":1,"num":5}]"#, r#"51-["message",{"_placeholder":true,"num":0,"x":1}]"#,
    r#"51-[{"_placeholder":true,"num":0}]"#, r#"50-["message"]"#, r#"5-["message"]"#, r#"5["message"]"#,
    r#"5x-["message"]"#, r#"501-["message"]"#, r#"5+1-["message"]"#, r#"51.0-["message"]"#, r#"511-["message"]"#,
    r#"51-/rooms,1["echo",{"_placeholder":true,"num":0}]"#, r#"61-1[{"_placeholder":true,"num":0}]"#, "61-[]",
];

pub(super) const PAYLOADS: &[&[u8]] = &[
    b"4a", b"4a\x1e4b", b"4a\x1e", b"\x1e4a", b"\x1e", b"4a\x1e\x1e4b", b"", b"abc", b"4\xff\xfe", b"\xff", b"4a\x1e9b",
    b"bAQ==\x1e4a", b"2:4a", b"2:4a2:4b", b"3:4a", b"1:4a", b"02:4a", b"+2:4a", b"2 :4a", b"-2:4a", b":4a", b"2:",
    b"2.0:4a", b"0x2:4a", b"99999999999:4a", b"2:4a2", b"3:4\xe2\x82\xac", b"3:4\xf0\x9f\x98\x80", b"2:4\xf0\x9f\x98\x80",
    b"d=4a", b"d=2:4a", b"d=2%3A4a", b"d=", b"x=1&d=2:4a", b"d=2:4+", b"1:1", b"1:6", b"\x00\x02\xff4a", b"4\r\n",
    b"\x01\x02\xff\x041", b"\x00\x02\xff4a\x00\x02\xff4b", b"\x00\xff", b"\x02\x02\xff4a", b"{\"a\":1}",
];
pub(super) const CONTENT_TYPES: Texts = &[
    "text/plain;charset=UTF-8", "application/octet-stream", "application/x-www-form-urlencoded", "application/json", "",
    "Application/Octet-Stream", "application/octet-stream; x=y",
];

/// The first byte of a frame, and its payload.
pub(super) const FRAMES: &[(u8, &[u8])] = &[
    (0x82, b"\x04\x01\x02"), (0x82, b""), (0x82, b"4a"), (0x81, b"4a"), (0x81, b"4\xff"), (0x81, b"4\xed\xa0\x80"),
    (0x01, b"4a"), (0x80, b"4a"), (0x00, b"4a"), (0x02, b"\x04"), (0x89, b"ping"), (0x8a, b"pong"), (0x09, b"ping"),
    (0x83, b"4a"), (0x8b, b""), (0xc1, b"4a"), (0xa1, b"4a"), (0x91, b"4a"), (0x88, b""), (0x88, b"\x03\xe8"),
    (0x88, b"\x03"), (0x88, b"\x00\x00"), (0x88, b"\x03\xed"), (0x88, b"\x0b\xb8bye"), (0x88, b"\x03\xe8\xff"),
    (0x88, b"\x03\xe9"), (0x89, &[b'x'; 125]), (0x89, &[b'x'; 126]),
];

pub(super) const PATHS: Texts = &[
    "/engine.io", "/engine.io/x", "/engine.io//", "/socket.io/x/y", "/socket.io", "/Engine.io/", "/engine.io/%2e",
];
pub(super) const VERSIONS: Texts = &[
    "EIO=4", "EIO=3", "EIO=04", "EIO=", "EIO", "EIO=4&EIO=4", "eio=4", "EIO=%34", "EIO=4%20", "EIO=5", "x=1", "EIO[]=4",
];
pub(super) const TRANSPORTS: Texts = &[
    "transport=websocket", "transport=webtransport", "transport=", "transport", "x=y", "transport=Polling",
    "transport=poll%69ng", "transport=polling&transport=polling", "transport=polling&transport=websocket",
    "transport=constructor", "transport=polling%00", "tr%61nsport=polling",
];
pub(super) const SIDS: Texts = &[
    "", "", "&sid=SID", "&sid=SID", "&sid=SID", "&sid=SID&sid=SID", "&sid=", "&sid", "&sid=unknown",
    "&sid=aaaaaaaaaaaaaaaaaaaa", "&sid=SID%20", "&sid=__proto__",
];
pub(super) const QUERIES: Texts = &[
    "&j=1", "&j=", "&j=x", "&j", "&b64=1", "&b64=0", "&b64", "&t=1&t=2", "&&", "&=", "&x=%zz", "&x=%ff", "#x", "&x=a+b",
    "?x", ";x",
];
pub(super) const METHODS: Texts =
    &["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE", "get", "PROPFIND"];
pub(super) const BODIES: Texts = &["", "4x", "2:4x", "x"];
pub(super) const HEADERS: Texts = &[
    "Origin: http://a.example", "Origin: null", "Origin:", "User-Agent: MSIE 8", "Cookie: io=x", "Accept: */*", "X-Empty:",
    "Access-Control-Request-Method: POST", "Access-Control-Request-Headers: x-a, x-b", "Content-Type: text/plain",
    "Content-Type: application/octet-stream", "Upgrade: websocket", "Upgrade: h2c", "Expect: 100-continue",
    "Accept-Encoding: gzip", "If-None-Match: *", "Range: bytes=0-1", "Connection: close", "X-Forwarded-For: 1.2.3.4",
    "X-HTTP-Method-Override: PUT", "Access-Control-Request-Private-Network: true",
];
/// Of a WebSocket, with the usual ones twice and more.
pub(super) const WEBSOCKET_VERSIONS: Texts = &[VERSION, VERSION, VERSION, VERSION, "Sec-WebSocket-Version: 8", "Sec-WebSocket-Version: 12", "X-No-Version:"];
pub(super) const WEBSOCKET_KEYS: Texts = &[KEY, KEY, KEY, KEY, "Sec-WebSocket-Key: abc", "Sec-WebSocket-Key:", "X-No-Key:"];
pub(super) const WEBSOCKET_OFFERS: Texts = &[
    "X-No-Offer:", "X-No-Offer:", "Sec-WebSocket-Protocol: a, b", "Sec-WebSocket-Protocol: a,,b", "Sec-WebSocket-Protocol:",
    "Sec-WebSocket-Protocol: a, a", "Sec-WebSocket-Extensions: permessage-deflate", "Sec-WebSocket-Extensions: ;;",
    "Origin: http://a.example",
];
const VERSION: &str = "Sec-WebSocket-Version: 13";
const KEY: &str = "Sec-WebSocket-Key: c29ja2V0bWVzaCB0ZXN0cw==";
