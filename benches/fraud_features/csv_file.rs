//! The payments as a CSV file, for the same job in other engines (`benches/peers`).

use super::payments;

/// Carries out `--write FILE COUNT` and says whether it was asked for: the payments, so many over
/// the whole span of event time, without a header.
pub(crate) fn write_if_asked(seed: u64) -> bool {
    let mut arguments = std::env::args().skip_while(|argument| argument != "--write");
    if arguments.next().is_none() {
        return false;
    }
    let path = arguments.next().expect("--write FILE COUNT: no FILE");
    let count = arguments.next().expect("--write FILE COUNT: no COUNT");
    let count = count.parse().expect("COUNT is a number of payments");
    let mut file = csv::WriterBuilder::new()
        .has_headers(false)
        .from_path(path)
        .unwrap();
    for payment in payments::generate(count, seed) {
        file.serialize(payment).unwrap();
    }
    file.flush().unwrap();
    true
}
