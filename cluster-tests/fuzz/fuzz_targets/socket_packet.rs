//! Socket.IO packets with their attachments.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| socketmesh::fuzzing::socket_packet(data));
