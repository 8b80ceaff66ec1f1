//! Metrics as values with labels.

use std::fmt;

use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeLabelSet, NoLabelSet,
};
use prometheus_client::metrics::MetricType;

/// Writes one metric after another.
pub(super) struct Metrics<'a>(DescriptorEncoder<'a>);

/// Name and help of a metric, and its value for one of many.
pub(super) type Figure<T> = (&'static str, &'static str, fn(&T) -> u64);

/// Names and values; without any, the metric has one series.
type Labels<'a, const N: usize> = [(&'a str, &'a str); N];

impl<'a> Metrics<'a> {
    pub(super) const fn new(encoder: DescriptorEncoder<'a>) -> Self {
        Self(encoder)
    }

    /// Figures that go up and down.
    pub(super) fn gauges<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Labels<'l, N>, impl EncodeGaugeValue)>,
    ) -> fmt::Result
    where
        Labels<'l, N>: EncodeLabelSet,
    {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in values {
            match N {
                0 => metric.encode_gauge(&value)?,
                _ => metric.encode_family(&labels)?.encode_gauge(&value)?,
            }
        }
        Ok(())
    }

    /// How often something took how long: the sum in seconds, the number, and the numbers in each bucket, which end at the
    /// bounds.
    pub(super) fn histograms<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Labels<'l, N>, f64, u64, &'l [(f64, u64)])>,
    ) -> fmt::Result
    where
        Labels<'l, N>: EncodeLabelSet,
    {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for (labels, sum, count, buckets) in values {
            metric.encode_family(&labels)?.encode_histogram::<NoLabelSet>(sum, count, buckets, None)?;
        }
        Ok(())
    }

    /// Figures that only grow. The name ends with `_total`, which the encoder adds.
    pub(super) fn counters<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Labels<'l, N>, impl EncodeCounterValue)>,
    ) -> fmt::Result
    where
        Labels<'l, N>: EncodeLabelSet,
    {
        let name = name.strip_suffix("_total").unwrap_or(name);
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in values {
            match N {
                0 => metric.encode_counter::<NoLabelSet, _, u64>(&value, None)?,
                _ => metric.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None)?,
            }
        }
        Ok(())
    }
}
