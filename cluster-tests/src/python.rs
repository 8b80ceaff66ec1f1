//! What PyPI has and tests need: the packages of the scripts in `interop/python`, and load balancers.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use tokio::process::Command;
use tokio::sync::OnceCell;

use crate::interop::{INSTALL_DEADLINE, SCRIPT_DEADLINE, finish};

/// Runs a script of `interop/python` and returns its output.
///
/// # Panics
/// Python or pip is missing, or the script fails. The message has the output of the script.
pub async fn run(script: &str, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> String {
    static PACKAGES: Packages = Packages::of("interop/python");
    let mut python = Command::new("python3");
    python.env("PYTHONPATH", PACKAGES.installed().await);
    python.arg(script).args(arguments).current_dir(PACKAGES.folder());
    finish(script, &mut python, SCRIPT_DEADLINE).await
}

/// The packages that the `requirements.txt` of a folder names.
#[derive(Debug)]
pub(crate) struct Packages {
    folder: &'static str,
    once: OnceCell<()>,
}

impl Packages {
    pub(crate) const fn of(folder: &'static str) -> Self {
        Self { folder, once: OnceCell::const_new() }
    }

    /// The folder with exactly what the requirements say. `pip install` runs before if they have changed. `cargo test` runs one
    /// test binary at a time, so no other one installs now.
    ///
    /// # Panics
    /// pip is missing, or fails.
    pub(crate) async fn installed(&self) -> PathBuf {
        let packages = self.folder().join("packages");
        self.once.get_or_init(|| self.install(&packages)).await;
        packages
    }

    async fn install(&self, packages: &Path) {
        let wanted = fs::read(self.folder().join("requirements.txt")).expect("the requirements");
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
        pip.arg(packages).args(["--requirement", "requirements.txt"]).current_dir(self.folder());
        finish("pip install", &mut pip, INSTALL_DEADLINE).await;
        fs::write(installed, wanted).expect("what pip made can be written");
    }

    fn folder(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join(self.folder)
    }
}
