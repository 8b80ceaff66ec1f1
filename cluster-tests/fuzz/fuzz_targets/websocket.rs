//! Frames of a WebSocket client.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| socketmesh::fuzzing::websocket(data));
