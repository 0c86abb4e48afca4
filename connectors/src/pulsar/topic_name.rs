//! The names of topics, which can be written shorter than they are.

const SCHEME: &str = "persistent://";
const NAMESPACE: &str = "public/default";
const PARTITION: &str = "-partition-";

/// The whole name of a topic: one without a namespace is in `public/default`.
pub(super) fn full(topic: &str) -> String {
    if topic.contains("://") {
        topic.to_owned()
    } else if topic.split('/').count() == 3 {
        format!("{SCHEME}{topic}")
    } else {
        format!("{SCHEME}{NAMESPACE}/{topic}")
    }
}

/// The name of a topic without what goes without saying.
pub(super) fn short(full: &str) -> &str {
    let topic = full.strip_prefix(SCHEME).unwrap_or(full);
    let local = topic.strip_prefix(NAMESPACE);
    local
        .and_then(|local| local.strip_prefix('/'))
        .unwrap_or(topic)
}

/// The namespace of a topic or a pattern, and its name in it.
pub(super) fn split(topic: &str) -> (String, String) {
    let full = full(topic);
    let path = full.split_once("://").map_or(&*full, |(_, path)| path);
    let mut parts = path.splitn(3, '/');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(tenant), Some(namespace), Some(local)) => {
            (format!("{tenant}/{namespace}"), local.to_owned())
        }
        _ => (NAMESPACE.to_owned(), path.to_owned()),
    }
}

/// The name of one partition of a topic.
pub(super) fn partition(topic: &str, number: u32) -> String {
    format!("{topic}{PARTITION}{number}")
}

/// The topic that a name is a partition of, or the name itself.
pub(super) fn whole(topic: &str) -> &str {
    match topic.rsplit_once(PARTITION) {
        Some((whole, number)) if number.parse::<u32>().is_ok() => whole,
        _ => topic,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_written_as_short_as_one_likes() {
        for name in ["a", "public/default/a", "persistent://public/default/a"] {
            assert_eq!(full(name), "persistent://public/default/a");
            assert_eq!(short(&full(name)), "a");
            assert_eq!(split(name), ("public/default".to_owned(), "a".to_owned()));
        }
        assert_eq!(short(&full("t/n/a")), "t/n/a");
        assert_eq!(split("t/n/a.*"), ("t/n".to_owned(), "a.*".to_owned()));
        assert_eq!(whole(&partition("a", 7)), "a");
        assert_eq!(whole("a-partition-x"), "a-partition-x");
    }
}
