//! How a node takes part in a cluster.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use socketmesh::cluster::{Certificates, Cluster, Credentials, Secret};
use socketmesh::id::NodeId;

use super::places::Places;
use super::values::{Duration, address, switch, text, trimmed};
use crate::process::{BoxError, read_secret, variable};

/// How a node takes part in a cluster.
#[derive(Debug, Args)]
pub(crate) struct Member {
    /// Address for the other nodes (UDP): makes this node a member of a cluster.
    #[arg(long, env = "SOCKETMESH_MESH", value_parser = address)]
    mesh: Option<SocketAddr>,
    /// Mesh address of a node to join, `host:port`; a name stands for all its addresses. May be repeated, or separated
    /// by commas.
    #[arg(long, env = "SOCKETMESH_SEED", value_delimiter = ',', value_parser = text)]
    seed: Vec<String>,
    /// Mesh address under which the others reach this node, if its packets come from elsewhere.
    #[arg(long, env = "SOCKETMESH_ADVERTISE", value_parser = text)]
    advertise: Option<String>,
    /// Name of this node, unique in its cluster and stable over restarts [default: random].
    #[arg(long, env = "SOCKETMESH_NODE_ID", value_parser = trimmed::<NodeId>)]
    node_id: Option<NodeId>,
    /// Name of the cluster; nodes of different clusters refuse each other [default: socketmesh].
    #[arg(long, env = "SOCKETMESH_CLUSTER", value_parser = text)]
    cluster: Option<String>,
    /// Takes clients even while no seed answers.
    #[arg(long, env = "SOCKETMESH_SERVE_ALONE", value_parser = switch)]
    serve_alone: bool,
    /// Lets clients go, slowly, while this node has far more than the others, so that those reach nodes that were added; the same on every
    /// node.
    #[arg(long, env = "SOCKETMESH_EVEN_OUT", value_parser = switch)]
    pub(crate) even_out: bool,
    /// How long another node may be silent before it is taken for dead; the same on every node.
    #[arg(long, env = "SOCKETMESH_SILENCE_TIMEOUT", default_value = "3s", value_parser = trimmed::<Duration>)]
    silence_timeout: Duration,
    /// File with the secret that all nodes share, at least 32 bytes. Read again on SIGHUP.
    #[arg(long, env = "SOCKETMESH_SECRET_FILE", value_parser = trimmed::<PathBuf>)]
    secret_file: Option<PathBuf>,
    /// File with another secret that this node accepts and does not use, while the secret is changed. Read again on SIGHUP; it
    /// may be missing.
    #[arg(long, env = "SOCKETMESH_SECRET_ALSO_FILE", value_parser = trimmed::<PathBuf>)]
    secret_also_file: Option<PathBuf>,
    /// Roots (PEM) that the certificates of other nodes must come from: certificates of your own instead of a secret. Read again
    /// on SIGHUP.
    #[arg(long, env = "SOCKETMESH_MESH_CA", value_parser = trimmed::<PathBuf>)]
    mesh_ca: Option<PathBuf>,
    /// Certificate chain (PEM) of this node for the others, in the name of its id. Read again on SIGHUP.
    #[arg(long, env = "SOCKETMESH_MESH_CERT", value_parser = trimmed::<PathBuf>)]
    mesh_cert: Option<PathBuf>,
    /// Private key (PEM) of that certificate. Read again on SIGHUP.
    #[arg(long, env = "SOCKETMESH_MESH_KEY", value_parser = trimmed::<PathBuf>)]
    mesh_key: Option<PathBuf>,
}

impl Member {
    pub(super) fn check(&self, places: &Places) -> Result<(), String> {
        if !self.seed.is_empty() && self.seeds().next().is_none() {
            return Err(NO_SEED.to_owned());
        }
        places.together(&["mesh_ca", "mesh_cert", "mesh_key"])?;
        places.needs("mesh_ca", self.mesh_ca.is_some(), &["node_id"])?;
        places.needs("serve_alone", self.serve_alone, &["mesh"])?;
        places.needs("even_out", self.even_out, &["mesh"])?;
        for name in ["seed", "advertise", "node_id", "cluster", "mesh_ca"] {
            places.needs(name, places.is_said(name), &["mesh"])?;
        }
        Ok(())
    }

    /// The name of this node, random if none is said.
    pub(crate) fn node_id(&self) -> Result<NodeId, BoxError> {
        Ok(match self.node_id.clone() {
            Some(id) => id,
            None => NodeId::random()?,
        })
    }

    /// How the node takes part in a cluster; `None` if it is on its own.
    pub(crate) fn cluster(&self, id: NodeId) -> Result<Option<Cluster>, BoxError> {
        let Some(mesh) = self.mesh else { return Ok(None) };
        let cluster = Cluster::bind(mesh.to_string());
        let mut cluster = cluster
            .seeds(self.seeds())
            .serve_alone(self.serve_alone)
            .silence_timeout(self.silence_timeout.0)
            .node_id(id);
        match self.credentials()? {
            Some(Credentials::Secret(secret)) => cluster = cluster.secret(secret),
            Some(Credentials::Certificates(certificates)) => cluster = cluster.certificates(certificates),
            _ => {}
        }
        if let Some(advertise) = &self.advertise {
            cluster = cluster.advertise(advertise);
        }
        if let Some(name) = &self.cluster {
            cluster = cluster.name(name);
        }
        Ok(Some(cluster))
    }

    /// What makes the node one of its cluster, as its files say now.
    pub(crate) fn credentials(&self) -> Result<Option<Credentials>, BoxError> {
        if let (Some(ca), Some(chain), Some(key)) = (&self.mesh_ca, &self.mesh_cert, &self.mesh_key) {
            let read =
                |file: &PathBuf| std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()));
            return Ok(Some(Certificates::from_pem(&read(ca)?, &read(chain)?, &read_secret(key)?)?.into()));
        }
        let own = secret("SOCKETMESH_SECRET", self.secret_file.as_ref())?;
        let (also, missing) = match &self.secret_also_file {
            Some(file) if !file.exists() => (None, Some(file.display())),
            file => (file.as_ref(), None),
        };
        let also = secret("SOCKETMESH_SECRET_ALSO", also)?;
        // A secret is changed step by step, and a mistyped name must not look like a step.
        match missing {
            Some(file) => tracing::info!(%file, "no other secret is accepted: there is no such file"),
            None if also.is_some() => tracing::info!("another secret is accepted as well"),
            None => {}
        }
        Ok(match (own, also) {
            (Some(own), Some(also)) => Some(own.accepting(also).into()),
            (own, _) => own.map(Credentials::from),
        })
    }

    fn seeds(&self) -> impl Iterator<Item = &String> {
        self.seed.iter().filter(|seed| !seed.is_empty())
    }
}

/// A secret, from its variable or its file.
fn secret(name: &'static str, file: Option<&PathBuf>) -> Result<Option<Secret>, BoxError> {
    match (variable(name), file) {
        (Some(_), Some(file)) => {
            Err(format!("{name} and the file {} ({name}_FILE) are both set", file.display()).into())
        }
        (Some(secret), None) => secret.parse().map(Some).map_err(|error| format!("{name}: {error}").into()),
        (None, Some(file)) => Ok(Some(Secret::from_file(file)?)),
        (None, None) => Ok(None),
    }
}

const NO_SEED: &str = "the seed (--seed or SOCKETMESH_SEED) is empty: name a node as host:port, or leave it out where the \
    first node of a cluster starts";
