//! Frames of a link between nodes.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| socketmesh::fuzzing::mesh_frame(data));
