//! The browser of the tests.

use std::env;
use std::path::PathBuf;

/// The Chromium of Debian's package, or the one that `SOCKETMESH_TEST_CHROMIUM` names.
///
/// # Panics
/// It is not installed.
#[must_use]
pub fn chromium() -> PathBuf {
    let path = env::var_os("SOCKETMESH_TEST_CHROMIUM")
        .map_or_else(|| PathBuf::from("/usr/bin/chromium"), PathBuf::from);
    let advice = "install Debian's package chromium, or name another by SOCKETMESH_TEST_CHROMIUM";
    assert!(path.is_file(), "this test needs a browser, and {} is not there: {advice}", path.display());
    path
}
