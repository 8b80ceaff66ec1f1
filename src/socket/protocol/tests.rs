use bytes::Bytes;
use bytestring::ByteString;
use proptest::prelude::*;
use serde_json::json;

use super::encode::{ack, connect, connect_error, disconnect, event};
use super::packet::{MAX_ID, RESERVED};
use super::*;
use crate::engine::Protocol;
use crate::id::SocketId;

const LIMITS: PacketLimits = PacketLimits { max_attachments: 10, max_pending_bytes: 1000 };

fn text(text: &str) -> ByteString {
    text.into()
}

fn decode(wire: &str) -> Result<Option<Packet>, PacketError> {
    PacketDecoder::new(Parser::Json, LIMITS).text(&text(wire))
}

fn decode_with(wire: &str, attachments: &[&'static [u8]]) -> Result<Option<Packet>, PacketError> {
    let mut decoder = PacketDecoder::new(Parser::Json, LIMITS);
    let mut packet = decoder.text(&text(wire))?;
    for bytes in attachments {
        assert!(packet.is_none() && decoder.is_pending());
        packet = decoder.binary(Bytes::from_static(bytes))?;
    }
    assert_eq!(decoder.is_pending(), packet.is_none());
    Ok(packet)
}

fn args(json: &str) -> RawArgs {
    RawArgs::from_array(&text(&format!("[{json}]")), Vec::new()).unwrap()
}

fn an_event(ns: &str, id: Option<u64>, name: &str, json: &str) -> Packet {
    Packet::Event { ns: text(ns), event: Event { name: text(name), args: args(json), id } }
}

#[test]
fn packets_are_read_as_node_reads_them() {
    let nothing = Packet::Nothing { ns: text("/") };
    let connect = |ns: &str, auth: Option<&str>| Packet::Connect { ns: text(ns), auth: auth.map(text) };
    for (wire, packet) in [
        ("0", connect("/", None)),
        ("0/,", connect("/", None)),
        ("0/foo", connect("/foo", None)),
        ("0/foo,", connect("/foo", None)),
        ("0/foo?x=1,", connect("/foo?x=1", None)),
        (r#"0{"a":1}"#, connect("/", Some(r#"{"a":1}"#))),
        (r#"0/foo,{"a":[]}"#, connect("/foo", Some(r#"{"a":[]}"#))),
        ("1", Packet::Disconnect { ns: text("/") }),
        ("1/foo,", Packet::Disconnect { ns: text("/foo") }),
        ("2", nothing.clone()),
        (r#"2["e"]"#, an_event("/", None, "e", "")),
        (r#"20["e"]"#, an_event("/", Some(0), "e", "")),
        (r#"2007["e"]"#, an_event("/", Some(7), "e", "")),
        (r#"29007199254740991["e"]"#, an_event("/", Some(MAX_ID), "e", "")),
        (
            r#"2/foo,12["e", 1.50 , {"b":2, "a":1}]"#,
            an_event("/foo", Some(12), "e", r#"1.50 , {"b":2, "a":1}"#),
        ),
        (r#"2["error"]"#, an_event("/", None, "error", "")),
        (r#"2["connection"]"#, an_event("/", None, "connection", "")),
        ("2[1]", an_event("/", None, "1", "")),
        ("2[-1.5,2]", an_event("/", None, "-1.5", "2")),
        (r#"2["",""]"#, an_event("/", None, "", r#""""#)),
        (r#"2["\u00e9\"\n",1]"#, an_event("/", None, "é\"\n", "1")),
        (
            r#"2["e",{"_placeholder":true,"num":9}]"#,
            an_event("/", None, "e", r#"{"_placeholder":true,"num":9}"#),
        ),
        ("3[]", nothing.clone()),
        ("399[]", Packet::Ack { ns: text("/"), id: 99, args: args("") }),
        ("31", Packet::Ack { ns: text("/"), id: 1, args: args("") }),
        ("3/foo,0[1,2]", Packet::Ack { ns: text("/foo"), id: 0, args: args("1,2") }),
        (
            r#"4/foo,{"message":"m"}"#,
            Packet::ConnectError { ns: text("/foo"), error: text(r#"{"message":"m"}"#) },
        ),
    ] {
        assert_eq!(decode(wire), Ok(Some(packet)), "{wire}");
    }
}

#[test]
fn what_node_refuses_is_refused() {
    use PacketError::{
        IllegalAttachments, IllegalId, InvalidPayload, ReservedName, TooManyAttachments, UnknownType,
    };
    for (wire, error) in [
        ("", UnknownType),
        ("7", UnknownType),
        ("x", UnknownType),
        ("0null", InvalidPayload),
        ("0[]", InvalidPayload),
        ("0{", InvalidPayload),
        (r#"0"x""#, InvalidPayload),
        (r#"1["x"]"#, InvalidPayload),
        ("2[]", InvalidPayload),
        ("2{}", InvalidPayload),
        ("2[true]", InvalidPayload),
        ("2[null]", InvalidPayload),
        ("2[[1]]", InvalidPayload),
        (r#"2["e""#, InvalidPayload),
        (r#"2["e"]]"#, InvalidPayload),
        (r#"2["e",]"#, InvalidPayload),
        (r#"2["e" 1]"#, InvalidPayload),
        (r#"2 1["e"]"#, InvalidPayload),
        (r#"2["connect"]"#, ReservedName),
        (r#"2["connect_error"]"#, ReservedName),
        (r#"2["disconnect"]"#, ReservedName),
        (r#"2["disconnecting"]"#, ReservedName),
        (r#"2["newListener"]"#, ReservedName),
        (r#"2["removeListener"]"#, ReservedName),
        (r#"2["\u0064isconnect"]"#, ReservedName),
        (r#"29007199254740992["e"]"#, IllegalId),
        (r#"299999999999999999999999["e"]"#, IllegalId),
        ("31{}", InvalidPayload),
        ("4", InvalidPayload),
        ("4[]", InvalidPayload),
        (r#"5["e"]"#, IllegalAttachments),
        (r#"5["a-b"]"#, IllegalAttachments),
        (r#"5-["e"]"#, IllegalAttachments),
        (r#"50-["e"]"#, IllegalAttachments),
        (r#"5-1-["e"]"#, IllegalAttachments),
        (r#"51.5-["e"]"#, IllegalAttachments),
        (r#"511-["e"]"#, TooManyAttachments),
        (r#"599999999999999999999999-["e"]"#, TooManyAttachments),
        ("51-", InvalidPayload),
        ("61-1", InvalidPayload),
        (r#"51-["disconnect"]"#, ReservedName),
        (r#"51-[{"_placeholder":true,"num":0}]"#, InvalidPayload),
        (r#"51-["e",{"_placeholder":true,"num":1}]"#, IllegalAttachments),
        (r#"51-["e",{"_placeholder":true,"num":-1}]"#, IllegalAttachments),
        (r#"51-["e",{"_placeholder":true,"num":"0"}]"#, IllegalAttachments),
        (r#"51-["e",{"_placeholder":true}]"#, IllegalAttachments),
        (r#"61-1[{"_placeholder":true,"num":1}]"#, IllegalAttachments),
    ] {
        assert_eq!(decode(wire), Err(error), "{wire}");
    }
}

#[test]
fn whatever_json_says_is_data_and_at_most_its_type_is_wrong() {
    let limits = PacketLimits { max_pending_bytes: 10_000_000, ..LIMITS };
    let decode = |wire: &str| PacketDecoder::new(Parser::Json, limits).text(&text(wire));
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    for (json, is_value) in [
        (deep(100), true),
        (deep(200), false),
        (deep(1_000_000), false),
        ("1e999".to_owned(), false),
        ("-1e400".to_owned(), false),
        ("1234567890123456789012345678901234567890".to_owned(), true),
        (r#"{"a":1,"a":2}"#.to_owned(), true),
        (r#""\u0000\u001f""#.to_owned(), true),
        (r#""half \ud83d""#.to_owned(), true),
    ] {
        let start = json.get(..20).unwrap_or(&json).to_owned();
        let Ok(Some(Packet::Event { event, .. })) = decode(&format!(r#"2["e",{json}]"#)) else {
            panic!("{start}")
        };
        assert_eq!(event.args.decode::<serde_json::Value>().is_ok(), is_value, "{start}");
        let Ok(Some(Packet::Ack { args, .. })) = decode(&format!("31[{json}]")) else { panic!("{start}") };
        assert_eq!(args.decode::<serde_json::Value>().is_ok(), is_value, "{start}");
        assert!(decode(&format!(r#"0{{"token":{json}}}"#)).is_ok(), "{start}");
    }
    let Ok(Some(Packet::Event { event, .. })) = decode(r#"2["half \ud83d","\ude00"]"#) else { panic!() };
    assert_eq!(
        (&*event.name, event.args.decode::<String>().unwrap()),
        ("half \u{fffd}", "\u{fffd}".to_owned())
    );
}

#[test]
fn a_binary_packet_is_complete_with_its_last_attachment() {
    let wire = r#"52-/foo,7["e",{"_placeholder":true,"num":1},{"x":{"num":0,"_placeholder":true}}]"#;
    let Some(Packet::Event { ns, event }) = decode_with(wire, &[b"\x01", b"\x02\x03"]).unwrap() else {
        panic!()
    };
    assert_eq!((&*ns, &*event.name, event.id), ("/foo", "e", Some(7)));
    assert_eq!(event.args.attachments(), [&b"\x01"[..], b"\x02\x03"]);

    let wire = r#"61-3[{"_placeholder":true,"num":0}]"#;
    let Some(Packet::Ack { id: 3, args, .. }) = decode_with(wire, &[b""]).unwrap() else { panic!() };
    assert_eq!(args.attachments(), [&b""[..]]);
}

#[test]
fn an_attachment_may_be_named_twice_or_not_at_all() {
    for wire in [r#"51-["e"]"#, r#"51-["e",{"_placeholder":true,"num":0},{"_placeholder":true,"num":0}]"#] {
        assert!(matches!(decode_with(wire, &[b"x"]), Ok(Some(Packet::Event { .. }))), "{wire}");
    }
    let often =
        r#"{"_placeholder":true,"num":0}"#.to_owned() + &r#",{"_placeholder":true,"num":0}"#.repeat(4);
    assert_eq!(decode(&format!(r#"51-["e",{often}]"#)), Err(PacketError::IllegalAttachments));
}

#[test]
fn a_binary_ack_without_id_takes_its_attachments_and_means_nothing() {
    assert_eq!(decode_with("61-[]", &[b"x"]), Ok(Some(Packet::Nothing { ns: text("/") })));
}

#[test]
fn text_between_a_packet_and_its_attachments_is_refused() {
    let mut decoder = PacketDecoder::new(Parser::Json, LIMITS);
    assert_eq!(decoder.text(&text(r#"51-["e"]"#)), Ok(None));
    assert_eq!(decoder.text(&text(r#"2["e"]"#)), Err(PacketError::UnexpectedText));
    assert!(!decoder.is_pending());
}

#[test]
fn bytes_that_no_packet_announced_are_refused() {
    let stray = Bytes::from_static(b"x");
    let mut decoder = PacketDecoder::new(Parser::Json, LIMITS);
    assert_eq!(decoder.binary(stray.clone()), Err(PacketError::UnexpectedBinary));
    assert_eq!(decoder.text(&text(r#"51-["e"]"#)), Ok(None));
    assert!(matches!(decoder.binary(stray.clone()), Ok(Some(_))));
    assert_eq!(decoder.binary(stray), Err(PacketError::UnexpectedBinary));
}

#[test]
fn a_packet_and_its_attachments_are_bounded_together() {
    let wire = text(r#"52-["e"]"#);
    let mut decoder =
        PacketDecoder::new(Parser::Json, PacketLimits { max_pending_bytes: wire.len() + 4, ..LIMITS });
    assert_eq!(decoder.text(&wire), Ok(None));
    assert_eq!(decoder.binary(Bytes::from_static(b"123")), Ok(None));
    assert_eq!(decoder.binary(Bytes::from_static(b"45")), Err(PacketError::TooLarge));
    assert!(!decoder.is_pending());
    assert_eq!(decoder.text(&"x".repeat(100).into()), Err(PacketError::TooLarge));
}

#[test]
fn what_a_server_sends_has_nodes_form() {
    let sid: SocketId = "AAAAAAAAAAAAAAAAAAAA".parse().unwrap();
    let bytes = Bytes::from_static(b"\x01\x02");
    let binary = RawArgs::encode(&bytes).unwrap();
    for (encoded, wire) in [
        (connect("/", sid, None, Protocol::V4), r#"0{"sid":"AAAAAAAAAAAAAAAAAAAA"}"#),
        (connect("/foo", sid, None, Protocol::V4), r#"0/foo,{"sid":"AAAAAAAAAAAAAAAAAAAA"}"#),
        (disconnect("/"), "1"),
        (disconnect("/foo"), "1/foo,"),
        (
            connect_error("/foo", "Invalid namespace", None, Protocol::V4),
            r#"4/foo,{"message":"Invalid namespace"}"#,
        ),
        (ack("/", 0, &args("1")), "30[1]"),
        (ack("/foo", 5, &args("")), "3/foo,5[]"),
        (event("/", None, "e", &args("")).unwrap(), r#"2["e"]"#),
        (event("/foo", Some(0), "a\"b", &args("1,2")).unwrap(), r#"2/foo,0["a\"b",1,2]"#),
    ] {
        assert_eq!(encoded.text, wire);
        assert!(encoded.attachments.is_empty());
    }
    let Encoded { text, .. } = connect_error("/", "no", Some(&json!({ "a": 1 })), Protocol::V4);
    let parsed: serde_json::Value = serde_json::from_str(text.strip_prefix('4').unwrap()).unwrap();
    assert_eq!(parsed, json!({ "message": "no", "data": { "a": 1 } }));
    for (encoded, wire) in [
        (event("/", None, "e", &binary).unwrap(), r#"51-["e",{"_placeholder":true,"num":0}]"#),
        (ack("/", 7, &binary), r#"61-7[{"_placeholder":true,"num":0}]"#),
    ] {
        assert_eq!((&*encoded.text, encoded.attachments.as_slice()), (wire, &[bytes.clone()][..]));
    }
}

#[test]
fn clients_of_engine_io_3_get_connect_and_its_error_in_their_form() {
    let sid: SocketId = "AAAAAAAAAAAAAAAAAAAA".parse().unwrap();
    let data = json!({ "a": 1 });
    for (encoded, wire) in [
        (connect("/", sid, None, Protocol::V3), "0"),
        (connect("/foo", sid, None, Protocol::V3), "0/foo,"),
        (connect_error("/foo", "say \"please\"", None, Protocol::V3), r#"4/foo,"say \"please\"""#),
        (connect_error("/", "no", Some(&data), Protocol::V3), r#"4{"a":1}"#),
    ] {
        assert_eq!(encoded.text, wire);
    }
}

#[test]
fn the_query_of_a_namespace_is_its_auth_payload_for_clients_of_engine_io_3() {
    let connect = |ns: &str, auth: Option<&str>| Packet::Connect { ns: text(ns), auth: auth.map(text) };
    for (wire, packet) in [
        ("0", connect("/", None)),
        ("0/foo,", connect("/foo", None)),
        ("0/foo?a=b&c=%C3%A9+1,", connect("/foo", Some(r#"{"a":"b","c":"é 1"}"#))),
        ("0/foo?a=1&a=2&a=\"", connect("/foo", Some(r#"{"a":"\""}"#))),
        ("0/foo?", connect("/foo", Some("{}"))),
        ("0/foo?a=b,{\"c\":1}", connect("/foo", Some(r#"{"a":"b"}"#))),
        ("0/foo,{\"c\":1}", connect("/foo", None)),
        ("1/foo?a=b,", Packet::Disconnect { ns: text("/foo") }),
        (r#"2/foo?a=b,1["e"]"#, an_event("/foo", Some(1), "e", "")),
    ] {
        let mut read = decode(wire).unwrap().unwrap();
        read.split_query();
        assert_eq!(read, packet, "{wire}");
    }
}

#[test]
fn reserved_names_are_not_sent() {
    for name in RESERVED {
        let refused = event("/", None, name, &RawArgs::default());
        assert!(matches!(refused, Err(EncodeError::ReservedName { .. })), "{name}");
    }
    assert!(event("/", None, "connection", &RawArgs::default()).is_ok());
}

fn json_value() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|value| json!(value)),
        any::<i64>().prop_map(|value| json!(value)),
        any::<String>().prop_map(|value| json!(value)),
    ];
    leaf.prop_recursive(4, 20, 4, |value| {
        prop_oneof![
            proptest::collection::vec(value.clone(), 0..4).prop_map(|items| json!(items)),
            proptest::collection::btree_map(any::<String>(), value, 0..4).prop_map(|entries| json!(entries)),
        ]
    })
}

proptest! {
    #[test]
    fn any_text_is_a_packet_or_refused(text: String, bytes: Vec<u8>) {
        let mut decoder = PacketDecoder::new(Parser::Json, LIMITS);
        drop(decoder.text(&text.into()));
        drop(decoder.binary(bytes.into()));
    }

    #[test]
    fn any_text_in_the_grammars_alphabet_is_a_packet_or_refused(
        text in r#"[0-6]([0-9]{0,2}-)?(/a?,)?[0-9]{0,2}([\[\]{},:" \\1ae.+-]|"_placeholder"|"num"|true){0,30}"#,
        bytes: Vec<u8>,
    ) {
        let mut decoder = PacketDecoder::new(Parser::Json, LIMITS);
        if let Ok(Some(packet)) = decoder.text(&text.into()) {
            read_all(&packet);
        }
        while let Ok(Some(packet)) = decoder.binary(bytes.clone().into()) {
            read_all(&packet);
        }
    }

    #[test]
    fn an_event_survives_the_wire(
        ns in "/[a-z]{0,3}",
        name: String,
        id in proptest::option::of(0..=MAX_ID),
        values in proptest::collection::vec(json_value(), 0..4),
    ) {
        prop_assume!(!RESERVED.contains(&name.as_str()));
        let json: Vec<_> = values.iter().map(ToString::to_string).collect();
        let args = args(&json.join(","));
        let Encoded { text, .. } = event(&ns, id, &name, &args).unwrap();
        let decoded = PacketDecoder::new(Parser::Json, PacketLimits { max_pending_bytes: usize::MAX, ..LIMITS }).text(&text).unwrap();
        let event = Event { name: name.into(), args: args.clone(), id };
        prop_assert_eq!(decoded, Some(Packet::Event { ns: ns.into(), event }));
        let read: Vec<serde_json::Value> = args.iter().map(|arg| arg.decode().unwrap()).collect();
        prop_assert_eq!(read, values);
    }
}

/// Whatever was accepted can be read to the end.
fn read_all(packet: &Packet) {
    if let Packet::Event { event: Event { args, .. }, .. } | Packet::Ack { args, .. } = packet {
        for arg in args.iter() {
            drop(arg.decode::<serde_json::Value>());
            arg.decode::<serde::de::IgnoredAny>().unwrap();
        }
        let again = RawArgs::encode(args).unwrap();
        assert_eq!(&again, args);
    }
}
