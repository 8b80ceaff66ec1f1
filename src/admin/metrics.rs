//! Everything that a node measures, in the text formats of OpenMetrics and Prometheus.
//!
//! The figures are read when they are asked for: measuring costs nothing between two scrapes. Labels have values from small, fixed
//! sets, the names of members, or of namespaces as the application described them.

mod clients;
mod cluster;
mod process;
mod runtime;
mod writer;

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::registry::Registry;

use self::writer::Metrics;
use crate::engine::Application;
use crate::node::Node;

/// A text format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    OpenMetrics,
    /// Version 0.0.4, which is older and has no names without `_total`.
    Prometheus,
}

impl Format {
    pub(super) const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// All metrics of a node.
pub(super) fn encode<A: Application>(node: &Node<A>, format: Format) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(NodeMetrics(node.clone())));
    let mut metrics = String::new();
    text::encode(&mut metrics, &registry)?;
    Ok(match format {
        Format::OpenMetrics => metrics,
        Format::Prometheus => as_prometheus(&metrics),
    })
}

/// In the older format the metadata of a counter have the name of its samples.
fn as_prometheus(metrics: &str) -> String {
    let lines: Vec<&str> = metrics.lines().collect();
    let counters: Vec<&str> =
        lines.iter().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter")).collect();
    let mut older = String::with_capacity(metrics.len());
    for line in lines {
        let metadata = line.strip_prefix("# HELP ").or_else(|| line.strip_prefix("# TYPE "));
        match metadata.and_then(|rest| rest.split_once(' ')) {
            _ if line == "# EOF" => {}
            Some((name, rest)) if counters.contains(&name) => {
                let (kind, _) = line.split_at("# HELP ".len());
                older += &format!("{kind}{name}_total {rest}\n");
            }
            _ => {
                older += line;
                older.push('\n');
            }
        }
    }
    older
}

struct NodeMetrics<A: Application>(Node<A>);

impl<A: Application> fmt::Debug for NodeMetrics<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<A: Application> Collector for NodeMetrics<A> {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (node, mut metrics) = (&self.0, Metrics::new(encoder));
        for count in node.counts() {
            metrics.counters(count.name, count.help, [([], count.value)])?;
        }
        clients::encode(node, &mut metrics)?;
        cluster::encode(node, &mut metrics)?;
        runtime::encode(&mut metrics)?;
        process::encode(&mut metrics)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_format_names_counters_with_their_suffix_and_has_no_end() {
        let metrics = "# HELP a_b Sessions.\n# TYPE a_b counter\na_b_total 1\n# HELP c Now.\n# TYPE c gauge\nc 2\n# EOF\n";
        assert_eq!(
            as_prometheus(metrics),
            "# HELP a_b_total Sessions.\n# TYPE a_b_total counter\na_b_total 1\n# HELP c Now.\n# TYPE c gauge\nc 2\n"
        );
    }
}
