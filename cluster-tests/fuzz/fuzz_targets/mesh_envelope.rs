//! What a frame between nodes holds.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| socketmesh::fuzzing::mesh_envelope(data));
