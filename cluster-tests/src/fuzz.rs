//! Fuzz targets of the library (`socketmesh::fuzzing`), each with a generator of inputs: `cargo run --bin fuzz`.
//!
//! A case is made of the seed and its number alone, so both together play it again. Nothing measures which code a case
//! reaches; that is left to the generators, which make what is valid and then break it. How many cases were taken, or got as
//! far as a target cares about, is told with every run.

#![expect(clippy::indexing_slicing, reason = "indices are drawn from the lengths")]

mod corpus;
mod draw;
mod frames;
mod json;
mod msgpack;
mod mutate;
mod protobuf;
mod run;
mod target;

use socketmesh::fuzzing;

use crate::dice::Dice;
use draw::tape;
pub use run::{Failure, Limit, Outcome, again, run, short};
pub use target::Target;

/// All of them.
pub const TARGETS: &[Target] = &[
    decoder("websocket", fuzzing::websocket, frames::websocket),
    decoder("websocket_deflate", fuzzing::websocket_deflate, frames::websocket_deflate),
    decoder("webtransport", fuzzing::webtransport, frames::webtransport),
    decoder("engine_packet", fuzzing::engine_packet, corpus::engine_packet),
    decoder("engine_payload", fuzzing::engine_payload, corpus::engine_payload),
    decoder("query", fuzzing::query, corpus::query),
    decoder("request", fuzzing::request, tape),
    decoder("client_address", fuzzing::client_address, corpus::client_address),
    decoder("proxy_header", fuzzing::proxy_header, corpus::proxy_header),
    decoder("socket_packet", fuzzing::socket_packet, corpus::socket_packet),
    decoder("msgpack_packet", fuzzing::msgpack_packet, msgpack::packet),
    decoder("event_arguments", fuzzing::event_arguments, json::arguments),
    decoder("mesh_frame", fuzzing::mesh_frame, frames::mesh),
    decoder("mesh_envelope", fuzzing::mesh_envelope, protobuf::envelope),
    decoder("hello", fuzzing::hello, protobuf::hello),
    decoder("gossip_message", fuzzing::gossip_message, frames::gossip),
    stateful("session", fuzzing::session),
    stateful("sockets", fuzzing::sockets),
    stateful("sockets_msgpack", fuzzing::sockets_msgpack),
    stateful("link", fuzzing::link),
    stateful("membership", fuzzing::membership),
    stateful("gossip_filter", fuzzing::gossip_filter),
    stateful("gossip", fuzzing::gossip),
];

const fn decoder(
    name: &'static str,
    run: fn(&[u8]) -> bool,
    generate: fn(&mut Dice, &mut Vec<u8>),
) -> Target {
    Target { name, is_stateful: false, run, generate }
}

const fn stateful(name: &'static str, run: fn(&[u8]) -> bool) -> Target {
    Target { name, is_stateful: true, run, generate: tape }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn target(run: fn(&[u8]) -> bool) -> Target {
        stateful("a test", run)
    }

    #[test]
    fn a_seed_and_a_number_make_the_same_case_again() {
        for target in TARGETS {
            let (mut first, mut second) = (Vec::new(), vec![7; 100]);
            target.input(1, 2, &mut first);
            target.input(1, 2, &mut second);
            assert_eq!(first, second, "{}", target.name);
        }
    }

    #[test]
    fn every_target_gets_far_with_some_of_its_cases_and_is_never_surprised() {
        for target in TARGETS {
            let outcome = run(*target, 7, Limit::Executions(300), 1);
            assert!(outcome.failure.is_none(), "{}: {:?}", target.name, outcome.failure);
            assert_eq!(outcome.executions, 300);
            assert!(outcome.reached > 10, "{}: {}", target.name, outcome.reached);
        }
    }

    #[test]
    fn an_input_that_panics_is_told_as_short_as_it_still_panics_even_if_the_panic_was_caught() {
        fn caught(input: &[u8]) -> bool {
            std::panic::catch_unwind(|| assert!(!input.contains(&7), "a seven")).is_ok()
        }
        let target = target(caught);
        let outcome = run(target, 1, Limit::Time(Duration::from_secs(60)), 2);
        let failure = outcome.failure.expect("sevens are frequent");
        assert!(failure.reason.contains("a seven"), "{failure:?}");
        assert_eq!(short(target, failure.input), [7]);
    }
}
