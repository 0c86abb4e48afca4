//! The admin endpoint of a running pipeline, read as strictly as Prometheus reads it.

use std::collections::{HashMap, HashSet};

use tempfile::TempDir;

use crate::process::{
    Process, free_addresses, free_hosts, generate, get, wait_until, wait_until_ready,
};

/// A sample: its name, its labels, its value.
type Sample = (String, Vec<(String, String)>, f64);

/// Reads a page in the text format; every family has its HELP and TYPE before its samples, in one
/// piece, and no sample comes twice.
fn parse(page: &str) -> (HashMap<String, String>, Vec<Sample>) {
    let (mut types, mut samples) = (HashMap::new(), Vec::<Sample>::new());
    let (mut family, mut helped) = (String::new(), HashSet::new());
    assert!(page.ends_with('\n'));
    for line in page.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, text) = help.split_once(' ').expect(line);
            assert!(!text.is_empty() && helped.insert(name.to_owned()), "{line}");
            family = name.to_owned();
        } else if let Some(of) = line.strip_prefix("# TYPE ") {
            let (name, kind) = of.split_once(' ').expect(line);
            assert!(
                name == family && ["counter", "gauge", "summary"].contains(&kind),
                "{line}"
            );
            assert!(
                types.insert(family.clone(), kind.to_owned()).is_none(),
                "{line}"
            );
        } else {
            let sample = parse_sample(line);
            let (name, labels, value) = &sample;
            let kind = &types[&family];
            let of_summary = ["_sum", "_count"].map(|suffix| format!("{family}{suffix}"));
            let is_own = *name == family || (kind == "summary" && of_summary.contains(name));
            assert!(is_own && name.starts_with("thalweg_"), "{line}");
            assert_eq!(kind == "counter", family.ends_with("_total"), "{line}");
            assert!(kind == "summary" || value.is_finite(), "{line}");
            assert!(
                !samples.iter().any(|(n, l, _)| n == name && l == labels),
                "{line}"
            );
            samples.push(sample);
        }
    }
    (types, samples)
}

fn parse_sample(line: &str) -> Sample {
    let end = line.find(['{', ' ']).expect(line);
    let (name, mut rest) = line.split_at(end);
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    assert!(
        name.chars().all(is_name) && !name.starts_with(|c: char| c.is_ascii_digit()),
        "{line}"
    );
    let mut labels = Vec::new();
    while let Some(more) = rest.strip_prefix(['{', ',']) {
        let (label, quoted) = more.split_once("=\"").expect(line);
        assert!(label.chars().all(is_name), "{line}");
        let (mut text, mut chars) = (String::new(), quoted.char_indices());
        let end = loop {
            match chars.next().expect(line) {
                (_, '\\') => text.push(match chars.next().expect(line).1 {
                    'n' => '\n',
                    c @ ('\\' | '"') => c,
                    _ => panic!("{line}"),
                }),
                (at, '"') => break at,
                (_, c) => text.push(c),
            }
        };
        labels.push((label.to_owned(), text));
        rest = &quoted[end + 1..];
        rest = rest.strip_prefix('}').unwrap_or(rest);
    }
    let value = rest.strip_prefix(' ').expect(line).parse().expect(line);
    (name.to_owned(), labels, value)
}

#[test]
fn a_running_cluster_tells_its_figures() {
    let folder = TempDir::new().unwrap();
    let log = generate(folder.path(), 10_000);
    let (hosts, admins) = (free_hosts(2), free_addresses(2));
    let texts: Vec<_> = admins.iter().map(ToString::to_string).collect();
    let first = Process::fraud(folder.path(), &log, &hosts, 0, &["--admin", &texts[0]]);
    wait_until("the first is alive", || {
        get(admins[0], "/livez", "").is_some_and(|(status, _)| status == 200)
    });
    let ready = get(admins[0], "/readyz", "").expect("it answers");
    assert_eq!(ready, (503, "starting\n".to_owned()));
    let second = Process::fraud(folder.path(), &log, &hosts, 1, &["--admin", &texts[1]]);
    wait_until_ready(&first, admins[0]);
    wait_until_ready(&second, admins[1]);

    let find = |samples: &[Sample], name: &str, label: &str| {
        let has = |labels: &[(String, String)]| {
            label.is_empty() || labels.iter().any(|(_, text)| text == label)
        };
        let found = samples.iter().find(|(n, l, _)| n == name && has(l));
        found.map(|(_, _, value)| *value)
    };
    wait_until("all payments are read", || {
        let read = admins.iter().map(|admin| {
            let (_, samples) = parse(&get(*admin, "/metrics", "").expect("it answers").1);
            find(&samples, "thalweg_step_records_in_total", "payments").unwrap_or(0.0)
        });
        read.sum::<f64>() == 10_000.0
    });
    let (status, page) = get(admins[0], "/metrics", "").expect("it answers");
    assert_eq!(status, 200);
    let (types, samples) = parse(&page);
    assert_eq!(types["thalweg_step_latency_seconds"], "summary");
    assert_eq!(find(&samples, "thalweg_ready", ""), Some(1.0));
    assert!(find(&samples, "thalweg_cluster_peer_silence_seconds", "1").is_some_and(|s| s < 4.0));
    assert!(find(&samples, "thalweg_records_read_total", "").is_some_and(|count| count > 0.0));
    assert!(find(&samples, "thalweg_event_time_seconds", "").is_some());
    // Labels are those of the graph, of fates and of processes: no key of a record is among them.
    let labels: HashSet<_> = samples
        .iter()
        .flat_map(|(_, labels, _)| labels.iter().map(|(name, _)| name.as_str()))
        .collect();
    let known = [
        "pipeline", "version", "process", "fate", "step", "kind", "quantile",
    ];
    assert!(
        labels.iter().all(|label| known.contains(label)),
        "{labels:?}"
    );
    first.signal("TERM");
    first.ends_with(0, "");
    second.ends_with(0, "");
}
