//! The admin port of a server that runs: what it answers, to whom, and what strangers can do to it and to the rest.
#![allow(clippy::disallowed_methods)]

mod attacks;
mod boards;
mod document;
mod figures;
mod http;
mod orders;
mod places;
mod reload;
mod scrape;
mod tls;
mod tunnel;

pub use http::Site;
pub use scrape::scrape_until;
