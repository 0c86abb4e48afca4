//! The form of a log entry's file.

/// Numbers as 16 hexadecimal digits, for what people compare rather than count.
pub(super) mod hex {
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(crate) fn serialize<S: Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{number:016x}"))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        let text = String::deserialize(deserializer)?;
        let number = u64::from_str_radix(&text, 16).ok();
        number
            .filter(|number| format!("{number:016x}") == text)
            .ok_or_else(|| de::Error::custom(format_args!("`{text}` are no 16 hexadecimal digits")))
    }
}
