//! `penstock demo`: the whole product on one screen.

pub mod change;
pub mod follow;
pub mod latency;
pub mod screen;
pub mod settings;
pub mod shopper;
pub mod watch;

/// First part of every topic's name.
const TOPIC_PREFIX: &str = "bikes";
/// Ours: made at the start and dropped at the end.
const SLOT: &str = "penstock_demo";
/// Ours: made at the start and dropped at the end.
const PUBLICATION: &str = "penstock_demo";
/// In schema `store`, in the order in which rows refer to each other.
const TABLES: [&str; 4] = ["customers", "products", "orders", "order_items"];
