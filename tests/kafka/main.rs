//! Kafka as a source and as a sink, against a real broker that `tests/brokers` starts.
//!
//! Where no broker can be had, each test is skipped by name; with `CI=true` or
//! `THALWEG_REQUIRE_BROKERS=1` that is a failure.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod broker;
mod compression;
mod conformance;
mod epochs;
mod faults;
mod flows;
mod growth;
mod interop;
#[allow(dead_code, reason = "other tests use the rest")]
#[path = "../brokers/job.rs"]
mod job;
mod mocked;
mod refusals;
mod rejections;
#[allow(dead_code, reason = "other tests use the rest")]
#[path = "../brokers/running.rs"]
mod running;
mod secrets;
mod starts;
