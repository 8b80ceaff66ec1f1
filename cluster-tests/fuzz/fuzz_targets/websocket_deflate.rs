//! Frames of a WebSocket client that may deflate its messages.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| socketmesh::fuzzing::websocket_deflate(data));
