//! Metrics in the JSON form that clients of `sys/metrics` read, made from Prometheus' text.

use super::about::time;
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, time::SystemTime};

/// What several lines of a summary say about one metric.
#[derive(Default)]
struct Summary {
    labels: Map<String, Value>,
    sum: f64,
    count: f64,
    quantiles: Vec<(f64, f64)>,
}

/// Gauges, counters and samples. What cannot be read is left out.
pub(super) fn json(text: &str, now: SystemTime) -> String {
    let mut kinds: BTreeMap<&str, &str> = BTreeMap::new();
    let (mut gauges, mut counters) = (Vec::new(), Vec::new());
    let mut summaries: BTreeMap<(String, String), Summary> = BTreeMap::new();
    for line in text.lines() {
        if let Some(declared) = line.strip_prefix("# TYPE ") {
            kinds.extend(declared.split_once(' '));
            continue;
        }
        let Some((name, mut labels, value)) = read(line) else { continue };
        let base = name.strip_suffix("_sum").or_else(|| name.strip_suffix("_count"));
        let base = base.filter(|base| kinds.contains_key(base)).unwrap_or(name);
        match kinds.get(base).copied() {
            Some("counter") => counters.push(json!({
                "Name": name, "Count": value, "Sum": value, "Rate": 0,
                "Min": value, "Max": value, "Mean": value, "Stddev": 0, "Labels": labels,
            })),
            Some("summary" | "histogram") => {
                let quantile = labels.remove("quantile").or_else(|| labels.remove("le"));
                let key = (base.to_owned(), Value::Object(labels.clone()).to_string());
                let summary = summaries.entry(key).or_default();
                summary.labels = labels;
                let quantile = quantile.and_then(|text| text.as_str()?.parse().ok());
                match quantile {
                    Some(quantile) => summary.quantiles.push((quantile, value)),
                    None if name.ends_with("_sum") => summary.sum = value,
                    None if name.ends_with("_count") => summary.count = value,
                    None => {}
                }
            }
            _ => gauges.push(json!({ "Name": name, "Value": value, "Labels": labels })),
        }
    }
    let samples: Vec<Value> =
        summaries.into_iter().map(|((name, _), summary)| summary.shown(&name)).collect();
    json!({
        "Timestamp": time(now),
        "Gauges": gauges,
        "Points": [],
        "Counters": counters,
        "Samples": samples,
    })
    .to_string()
}

impl Summary {
    fn shown(&self, name: &str) -> Value {
        let at = |wanted: f64| {
            let near = self.quantiles.iter().find(|(at, _)| (at - wanted).abs() < f64::EPSILON);
            near.map_or(0.0, |(_, value)| *value)
        };
        let mean = if self.count > 0.0 { self.sum / self.count } else { 0.0 };
        json!({
            "Name": name, "Count": self.count, "Sum": self.sum, "Rate": 0,
            "Min": at(0.0), "Max": at(1.0), "Mean": mean, "Stddev": 0, "Labels": self.labels,
        })
    }
}

/// A line such as `name{label="value"} 1.5`.
fn read(line: &str) -> Option<(&str, Map<String, Value>, f64)> {
    if line.starts_with('#') {
        return None;
    }
    let (series, value) = line.trim().rsplit_once(' ')?;
    let value: f64 = value.parse().ok().filter(|value: &f64| value.is_finite())?;
    let Some((name, rest)) = series.split_once('{') else {
        return Some((series, Map::new(), value));
    };
    let mut labels = Map::new();
    let mut rest = rest.strip_suffix('}')?;
    while let Some((label, after)) = rest.split_once("=\"") {
        let (text, after) = quoted(after)?;
        labels.insert(label.trim_start_matches(',').to_owned(), text.into());
        rest = after;
    }
    Some((name, labels, value))
}

/// A text up to its closing quote, and what follows.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut shown = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((shown, text.get(at + 1..)?)),
            '\\' => match letters.next()?.1 {
                'n' => shown.push('\n'),
                other => shown.push(other),
            },
            letter => shown.push(letter),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_metric_is_found_in_its_section() {
        let text = "# TYPE up gauge\nup{node=\"a,\\\"b\\\"\"} 1\n# TYPE asked counter\nasked 7\n\
                    # TYPE took summary\ntook{quantile=\"0\"} 0.5\ntook{quantile=\"1\"} 4\n\
                    took_sum 6\ntook_count 3\nbroken{ 1\nnan NaN\n";
        let shown: Value = serde_json::from_str(&json(text, SystemTime::UNIX_EPOCH)).unwrap();
        assert_eq!(shown["Gauges"][0]["Name"], "up");
        assert_eq!(shown["Gauges"][0]["Labels"]["node"], "a,\"b\"");
        assert_eq!(shown["Counters"][0]["Count"], 7.0);
        let took = &shown["Samples"][0];
        assert_eq!((&took["Min"], &took["Max"]), (&0.5.into(), &4.0.into()));
        assert_eq!((&took["Count"], &took["Mean"]), (&3.0.into(), &2.0.into()));
        assert_eq!(shown["Gauges"].as_array().unwrap().len(), 1);
    }
}
