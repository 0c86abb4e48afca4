//! What a job does when what it stands on fails; and whether the ledger of `chaos` can see anything.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod clock;
mod golden;
mod job;
#[allow(dead_code, reason = "other tests use the rest")]
#[path = "../chaos/ledger.rs"]
mod ledger;
mod ledger_tests;
#[allow(dead_code, reason = "other tests use the rest")]
#[path = "../cluster/process.rs"]
mod process;
#[path = "../chaos/proxy.rs"]
mod proxy;
mod proxy_tests;
#[allow(dead_code, reason = "chaos uses the rest")]
#[path = "../chaos/records.rs"]
mod records;
mod store;
