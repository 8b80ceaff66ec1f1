//! The bench in small: every scenario once on our nodes, and the generator on Node's own server.

use cluster_tests::bench::scenarios::SCENARIOS;
use cluster_tests::bench::{Run, tables};
use cluster_tests::fixture::{self, Suite};
use cluster_tests::oracle::Oracle;
use socketmesh_load::{Report, Scenario};
use tokio::task::{JoinSet, spawn_blocking};

#[tokio::test(flavor = "multi_thread")]
async fn every_scenario_of_the_bench_delivers_all_in_order_and_has_a_row() {
    let (two, five) = (fixture::bench(2).await, fixture::bench(5).await);
    let loads = SCENARIOS.iter().map(|scenario| {
        let nodes = if scenario.nodes == 5 { &five } else { &two };
        let addresses: Vec<_> = nodes.http.iter().map(ToString::to_string).collect();
        let own = [("own".to_owned(), std::process::id())];
        (scenario.name.to_owned(), small(scenario.load(&addresses, &own, usize::MAX)))
    });
    let mut runs = Vec::new();
    for (scenario, report) in run_all(loads.collect()).await {
        assert_sound(&scenario, &report);
        runs.push(Run { scenario, system: "socketmesh".to_owned(), report });
    }
    let told = tables(&runs);
    for scenario in SCENARIOS {
        assert!(told.contains(&format!("### {}\n\n`{}`", scenario.title, scenario.line)), "{told}");
    }
    assert_eq!(told.matches("\n| socketmesh | ").count(), SCENARIOS.len(), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_generator_loads_node_js_over_every_transport() {
    let node = Oracle::start(Suite::Bench).await;
    let lines = [
        "idle",
        "storm",
        "room --rooms 2",
        "room --rate 50",
        "room --stuck 10",
        "direct",
        "echo",
        "echo --rate 50",
    ];
    let transports = ["websocket", "polling", "upgrade"];
    let all =
        transports.iter().flat_map(|transport| lines.map(|line| format!("{line} --transport {transport}")));
    let loads = all.map(|line| (line.clone(), small(scenario(&line, node.addr))));
    for (line, report) in run_all(loads.collect()).await {
        assert_sound(&line, &report);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_generator_says_why_nobody_can_connect() {
    let nodes = fixture::bench(1).await;
    for (line, why) in [
        ("idle --path /elsewhere/", "404"),
        ("idle --namespace /elsewhere", "namespace was refused"),
        ("idle --transport polling --path /elsewhere/", "404"),
    ] {
        let load = small(scenario(line, nodes.http[0]));
        let error =
            spawn_blocking(move || socketmesh_load::run(&load)).await.unwrap().unwrap_err().to_string();
        assert!(error.contains(why), "{line}: {error}");
    }
}

/// All at once, but for storms: beside the others they would have no time for a single connection.
async fn run_all(loads: Vec<(String, Scenario)>) -> Vec<(String, Report)> {
    let (mut reports, mut running) = (Vec::new(), JoinSet::new());
    let (storms, others): (Vec<_>, Vec<_>) =
        loads.into_iter().partition(|(_, load)| matches!(load, Scenario::Storm(_)));
    for (name, load) in storms {
        reports.push((name, run(load).await));
    }
    for (name, load) in others {
        running.spawn(async move { (name, run(load).await) });
    }
    reports.extend(running.join_all().await);
    reports
}

async fn run(load: Scenario) -> Report {
    spawn_blocking(move || socketmesh_load::run(&load)).await.expect("no panic").expect("a report")
}

fn scenario(line: &str, address: std::net::SocketAddr) -> Scenario {
    use clap::Parser as _;
    #[derive(clap::Parser)]
    struct Line {
        #[command(subcommand)]
        load: Scenario,
    }
    let words = std::iter::once("load").chain(line.split(' ')).map(str::to_owned);
    Line::try_parse_from(words.chain([address.to_string()])).expect("a load").load
}

/// With few clients and little time.
fn small(mut load: Scenario) -> Scenario {
    let common = match &mut load {
        Scenario::Idle(idle) => {
            idle.clients = idle.clients.min(20);
            &mut idle.common
        }
        Scenario::Storm(storm) => {
            storm.clients = 2;
            &mut storm.common
        }
        Scenario::Room(room) => {
            (room.clients, room.rooms, room.pace.window) = (20, room.rooms.min(2), 2);
            room.pace.rate = room.pace.rate.map(|_| 50.);
            &mut room.common
        }
        Scenario::Direct(direct) => {
            (direct.clients, direct.pace.window) = (4, 2);
            &mut direct.common
        }
        Scenario::Echo(echo) => {
            (echo.clients, echo.pace.window) = (4, 2);
            &mut echo.common
        }
    };
    (common.warm_up, common.seconds, common.threads) = (0.1, 2., 1);
    load
}

fn assert_sound(name: &str, report: &Report) {
    assert_eq!((report.connections.failed, report.connections.disconnected), (0, 0), "{name}: {report}");
    assert!(report.connections.connected > 0 || name == "nobody", "{name}: {report}");
    if let Some(deliveries) = &report.deliveries {
        assert!(deliveries.delivered > 0, "{name}: {report}");
        assert_eq!(deliveries.delivered, deliveries.expected, "{name}: {report}");
        assert_eq!(deliveries.out_of_order, 0, "{name}: {report}");
    }
}
