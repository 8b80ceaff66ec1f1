//! The bench: `bench [--scenario NAME] [--rounds N] [--against node-redis,socketioxide-redis,floor] [--json FILE]`.

use std::io::{self, Write as _};

use clap::Parser;
use cluster_tests::bench::scenarios::SCENARIOS;
use cluster_tests::bench::{self, Options};

/// Measures our nodes and their peers, one after the other under the same load, and prints tables in Markdown.
#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    options: Options,
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let Cli { options } = Cli::parse();
    if options.list {
        return SCENARIOS.iter().try_for_each(|scenario| {
            writeln!(io::stdout(), "{:20} {}\n{:20}   {}", scenario.name, scenario.title, "", scenario.line)
        });
    }
    // What happens is told beside the tables.
    let say = |line: &str| writeln!(io::stderr(), "{line}").unwrap_or_default();
    let runs = bench::run(&options, say).await?;
    write!(io::stdout(), "{}", bench::tables(&runs))
}
