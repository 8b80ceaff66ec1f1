//! A rule has to hold on Node's own server too, and must not where the documents say that Node differs.
//!
//! They say so in the tables that compare with Node. The tests of those rows, in `tests/rules`, are the expected differences;
//! there is no other list.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::LazyLock;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::timeout;

use crate::fixture::Suite;
use crate::oracle::Oracle;
use crate::rules::Rules;
use crate::target::Target;

/// Judges Node's own server by the rule of `test`, the path of its module.
///
/// # Panics
/// The rule does not hold and no document says so, or it does although one says otherwise.
pub async fn on_node_js<F: Future<Output = ()>>(test: &str, suite: Suite, rule: impl FnOnce(Target) -> F) {
    let Some(row) = DIFFERENCES.get(&key(test)) else {
        return rule(Target::node_js(suite)).await;
    };
    // A process of its own, because what Node does otherwise may be to crash.
    let oracle = Oracle::start(suite).await;
    let rule = rule(Target::of(suite, oracle.addr, &[oracle.addr]));
    if let Ok(Ok(())) = timeout(PATIENCE, AssertUnwindSafe(rule).catch_unwind()).await {
        panic!("Node keeps this rule, although the documents say that it differs: {row}");
    }
}

/// The tests that hold how this server differs from Node, with the row that says so.
static DIFFERENCES: LazyLock<BTreeMap<Key, String>> = LazyLock::new(|| {
    let pages = ["engine-io", "socket-io"].map(|page| {
        Rules::read(&format!("docs/protocol/{page}.md"), &format!("cluster-tests/tests/rules/{page}.toml"))
    });
    let differences = pages.iter().flat_map(Rules::differences);
    differences.map(|(row, test)| (key(test), row.to_owned())).collect()
});

/// The file of a test and its name. Modules in between tell apart nothing.
type Key = (String, String);

fn key(test: &str) -> Key {
    let file = test.split("::").next().unwrap_or_default();
    let name = test.rsplit("::").next().unwrap_or_default();
    (file.to_owned(), name.to_owned())
}

/// For a rule that Node breaks by not answering. Who keeps it, is faster.
const PATIENCE: Duration = Duration::from_secs(3);
