//! The scripts in `interop/python`, with the packages of PyPI that they need.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use tokio::process::Command;
use tokio::sync::OnceCell;

use crate::interop::{INSTALL_DEADLINE, SCRIPT_DEADLINE, finish};

/// Runs a script and returns its output. `pip install` runs before if the requirements have changed.
///
/// # Panics
/// Python or pip is missing, or the script fails. The message has the output of the script.
pub async fn run(script: &str, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> String {
    static INSTALLED: OnceCell<()> = OnceCell::const_new();
    INSTALLED.get_or_init(async || install(&folder().join("requirements.txt"), &packages()).await).await;
    let mut python = Command::new("python3");
    python.arg(script).args(arguments).current_dir(folder()).env("PYTHONPATH", packages());
    finish(script, &mut python, SCRIPT_DEADLINE).await
}

/// Installs exactly what a file of requirements says into a folder that holds nothing else, unless that is there already. `cargo
/// test` runs one test binary at a time, so no other one installs now.
///
/// # Panics
/// Python or pip is missing, or pip fails.
pub async fn install(requirements: &Path, packages: &Path) {
    let wanted = fs::read(requirements).expect("the scripts have requirements");
    let installed = packages.join(".installed-requirements.txt");
    if fs::read(&installed).ok().as_ref() == Some(&wanted) {
        return;
    }
    // pip leaves packages that are already installed.
    if packages.exists() {
        fs::remove_dir_all(packages).expect("what pip made can be removed");
    }
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--target"]);
    pip.arg(packages).arg("--requirement").arg(requirements);
    finish("pip install", &mut pip, INSTALL_DEADLINE).await;
    fs::write(installed, wanted).expect("what pip made can be written");
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("interop/python")
}

fn packages() -> PathBuf {
    folder().join("packages")
}
