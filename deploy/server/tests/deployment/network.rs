//! A network of machines, each of which is a namespace, and a test that stands where their clients are.

use std::thread;

use cluster_tests::chaos::network::{self, Network};
use cluster_tests::interop;
use tokio::runtime::Builder;

/// Runs a test where the clients of so many machines are.
pub(crate) fn among<F: Future<Output = ()>>(
    machines: usize,
    test: impl FnOnce(Network) -> F + Send + 'static,
) {
    // The thread is lost to the network that it enters.
    let playing = thread::spawn(move || {
        let runtime = || Builder::new_current_thread().enable_all().build().expect("a runtime");
        // There is no registry there.
        runtime().block_on(interop::installed());
        let network = Network::start(machines, None, 7).expect("a network of its own");
        network::enter(&network.space_of_clients()).expect("the namespace of the clients");
        runtime().block_on(test(network));
    });
    if let Err(panic) = playing.join() {
        std::panic::resume_unwind(panic);
    }
}

/// The port of the mesh, in everything that is shipped.
pub(crate) const MESH: u16 = 7946;
