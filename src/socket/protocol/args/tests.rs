use super::super::error::{EncodeError, PacketError};
use super::*;
use bytes::Bytes;
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::{BTreeMap, HashMap};

const ONE: Bytes = Bytes::from_static(b"\x01");
const TWO: Bytes = Bytes::from_static(b"\x02\xff");

fn raw(json: &str, attachments: &[Bytes]) -> RawArgs {
    RawArgs::from_array(&format!("[{json}]").into(), attachments.to_vec()).unwrap()
}

fn place(number: usize) -> String {
    format!(r#"{{"_placeholder":true,"num":{number}}}"#)
}

fn encode<A: IntoArgs + ?Sized>(args: &A) -> (String, Vec<Bytes>) {
    let RawArgs { json, attachments } = RawArgs::encode(args).unwrap();
    (json.into(), attachments.to_vec())
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Upload {
    name: String,
    #[serde(default)]
    note: Option<String>,
    data: Bytes,
    more: Vec<Bytes>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Wrapped(Bytes);

#[derive(Debug, PartialEq, Serialize)]
struct Unit;

#[test]
fn one_value_is_one_argument() {
    for (encoded, json) in [
        (encode("text"), r#""text""#),
        (encode(&7), "7"),
        (encode(&(1, 2)), "[1,2]"),
        (encode(&[1, 2][..]), "[1,2]"),
        (encode(&vec!["a"]), r#"["a"]"#),
        (encode(&None::<u8>), "null"),
        (encode(&f64::NAN), "null"),
        (encode(""), r#""""#),
        (encode::<[u8]>(&[]), "[]"),
    ] {
        assert_eq!(encoded, (json.to_owned(), vec![]));
    }
}

#[test]
fn what_has_no_content_is_no_argument() {
    assert_eq!(encode(&()).0, "");
    assert_eq!(encode(&Unit).0, "");
    assert_eq!(encode(&Args(((), 1, ()))).0, "null,1,null");
    assert_eq!(raw("1,2", &[]).decode::<()>().unwrap(), ());
}

#[test]
fn args_are_several() {
    assert_eq!(encode(&Args((1,))).0, "1");
    assert_eq!(
        encode(&Args((1, "b", [3], None::<u8>, (), true, 'g', 0.5))).0,
        r#"1,"b",[3],null,null,true,"g",0.5"#
    );
    let Args((a, b, c)) = raw(r#"1,"b",[3],4"#, &[]).decode::<Args<(u8, String, Vec<u8>)>>().unwrap();
    assert_eq!((a, b.as_str(), c), (1, "b", vec![3]));
}

#[test]
fn arguments_that_were_not_sent_are_null() {
    assert_eq!(raw("", &[]).decode::<Option<u8>>().unwrap(), None);
    assert_eq!(raw("1", &[]).decode::<Args<(u8, Option<u8>)>>().unwrap(), Args((1, None)));
    let error = raw("1", &[]).decode::<Args<(u8, u8)>>().unwrap_err().to_string();
    assert!(error.starts_with("argument 2: invalid type: null"), "{error}");
    assert_eq!(raw("", &[]).decode::<RawArg>().unwrap().json(), "null");
}

#[test]
fn bytes_become_attachments_at_any_depth_in_the_order_of_node() {
    let (x, b) = (json!("1970"), HashMap::from([("b", TWO)]));
    let (json, attachments) = encode(&Args((x, None::<u8>, &ONE, b)));
    assert_eq!(json, format!(r#""1970",null,{},{{"b":{}}}"#, place(0), place(1)));
    assert_eq!(attachments, [ONE, TWO]);
}

#[test]
fn attachments_come_back_where_they_were() {
    let upload = Upload { name: "n".into(), note: None, data: ONE, more: vec![TWO, Bytes::new()] };
    let args = RawArgs::encode(&upload).unwrap();
    assert_eq!(args.attachments().len(), 3);
    assert_eq!(args.decode::<Upload>().unwrap(), upload);
    assert_eq!(args.decode::<Args<(Upload, Option<Bytes>)>>().unwrap(), Args((upload, None)));
}

#[test]
fn everything_serde_has_decodes_beside_attachments() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Shape {
        Unit,
        New(Bytes),
        Pair(u8, Bytes),
        Fields { data: Bytes },
    }
    #[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
    enum Side {
        Left,
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(tag = "type")]
    enum Tagged {
        Data { data: Bytes },
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct All {
        shapes: Vec<Shape>,
        wrapped: Option<Wrapped>,
        tagged: Tagged,
        numbers: (u8, i64, f32, u64, i128),
        text: (String, char, bool),
        unit: (),
        by_number: BTreeMap<u32, Bytes>,
        by_side: BTreeMap<Side, u8>,
        by_flag: BTreeMap<bool, u8>,
        nested: Option<Option<Box<Upload>>>,
        value: serde_json::Value,
    }
    let all = All {
        shapes: vec![Shape::Unit, Shape::New(ONE), Shape::Pair(1, TWO), Shape::Fields { data: ONE }],
        wrapped: Some(Wrapped(TWO)),
        tagged: Tagged::Data { data: ONE },
        numbers: (255, i64::MIN, 0.5, u64::MAX, 5),
        text: ("é\n".into(), 'c', true),
        unit: (),
        by_number: BTreeMap::from([(7, TWO)]),
        by_side: BTreeMap::from([(Side::Left, 1)]),
        by_flag: BTreeMap::from([(true, 1)]),
        nested: None,
        value: json!({ "a": [1, null, { "b": "c" }] }),
    };
    let args = RawArgs::encode(&all).unwrap();
    assert_eq!(args.attachments().len(), 6);
    assert_eq!(args.decode::<All>().unwrap(), all);
}

#[test]
fn a_vector_of_numbers_takes_an_attachment_too_but_text_does_not() {
    let args = raw(&place(0), &[TWO]);
    assert_eq!(args.decode::<Vec<u8>>().unwrap(), [2, 255]);
    assert_eq!(args.decode::<[u8; 2]>().unwrap(), [2, 255]);
    assert!(raw(&place(0), &[ONE]).decode::<String>().is_err());
    assert!(args.decode::<serde_json::Value>().is_err());
    assert!(args.decode::<Upload>().is_err());
}

#[test]
fn without_attachments_nothing_is_a_placeholder() {
    let args = raw(&place(0), &[]);
    assert_eq!(args.decode::<serde_json::Value>().unwrap(), json!({ "_placeholder": true, "num": 0 }));
    assert_eq!(encode(&args), (place(0), vec![]));
}

#[test]
fn raw_arguments_pass_through_unchanged() {
    let json = format!(r#"1.50, {{"b":1,"a":{}}} ,{}"#, place(1), place(0));
    let args = raw(&json, &[ONE, TWO]);
    assert_eq!(encode(&args), (json, vec![ONE, TWO]));
    assert_eq!(args.decode::<RawArgs>().unwrap(), args);
    assert_eq!(RawArgs::from_array(&args.to_array(), args.attachments().to_vec()), Ok(args));
    assert_eq!(encode(&RawArgs::default()).0, "");
}

#[test]
fn raw_arguments_get_new_numbers_beside_others() {
    let json = format!(r#"1.50, {{"b":{},"a":{}}},{}"#, place(1), place(1), place(0));
    let Args((_, object, bytes)) =
        raw(&json, &[ONE, TWO]).decode::<Args<(RawArg, RawArg, RawArg)>>().unwrap();
    assert_eq!(encode(&object), (format!(r#"{{"b":{},"a":{}}}"#, place(0), place(0)), vec![TWO]));
    let (json, attachments) = encode(&Args((ONE, object.clone(), 2.5, bytes)));
    assert_eq!(json, format!(r#"{},{{"b":{},"a":{}}},2.5,{}"#, place(0), place(1), place(1), place(2)));
    assert_eq!(attachments, [ONE, TWO, ONE]);
    assert_eq!(object.decode::<HashMap<String, Bytes>>().unwrap()["a"], TWO);
}

#[test]
fn a_raw_argument_goes_wherever_a_value_does() {
    #[derive(Serialize)]
    struct Relayed<'a> {
        own: Bytes,
        what: &'a RawArg,
        again: Vec<RawArg>,
    }
    #[derive(Serialize)]
    #[serde(tag = "kind")]
    enum Told {
        What { what: RawArg },
    }
    let json = format!(r#"{{"b":{},  "a":[1.50,{}]}}"#, place(1), place(0));
    let what = raw(&json, &[ONE, TWO]).decode::<RawArg>().unwrap();
    let renumbered = |first, second| format!(r#"{{"b":{},  "a":[1.50,{}]}}"#, place(first), place(second));

    let relayed = Relayed { own: ONE, what: &what, again: vec![what.clone(), what.clone()] };
    let (written, attachments) = encode(&relayed);
    let again = format!("[{},{}]", renumbered(3, 4), renumbered(5, 6));
    let expected = format!(r#"{{"own":{},"what":{},"again":{again}}}"#, place(0), renumbered(1, 2));
    assert_eq!((written, attachments), (expected, vec![ONE, TWO, ONE, TWO, ONE, TWO, ONE]));
    assert_eq!(
        encode(&Args((&what, (7, Some(&what))))).0,
        format!("{},[7,{}]", renumbered(0, 1), renumbered(2, 3))
    );
    assert_eq!(encode(&&what), (renumbered(0, 1), vec![TWO, ONE]));
    assert_eq!(encode_event(&Event::Said(what.clone())).unwrap().1.json(), renumbered(0, 1));

    // What stands between decodes it: the value is the same, its text is not.
    let (written, attachments) = encode(&Told::What { what });
    let spelled = format!(r#"{{"b":{},"a":[1.5,{}]}}"#, place(0), place(1));
    let expected = format!(r#"{{"kind":"What","what":{spelled}}}"#);
    assert!(
        [expected, format!(r#"{{"kind":"What","what":{}}}"#, renumbered(0, 1))].contains(&written),
        "{written}"
    );
    assert_eq!(attachments, [TWO, ONE]);
}

#[derive(Serialize)]
enum Event {
    Said(RawArg),
}

#[test]
fn another_format_gets_what_a_raw_argument_decodes_to() {
    let what = raw(&format!(r#"{{"a":[1.50,{}]}}"#, place(0)), &[TWO]).decode::<RawArg>().unwrap();
    assert_eq!(serde_json::to_value(&what).unwrap(), json!({ "a": [1.5, [2, 255]] }));
    let plain = raw(&place(0), &[]).decode::<RawArg>().unwrap();
    assert_eq!(serde_json::to_value(&plain).unwrap(), json!({ "_placeholder": true, "num": 0 }));
    // Nothing of it is left for the bytes that are written next.
    assert_eq!(encode(&TWO), (place(0), vec![TWO]));
}

#[test]
fn more_attachments_than_clients_accept_are_refused() {
    assert!(RawArgs::encode(&vec![ONE; 10]).is_ok());
    let refused = RawArgs::encode(&vec![ONE; 11]);
    assert!(matches!(refused, Err(EncodeError::TooManyAttachments { given: 11 })));
}

#[test]
fn a_forged_placeholder_is_not_sent_beside_attachments() {
    let forged = json!({ "_placeholder": true, "num": 5 });
    assert!(RawArgs::encode(&forged).is_ok());
    assert!(matches!(RawArgs::encode(&Args((forged, ONE))), Err(EncodeError::ForgedPlaceholder)));
    let forged = raw(&place(5), &[]).decode::<RawArg>().unwrap();
    assert!(matches!(RawArgs::encode(&Args((ONE, forged))), Err(EncodeError::ForgedPlaceholder)));
}

#[test]
fn what_json_cannot_express_is_refused() {
    let refused = RawArgs::encode(&HashMap::from([((1, 2), 3)]));
    assert!(matches!(refused, Err(EncodeError::Json(_))));
}

#[test]
fn arrays_from_elsewhere_are_checked() {
    for array in ["", "1", "[", "{}", "[1]]", "[1,]"] {
        assert_eq!(RawArgs::from_array(&array.into(), vec![]), Err(PacketError::InvalidPayload), "{array}");
    }
    let array = format!("[{}]", place(1));
    assert_eq!(RawArgs::from_array(&array.into(), vec![ONE]), Err(PacketError::IllegalAttachments));
}

#[derive(Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum Game {
    Start,
    Say(String),
    MoveBy(f32, f32, Option<u8>),
    Typing {
        room: String,
    },
    Upload(Upload),
    Patch {
        data: Bytes,
    },
    Done(()),
    #[serde(rename = "1")]
    Number(Option<u8>),
    #[serde(other)]
    Unknown,
}

#[test]
fn an_enum_is_the_table_of_events() {
    let upload = Upload { name: "n".into(), note: None, data: TWO, more: vec![] };
    let upload_json = format!(r#"{{"name":"n","note":null,"data":{},"more":[]}}"#, place(0));
    for (name, args, event) in [
        ("start", raw("", &[]), Game::Start),
        ("say", raw(r#""hi""#, &[]), Game::Say("hi".into())),
        ("move_by", raw("0.5,1.5,null", &[]), Game::MoveBy(0.5, 1.5, None)),
        ("typing", raw(r#"{"room":"r"}"#, &[]), Game::Typing { room: "r".into() }),
        ("upload", raw(&upload_json, &[TWO]), Game::Upload(upload)),
        ("patch", raw(&format!(r#"{{"data":{}}}"#, place(0)), &[ONE]), Game::Patch { data: ONE }),
        ("done", raw("", &[]), Game::Done(())),
        ("1", raw("7", &[]), Game::Number(Some(7))),
    ] {
        let (encoded, encoded_args) = encode_event(&event).unwrap();
        assert_eq!((encoded, &encoded_args), (name, &args));
        assert_eq!(decode_event::<Game>(name, &args).unwrap(), Some(event));
    }
}

#[test]
fn an_event_may_have_more_or_fewer_arguments_than_its_variant() {
    for (name, json, event) in [
        ("start", "1", Game::Start),
        ("say", r#""hi",2,3"#, Game::Say("hi".into())),
        ("move_by", "1,2", Game::MoveBy(1.0, 2.0, None)),
        ("move_by", "1,2,3,4", Game::MoveBy(1.0, 2.0, Some(3))),
        ("1", "", Game::Number(None)),
        ("never heard of", "{}", Game::Unknown),
    ] {
        assert_eq!(decode_event::<Game>(name, &raw(json, &[])).unwrap(), Some(event), "{name}");
    }
}

#[test]
fn an_event_that_does_not_decode_says_where() {
    let message = |name, json| decode_event::<Game>(name, &raw(json, &[])).unwrap_err().to_string();
    assert!(message("move_by", "1,true").starts_with("argument 2: invalid type: boolean"));
    assert!(message("typing", "").starts_with("argument 1: invalid type: null"));
}

#[test]
fn only_the_name_of_an_event_makes_it_an_unknown_one() {
    #[derive(Debug, PartialEq, Deserialize)]
    enum Closed {
        Known(Answer),
    }
    #[derive(Debug, PartialEq, Deserialize)]
    enum Answer {
        Yes,
    }
    let decoded = |name, json| decode_event::<Closed>(name, &raw(json, &[]));
    assert_eq!(decoded("Known", r#""Yes""#).unwrap(), Some(Closed::Known(Answer::Yes)));
    assert_eq!(decoded("Yes", r#""Yes""#).unwrap(), None);
    let error = decoded("Known", r#""No""#).unwrap_err().to_string();
    assert!(error.starts_with("argument 1: unknown variant `No`"), "{error}");
    assert!(decode_event::<Upload>("Known", &RawArgs::default()).is_err(), "no enum at all");
}

#[test]
fn only_a_variant_is_an_event() {
    for error in [encode_event("text").unwrap_err(), encode_event(&json!({})).unwrap_err()] {
        assert!(error.to_string().contains("an event is a variant of an enum, not a"), "{error}");
    }
    assert_eq!(encode_event(&Some(&Game::Start)).unwrap().0, "start");
}

proptest! {
    #[test]
    fn bytes_survive_the_wire(parts in proptest::collection::vec(proptest::option::of(any::<Vec<u8>>()), 0..10)) {
        let parts: Vec<_> = parts.into_iter().map(|part| part.map(Bytes::from)).collect();
        let args = RawArgs::encode(&parts).unwrap();
        prop_assert_eq!(args.decode::<Vec<Option<Bytes>>>().unwrap(), parts.clone());
        let relayed = RawArgs::encode(&Args((ONE, args.decode::<RawArg>().unwrap())));
        let inside = RawArgs::encode(&(args.decode::<RawArg>().unwrap(), 1)).unwrap();
        prop_assert_eq!(inside.decode::<(Vec<Option<Bytes>>, u8)>().unwrap(), (parts.clone(), 1));
        if args.attachments().len() < 10 {
            let Args((first, again)) = relayed.unwrap().decode::<Args<(Bytes, Vec<Option<Bytes>>)>>().unwrap();
            prop_assert_eq!((first, again), (ONE, parts));
        }
    }

    #[test]
    fn any_array_is_arguments_or_refused(
        json in r#"\[([\[\]{},:" \\1ae.+-]|"_placeholder":true|"num":0|\{\}|,){0,30}\]"#,
    ) {
        if let Ok(args) = RawArgs::from_array(&json.into(), vec![ONE]) {
            prop_assert_eq!(&RawArgs::encode(&args).unwrap(), &args);
            drop(args.decode::<Args<(Upload, Vec<Bytes>, Game)>>());
            drop(decode_event::<Game>("upload", &args));
            drop(RawArgs::encode(&Args((TWO, args.decode::<RawArg>().unwrap()))).unwrap());
        }
    }
}
