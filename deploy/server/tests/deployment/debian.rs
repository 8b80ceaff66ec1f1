//! The Debian package and the units of systemd, on a machine with a systemd.

use std::fs;
use std::path::Path;

use cluster_tests::sources::root;
use tokio::process::Command;

use super::machine::Machine;
use super::tools::output;

#[tokio::test]
async fn the_package_is_installed_runs_under_systemd_is_upgraded_and_purged() {
    let machine = Machine::boot().await;
    build(&machine.shared.join("socketmesh.deb")).await;
    let install = "dpkg --install /mnt/socketmesh.deb";
    machine.run(install).await;
    assert_eq!(
        machine.run("systemctl is-active socketmesh || true").await,
        "inactive",
        "it has no settings yet"
    );

    it_starts_with_the_settings_of_the_file(&machine).await;
    it_reads_its_files_again_and_goes_on(&machine).await;
    it_is_started_again_when_it_hangs_or_dies(&machine).await;

    let before = main_process(&machine).await;
    machine.run("echo '# mine' >> /etc/socketmesh/socketmesh.toml").await;
    machine.run(install).await;
    machine.until("socketmesh health --ready").await;
    assert_ne!(main_process(&machine).await, before, "an upgrade starts it again");
    machine.run("grep --quiet '# mine' /etc/socketmesh/socketmesh.toml").await;
    machine.run("! journalctl --unit socketmesh | grep 'Failed with result .exit-code'").await;

    systemd_holds_the_port_of_clients(&machine).await;

    machine.run("dpkg --remove socketmesh").await;
    machine.run("test ! -e /usr/bin/socketmesh && test -e /etc/socketmesh/socketmesh.toml").await;
    machine.run("! systemctl is-active socketmesh.service && ! systemctl is-active socketmesh.socket").await;
    machine.run("dpkg --purge socketmesh").await;
    let left = "find /etc /run/systemd /usr/bin /usr/lib/systemd /usr/share/doc /var/lib/systemd -name '*socketmesh*'";
    assert_eq!(machine.run(left).await, "", "left behind");
}

async fn it_starts_with_the_settings_of_the_file(machine: &Machine) {
    let secret = "/etc/socketmesh/secrets/mesh";
    machine.run(&format!("head --bytes 32 /dev/urandom | base64 > {secret}")).await;
    machine.run(&format!("chown root:socketmesh {secret} && chmod 0640 {secret}")).await;
    // The lines of the sample that make it a member of a cluster, with a seed that is itself.
    machine
        .run(r#"sed --in-place 's/^#\(mesh\|seed\|secret_file\) /\1 /' /etc/socketmesh/socketmesh.toml"#)
        .await;
    machine
        .run(r#"sed --in-place 's/^seed .*/seed = ["127.0.0.1:7946"]/' /etc/socketmesh/socketmesh.toml"#)
        .await;
    machine.run("systemctl enable --now socketmesh").await;
    // `Type=notify`: it is active when it listens.
    machine.run("socketmesh health --http 127.0.0.1:3000").await;
    machine.until("socketmesh health --ready --admin 9090").await;
    let pid = main_process(machine).await;
    assert_eq!(machine.run(&format!("stat --format %U /proc/{pid}")).await, "socketmesh");
    assert_eq!(machine.run("systemctl show --property NotifyAccess --value socketmesh").await, "main");
}

async fn it_reads_its_files_again_and_goes_on(machine: &Machine) {
    let before = main_process(machine).await;
    machine.run("systemctl reload socketmesh").await;
    machine.until("socketmesh health --ready").await;
    assert_eq!(main_process(machine).await, before);
}

async fn it_is_started_again_when_it_hangs_or_dies(machine: &Machine) {
    let folder = "/etc/systemd/system/socketmesh.service.d";
    machine
        .run(&format!("mkdir {folder} && printf '[Service]\nWatchdogSec=5\n' > {folder}/quick.conf"))
        .await;
    machine.run("systemctl daemon-reload && systemctl restart socketmesh").await;
    // It tells the watchdog that it lives: for twice as long as that waits.
    let before = main_process(machine).await;
    machine.run("sleep 10").await;
    assert_eq!(main_process(machine).await, before, "it lives, and said so");
    for signal in ["STOP", "KILL"] {
        let before = main_process(machine).await;
        machine.run(&format!("kill -s {signal} {before}")).await;
        machine
            .until(&format!("test $(systemctl show --property MainPID --value socketmesh) != {before}"))
            .await;
        machine.until("socketmesh health --ready").await;
    }
    machine.run(&format!("rm -r {folder} && systemctl daemon-reload && systemctl restart socketmesh")).await;
}

/// While it does not run, connections wait; the first one starts it.
async fn systemd_holds_the_port_of_clients(machine: &Machine) {
    machine.run("systemctl disable --now socketmesh.service").await;
    machine
        .run("sed --in-place 's/^http = .*/http = \"0.0.0.0:3000\"/' /etc/socketmesh/socketmesh.toml")
        .await;
    machine.run("systemctl enable --now socketmesh.socket").await;
    assert_eq!(machine.run("systemctl is-active socketmesh.service || true").await, "inactive");
    machine.run("socketmesh health --http 127.0.0.1:3000").await;
    assert_eq!(machine.run("systemctl is-active socketmesh.service").await, "active");
    machine.run("systemctl restart socketmesh.service && socketmesh health --http 127.0.0.1:3000").await;
}

async fn main_process(machine: &Machine) -> String {
    machine.run("systemctl show --property MainPID --value socketmesh").await
}

#[tokio::test]
async fn the_units_are_in_order_and_leave_little_to_an_intruder() {
    let units = root().join("deploy/systemd");
    let mut security = Command::new("systemd-analyze");
    // Tenths: 0 is nothing, 10.0 everything.
    security.args(["security", "--offline=true", "--threshold=15", "--no-pager"]);
    output(security.arg(units.join("socketmesh.service"))).await;
}

/// Builds the package of the program under test.
async fn build(package: &Path) {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("package");
    fs::create_dir_all(target.join("release")).expect("a folder");
    let program = target.join("release/socketmesh");
    fs::remove_file(&program).ok();
    fs::hard_link(env!("CARGO_BIN_EXE_socketmesh"), program).expect("the program");
    let mut cargo_deb = Command::new("cargo-deb");
    cargo_deb.args(["--package", "socketmesh-server", "--no-build", "--no-strip", "--fast", "--output"]);
    cargo_deb.arg(package).current_dir(root()).env("CARGO_TARGET_DIR", target);
    output(&mut cargo_deb).await;
}
