//! Socket.IO packets as MessagePack.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| socketmesh::fuzzing::msgpack_packet(data));
