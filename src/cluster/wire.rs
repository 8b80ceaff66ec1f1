//! The bytes between nodes: frames, and protobuf ↔ values (docs/protocol/mesh.md, "Byte layout", "Versions").

mod broadcast;
mod error;
mod frame;
pub(crate) mod gossip;
mod message;
mod recovery;
mod values;

use bytes::{BufMut, Bytes, BytesMut};

pub(crate) use error::WireError;
pub(crate) use frame::{Frame, MAX_BODY};
pub(crate) use message::{
    Message, encode_broadcast, encode_command, encode_recovery, encode_request, encode_response,
    encode_withdrawal, unsequenced,
};

/// The generated types of `proto/mesh.proto`.
#[allow(
    missing_docs,
    unnameable_types,
    unreachable_pub,
    clippy::all,
    clippy::use_self,
    reason = "generated; a test compares it"
)]
pub(crate) mod pb {
    include!("wire/mesh.pb.rs");
}

/// Why a connection between two nodes is closed, as the other end sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CloseCode {
    /// This node leaves the cluster.
    Left,
    /// Another connection of the same two nodes took over.
    Superseded,
    /// The other end does not answer any more.
    Silent,
    /// There was no hello, or it was refused.
    Refused,
}

impl From<CloseCode> for u32 {
    fn from(code: CloseCode) -> Self {
        match code {
            CloseCode::Left => 1,
            CloseCode::Superseded => 2,
            CloseCode::Silent => 3,
            CloseCode::Refused => 4,
        }
    }
}

/// The bytes of a stream header or a hello reply: 4 bytes length, then the message.
pub(crate) fn encode_prelude(message: &impl prost::Message) -> Bytes {
    let length = message.encoded_len();
    let mut bytes = BytesMut::with_capacity(4 + length);
    bytes.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    bytes.extend_from_slice(&message.encode_to_vec());
    bytes.freeze()
}

/// The largest stream header or hello: 500 members of 100 bytes.
pub(crate) const MAX_PRELUDE: usize = 64 << 10;

#[cfg(test)]
mod tests {
    #[test]
    fn the_checked_in_code_is_what_the_proto_file_generates() {
        let root = env!("CARGO_MANIFEST_DIR");
        let fds = protox::compile([format!("{root}/proto/mesh.proto")], [format!("{root}/proto")]).unwrap();
        let out = std::env::temp_dir().join(format!("socketmesh-proto-{}", std::process::id()));
        std::fs::create_dir_all(&out).unwrap();
        prost_build::Config::new().bytes(["."]).out_dir(&out).compile_fds(fds).unwrap();
        let generated = std::fs::read_to_string(out.join("socketmesh.mesh.v1.rs")).unwrap();
        std::fs::remove_dir_all(&out).unwrap();
        let path = format!("{root}/src/cluster/wire/mesh.pb.rs");
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&path, &generated).unwrap();
        }
        let checked_in = std::fs::read_to_string(&path).unwrap();
        assert!(
            checked_in == generated,
            "run this test with BLESS=1 to write src/cluster/wire/mesh.pb.rs anew"
        );
    }
}
