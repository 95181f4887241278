//! Work in the background. Each job may be stopped at any time and started again.

pub mod follow_changes;
pub mod save_heads;
pub mod watch_database;
