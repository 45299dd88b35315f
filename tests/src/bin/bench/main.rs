//! Where we stand beside what limits us, measured in one run on one machine: `make bench`. Ratios hold from machine to
//! machine, absolute figures do not. Nothing here is a test: no figure makes it fail. Each part ends after a fixed
//! amount of work. `bench start reads` runs these parts alone: start, reads, pages, jobs, images, idle.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_precision_loss,
    reason = "a bench fails by panicking and tells its figures on stdout"
)]

mod fleet;
mod idle;
mod images;
mod jobs;
mod pages;
mod reads;
mod report;
mod start;

use report::Report;

#[tokio::main]
async fn main() {
    let asked: Vec<String> = std::env::args().skip(1).collect();
    let wants = |part: &str| asked.is_empty() || asked.iter().any(|a| a == part);
    let mut report = Report::new();
    if wants("start") {
        start::measure(&mut report).await;
    }
    if wants("reads") {
        reads::measure(&mut report).await;
    }
    if wants("pages") {
        pages::measure(&mut report).await;
    }
    if wants("jobs") {
        jobs::measure(&mut report).await;
    }
    if wants("images") {
        images::measure(&mut report).await;
    }
    if wants("idle") {
        idle::measure(&mut report).await;
    }
    println!("{report}");
}
