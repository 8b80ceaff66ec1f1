//! One Engine.IO packet.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| socketmesh::fuzzing::engine_packet(data));
