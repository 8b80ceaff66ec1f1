use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::engine::Protocol;
use crate::id::SocketId;
use crate::socket::protocol::packet::{MAX_ID, RESERVED};
use crate::socket::protocol::{Args, Encoded, RawArgs, encode};

const LIMITS: PacketLimits = PacketLimits { max_attachments: 10, max_pending_bytes: 1_000_000 };

fn read(message: &[u8]) -> Result<Packet, PacketError> {
    decode(&Bytes::copy_from_slice(message), LIMITS)
}

fn written(packet: &Encoded) -> Bytes {
    encode(&packet.text, &packet.attachments).unwrap()
}

/// An event `["e", <value>]`, the value given as MessagePack.
fn event(value: &[u8]) -> Vec<u8> {
    [b"\x83\xa4type\x02\xa3nsp\xa1/\xa4data\x92\xa1e", value].concat()
}

fn argument(value: &[u8]) -> Result<RawArgs, PacketError> {
    match read(&event(value))? {
        Packet::Event { event, .. } => Ok(event.args),
        other => panic!("an event, not {other:?}"),
    }
}

#[test]
fn what_node_writes_is_read() {
    let connect = b"\x82\xa4type\x00\xa3nsp\xa6/admin";
    assert_eq!(read(connect), Ok(Packet::Connect { ns: "/admin".into(), auth: None }));
    // With auth, and what the client says beside it.
    let connect = b"\x84\xa4type\x00\xa4data\x81\xa5token\xa1x\xa7options\x81\xa8compress\xc3\xa3nsp\xa1/";
    assert_eq!(read(connect), Ok(Packet::Connect { ns: "/".into(), auth: Some(r#"{"token":"x"}"#.into()) }));
    let undefined = b"\x83\xa4type\x00\xa3nsp\xa1/\xa4data\xd4\x00\x00";
    assert_eq!(read(undefined), Ok(Packet::Connect { ns: "/".into(), auth: None }));
    assert_eq!(read(b"\x82\xa4type\x01\xa3nsp\xa1/"), Ok(Packet::Disconnect { ns: "/".into() }));
    let Ok(Packet::Event { ns, event }) = read(b"\x84\xa4type\x02\xa3nsp\xa1/\xa4data\x91\xa1e\xa2id\x03")
    else {
        panic!("an event")
    };
    assert_eq!((&*ns, &*event.name, event.id, event.args.json()), ("/", "e", Some(3), ""));
    let Ok(Packet::Ack { id, args, .. }) =
        read(b"\x84\xa4type\x03\xa3nsp\xa1/\xa4data\x92\x01\xc3\xa2id\x00")
    else {
        panic!("an ack")
    };
    assert_eq!((id, args.json()), (0, "1,true"));
}

#[test]
fn what_is_written_is_what_node_writes() {
    let event = encode::event("/", Some(3), "e", &RawArgs::default()).unwrap();
    assert_eq!(&*written(&event), b"\x84\xa4type\x02\xa3nsp\xa1/\xa4data\x91\xa1e\xa2id\x03");
    assert_eq!(&*written(&encode::disconnect("/")), b"\x82\xa4type\x01\xa3nsp\xa1/");
    let sid = SocketId::new(crate::id::Key::from_hash(0), [0; 10]);
    let connect = written(&encode::connect("/admin", sid, None, Protocol::V4));
    let expected =
        [b"\x83\xa4type\x00\xa3nsp\xa6/admin\xa4data\x81\xa3sid\xb4", sid.to_string().as_bytes()].concat();
    assert_eq!(&*connect, &*expected);
    let refused = encode::connect_error("/", "no", None, Protocol::V4);
    assert_eq!(&*written(&refused), b"\x83\xa4type\x04\xa3nsp\xa1/\xa4data\x81\xa7message\xa2no");
    let refused = encode::connect_error("/", "no", None, Protocol::V3);
    assert_eq!(&*written(&refused), b"\x83\xa4type\x04\xa3nsp\xa1/\xa4data\xa2no");
}

#[test]
fn values_are_those_of_javascript() {
    for (value, json) in [
        (&b"\xc0"[..], "null"),
        (b"\x7f", "127"),
        (b"\xe0", "-32"),
        (b"\xcc\xff", "255"),
        (b"\xcd\xff\xff", "65535"),
        (b"\xce\xff\xff\xff\xff", "4294967295"),
        (b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff", "18446744073709551615"),
        (b"\xd0\x80", "-128"),
        (b"\xd1\x80\x00", "-32768"),
        (b"\xd2\x80\x00\x00\x00", "-2147483648"),
        (b"\xd3\x80\x00\x00\x00\x00\x00\x00\x00", "-9223372036854775808"),
        (b"\xca\x3f\x00\x00\x00", "0.5"),
        (b"\xcb\x3f\xb9\x99\x99\x99\x99\x99\x9a", "0.1"),
        (b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00", "null"),
        (b"\xcb\x7f\xf0\x00\x00\x00\x00\x00\x00", "null"),
        (b"\xa5a\"b\n\xff", "\"a\\\"b\\n\u{fffd}\""),
        (b"\xd9\x01x", "\"x\""),
        (b"\xda\x00\x01x", "\"x\""),
        (b"\xdb\x00\x00\x00\x01x", "\"x\""),
        (b"\x93\xc2\xd4\x00\x00\xc3", "[false,null,true]"),
        (b"\x83\xa1a\xd4\x00\x00\xa1b\x01\xa1c\xd4\x00\x00", r#"{"b":1}"#),
        (b"\x82\x01\x02\xff\x03", r#"{"1":2,"-1":3}"#),
        (b"\xdc\x00\x01\x90", "[[]]"),
        (b"\xdf\x00\x00\x00\x01\xa1k\xde\x00\x00", r#"{"k":{}}"#),
    ] {
        assert_eq!(argument(value).unwrap().json(), json, "{value:?}");
    }
    assert_eq!(argument(b"\xd4\x00\x00").unwrap().json(), "null");
}

#[test]
fn a_date_is_its_iso_string() {
    for (value, iso) in [
        (&b"\xd7\x00\x00\x00\x01\x8b\xcf\xe5\x68\x7b"[..], "\"2023-11-14T22:13:20.123Z\""),
        (b"\xd7\x00\xff\xff\xff\xff\xff\xff\xff\xff", "\"1969-12-31T23:59:59.999Z\""),
        (b"\xd7\x00\x7f\xff\xff\xff\xff\xff\xff\xff", "null"),
        (b"\xd6\xff\x65\x53\xf1\x00", "\"2023-11-14T22:13:20.000Z\""),
        (b"\xd7\xff\x1d\x53\x5b\x00\x65\x53\xf1\x00", "\"2023-11-14T22:13:20.123Z\""),
        (b"\xc7\x0c\xff\x07\x54\xd4\xc0\x00\x00\x00\x00\x65\x53\xf1\x00", "\"2023-11-14T22:13:20.123Z\""),
    ] {
        assert_eq!(argument(value).unwrap().json(), iso, "{value:?}");
    }
}

#[test]
fn bytes_are_attachments_in_every_form() {
    let long = [b"\xc6\x00\x01\x00\x00".to_vec(), vec![7; 65536]].concat();
    for (value, bytes) in [
        (&b"\xc4\x02ab"[..], &b"ab"[..]),
        (b"\xc5\x00\x02ab", b"ab"),
        (b"\xc7\x02\x00ab", b"ab"),
        (b"\xc8\x00\x02\x00ab", b"ab"),
        (b"\xc9\x00\x00\x00\x02\x00ab", b"ab"),
        (&long, &[7; 65536]),
    ] {
        let args = argument(value).unwrap();
        assert_eq!(args.json(), r#"{"_placeholder":true,"num":0}"#);
        assert_eq!(args.attachments(), [Bytes::copy_from_slice(bytes)]);
        assert_eq!(args.decode::<Bytes>().unwrap(), bytes);
    }
    // An extension that nobody knows is its type and its bytes, as in Node.
    assert_eq!(argument(b"\xd5\x05ab").unwrap().decode::<(i8, Bytes)>().unwrap(), (5, Bytes::from("ab")));
}

#[test]
fn small_bytes_do_not_hold_a_large_message() {
    let value = [b"\x92\xc4\x02ab\xda\x10\x00".to_vec(), vec![b'x'; 4096]].concat();
    let message = Bytes::from(event(&value));
    let within = |bytes: &Bytes| message.as_ptr_range().contains(&bytes.as_ptr());
    let Ok(Packet::Event { event: small, .. }) = decode(&message, LIMITS) else { panic!("an event") };
    assert!(!within(&small.args.attachments()[0]));
    let message = Bytes::from(event(&[b"\xc5\x10\x00".to_vec(), vec![1; 4096]].concat()));
    let within = |bytes: &Bytes| message.as_ptr_range().contains(&bytes.as_ptr());
    let Ok(Packet::Event { event: large, .. }) = decode(&message, LIMITS) else { panic!("an event") };
    assert!(within(&large.args.attachments()[0]), "large bytes are not copied");
}

#[test]
fn what_is_no_packet_is_refused() {
    use PacketError::{
        IllegalAttachments, IllegalId, InvalidNamespace, InvalidPayload, ReservedName, UnknownType,
    };
    for (message, error) in [
        (&b""[..], InvalidPayload),
        (b"\x80", UnknownType),
        (b"\x90", InvalidPayload),
        (b"\xc0", InvalidPayload),
        (b"\x82\xa4type\x07\xa3nsp\xa1/", UnknownType),
        (b"\x82\xa4type\xa12\xa3nsp\xa1/", UnknownType),
        (b"\x81\xa4type\x01", InvalidNamespace),
        (b"\x82\xa4type\x01\xa3nsp\x01", InvalidNamespace),
        (b"\x82\xa4type\x01\xa3nsp\xa1x", InvalidNamespace),
        (b"\x82\xa4type\x01\xa3nsp\xa3/a,", InvalidNamespace),
        (b"\x83\xa4type\x00\xa3nsp\xa1/\xa4data\xc0", InvalidPayload),
        (b"\x83\xa4type\x00\xa3nsp\xa1/\xa4data\x90", InvalidPayload),
        (b"\x83\xa4type\x00\xa3nsp\xa1/\xa4data\x81\xa1t\xc4\x01x", IllegalAttachments),
        (b"\x83\xa4type\x01\xa3nsp\xa1/\xa4data\x80", InvalidPayload),
        (b"\x82\xa4type\x02\xa3nsp\xa1/", InvalidPayload),
        (b"\x82\xa4type\x03\xa3nsp\xa1/", InvalidPayload),
        (b"\x83\xa4type\x02\xa3nsp\xa1/\xa4data\x90", InvalidPayload),
        (b"\x83\xa4type\x02\xa3nsp\xa1/\xa4data\x80", InvalidPayload),
        (b"\x83\xa4type\x02\xa3nsp\xa1/\xa4data\x91\xc3", InvalidPayload),
        (b"\x83\xa4type\x02\xa3nsp\xa1/\xa4data\x91\xaadisconnect", ReservedName),
        (b"\x84\xa4type\x02\xa3nsp\xa1/\xa4data\x91\xa1e\xa2id\xc0", IllegalId),
        (b"\x84\xa4type\x02\xa3nsp\xa1/\xa4data\x91\xa1e\xa2id\xff", IllegalId),
        (b"\x84\xa4type\x02\xa3nsp\xa1/\xa4data\x91\xa1e\xa2id\xcf\x00\x20\0\0\0\0\0\0", IllegalId),
        (b"\x82\xa4type\x01\xa3nsp\xa1/\xc0", InvalidPayload),
        (b"\xdf\xff\xff\xff\xff", InvalidPayload),
    ] {
        assert_eq!(read(message), Err(error), "{message:?}");
    }
    // A length beyond the end, a key of another type than text, a reserved marker.
    for value in
        [&b"\xdb\xff\xff\xff\xffx"[..], b"\xdd\xff\xff\xff\xff", b"\x81\xcb", b"\x81\xc0\x01", b"\xc1"]
    {
        assert_eq!(argument(value), Err(InvalidPayload), "{value:?}");
    }
}

#[test]
fn a_map_formed_like_a_placeholder_is_not_taken_beside_bytes() {
    let forged = b"\x82\xac_placeholder\xc3\xa3num\x00";
    let alone = argument(forged).unwrap();
    assert_eq!(alone.decode::<Value>().unwrap(), json!({ "_placeholder": true, "num": 0 }));
    let beside = [&b"\x92\xc4\x01x"[..], forged].concat();
    assert_eq!(argument(&beside), Err(PacketError::IllegalAttachments));
}

#[test]
fn attachments_are_limited_as_in_json_and_depth_is_not() {
    let bins = |count: u8| [vec![0x90 | count], b"\xc4\x00".repeat(count.into())].concat();
    assert_eq!(argument(&bins(10)).unwrap().attachments().len(), 10);
    assert_eq!(argument(&bins(11)), Err(PacketError::TooManyAttachments));
    let nested = |depth: usize| [b"\x91".repeat(depth), b"\xc0".to_vec()].concat();
    assert!(argument(&nested(126)).unwrap().decode::<Value>().is_ok());
    for depth in [200, 100_000] {
        let deep = argument(&nested(depth)).unwrap();
        assert_eq!(deep.json().len(), 2 * depth + 4);
        assert!(deep.decode::<Value>().is_err());
    }
    let small = PacketLimits { max_pending_bytes: 20, ..LIMITS };
    let message = Bytes::from(event(&[b"\xb4".to_vec(), vec![b'x'; 20]].concat()));
    assert_eq!(decode(&message, small), Err(PacketError::TooLarge));
}

#[test]
fn what_version_2_of_the_parser_writes_is_read() {
    let connect = Packet::Connect { ns: "/admin?token=x".into(), auth: None };
    assert_eq!(decode_text(r#"{"type":0,"nsp":"/admin?token=x","options":{"compress":true}}"#), Ok(connect));
    assert_eq!(decode_text(r#"{"type":1,"nsp":"/"}"#), Ok(Packet::Disconnect { ns: "/".into() }));
    let event = read(b"\x83\xa4type\x05\xa3nsp\xa1/\xa4data\x92\xa1e\xc4\x01x");
    assert!(matches!(event, Ok(Packet::Event { event, .. }) if event.args.attachments() == ["x"]));
    let ack = read(b"\x84\xa4type\x06\xa3nsp\xa1/\xa4data\x91\xc4\x01x\xa2id\x01");
    assert!(matches!(ack, Ok(Packet::Ack { id: 1, args, .. }) if args.attachments() == ["x"]));
    for text in ["", "{}", "0", r#"{"type":0}"#, r#"{"type":9,"nsp":"/"}"#, r#"{"type":0,"nsp":"x"}"#] {
        assert!(decode_text(text).is_err(), "{text}");
    }
}

#[test]
fn bytes_take_the_place_of_their_placeholders() {
    let args = Args(("a\n", vec![Bytes::from("one"), Bytes::from("two")], -1.5, i64::MIN));
    let event = encode::event("/", None, "e", &RawArgs::encode(&args).unwrap()).unwrap();
    let expected = b"\x83\xa4type\x02\xa3nsp\xa1/\xa4data\x95\xa1e\xa2a\n\x92\xc4\x03one\xc4\x03two\
        \xcb\xbf\xf8\0\0\0\0\0\0\xd3\x80\0\0\0\0\0\0\0";
    assert_eq!(&*written(&event), expected);
}

#[test]
fn nothing_of_a_placeholder_is_written_but_its_bytes() {
    let text = r#"52-["e",{"x":[1,{"y":2}],"num":0,"_placeholder":true},[{"_placeholder":true,"num":1}],3]"#;
    let written = encode(text, &[Bytes::from("one"), Bytes::from("two")]).unwrap();
    assert_eq!(&*written, b"\x83\xa4type\x02\xa3nsp\xa1/\xa4data\x94\xa1e\xc4\x03one\x91\xc4\x03two\x03");
}

#[test]
fn values_may_nest_as_deep_as_they_like_on_the_way_out() {
    let nested = format!("2[\"e\",{}1{}]", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(encode(&nested, &[]).unwrap().len(), 22 + 100_000);
}

#[test]
fn text_that_is_no_packet_is_not_written() {
    for text in ["", "x", "5-[]", "2x\u{fffd}"] {
        drop(encode(text, &[]));
    }
    assert_eq!(encode("", &[]), None);
    assert_eq!(encode("9", &[]), None);
}

/// JSON values as clients and handlers have them.
fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..20).prop_map(Value::from),
            proptest::collection::btree_map(any::<String>(), inner, 0..20)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_written_reads_back(
        name in "[a-z ]{1,300}",
        id in proptest::option::of(0..=MAX_ID),
        value in values(),
        bytes in proptest::collection::vec(any::<Vec<u8>>().prop_map(Bytes::from), 0..=10),
    ) {
        prop_assume!(!RESERVED.contains(&name.as_str()));
        let args = RawArgs::encode(&Args((&value, &bytes))).unwrap();
        let written = written(&encode::event("/chat", id, &name, &args).unwrap());
        let Ok(Packet::Event { ns, event }) = decode(&written, LIMITS) else { panic!("an event") };
        prop_assert_eq!((&*ns, &*event.name, event.id), ("/chat", &*name, id));
        let Args((read, read_bytes)) = event.args.decode::<Args<(Value, Vec<Bytes>)>>().unwrap();
        prop_assert_eq!(read, value);
        prop_assert_eq!(read_bytes, bytes);
    }

    #[test]
    fn any_message_is_a_packet_or_refused(message: Vec<u8>) {
        drop(read(&message));
        drop(read(&event(&message)));
    }

    /// Mostly markers, so that more of it is MessagePack.
    #[test]
    fn whatever_is_read_is_valid_for_whoever_reads_it_later(
        message in proptest::collection::vec(prop_oneof![0x80..0xa3u8, 0xc0..=0xdfu8, 0u8..3], 0..60),
    ) {
        if let Ok(args) = argument(&message) {
            let again = RawArgs::from_array(&args.to_array(), args.attachments().to_vec());
            prop_assert_eq!(again.as_ref(), Ok(&args));
            let event = encode::event("/", None, "e", &args).unwrap();
            let Ok(Packet::Event { event, .. }) = decode(&written(&event), LIMITS) else { panic!("an event") };
            prop_assert_eq!(event.args.attachments(), args.attachments());
        }
    }

    #[test]
    fn any_text_is_written_or_not(text: String, json in "[\\[\\]{}:,\"a1\\\\ ]{0,40}", bytes: Vec<u8>) {
        drop(encode(&text, &[]));
        drop(encode(&format!("2{json}"), &[]));
        drop(encode(&format!("51-{json}"), &[bytes.into()]));
        drop(decode_text(&text));
    }
}
