//! The npm package `interop`: the official client and a browser, run as Node.js scripts.

use std::{
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{
    process::Command,
    sync::OnceCell,
    time::{Instant, timeout},
};

/// Runs a script of the package and returns its output. `npm ci` runs before if the lock file has changed.
///
/// # Panics
/// Node.js or npm is missing, or the script fails. The message has the output of the script.
pub async fn run(script: &str, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> String {
    installed().await;
    let mut node = Command::new("node");
    node.arg(script).args(arguments);
    finish(script, node.current_dir(package()), SCRIPT_DEADLINE).await
}

/// The package with everything it needs, installed.
///
/// # Panics
/// npm is missing, or fails.
pub async fn installed() -> PathBuf {
    static INSTALLED: OnceCell<()> = OnceCell::const_new();
    INSTALLED.get_or_init(install).await;
    package()
}

/// Installs exactly what the lock file says. `cargo test` runs one test binary at a time, so no other one installs now.
async fn install() {
    let wanted = fs::read(package().join("package-lock.json")).expect("the package has a lock file");
    let installed = package().join("node_modules/.installed-lock.json");
    if fs::read(&installed).ok().as_ref() != Some(&wanted) {
        let mut npm = Command::new("npm");
        npm.args(["ci", "--ignore-scripts"]);
        finish("npm ci", npm.current_dir(package()), INSTALL_DEADLINE).await;
        fs::write(installed, wanted).expect("what npm made can be written");
    }
}

/// The output of a command that ended successfully and in time.
///
/// # Panics
/// It is not installed, fails, or takes too long. The message has what it wrote.
pub async fn finish(what: &str, command: &mut Command, deadline: Duration) -> String {
    command.stdin(Stdio::null()).kill_on_drop(true);
    let started = Instant::now();
    let output = match timeout(deadline, command.output()).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => {
            panic!("{what}: {command:?} is needed for this test, and is not installed")
        }
        Ok(Err(error)) => panic!("{what}: {error}"),
        Err(_) => panic!("{what} did not end within {deadline:?}"),
    };
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{what}: {} after {:?}\n{out}\n{err}", output.status, started.elapsed());
    out.into_owned()
}

/// Where the package is.
pub(crate) fn package() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("interop")
}

/// The cases of clients that come back.
pub const RECOVERED: &str = "recovered_with_its_id,what_was_missed_comes_before_connect,\
    what_it_emits_meanwhile_is_sent_once_it_is_back,what_it_retries_arrives_in_order,\
    of_several_namespaces_each_is_recovered_by_itself";
/// Enough for a script with clients.
pub const SCRIPT_DEADLINE: Duration = Duration::from_secs(120);
/// Enough for a cold cache and a slow registry.
pub(crate) const INSTALL_DEADLINE: Duration = Duration::from_secs(180);
