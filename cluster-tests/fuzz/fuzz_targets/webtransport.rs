//! Frames of a WebTransport client.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| socketmesh::fuzzing::webtransport(data));
