//! helm, on the charts of this repository.

use std::process::Command;

use crate::cluster::{namespace, output};

/// Runs helm in the namespace; its output, or what it complains about.
pub(crate) fn try_helm(arguments: &[&str]) -> Result<String, String> {
    let helm = std::env::var("HELM").unwrap();
    output(Command::new(helm).args(arguments).arg("--namespace").arg(namespace()))
}

/// Runs helm, which has to succeed.
pub(crate) fn helm(arguments: &[&str]) -> String {
    try_helm(arguments).unwrap_or_else(|error| panic!("helm {}: {error}", arguments.join(" ")))
}

/// The folder of a chart.
pub(crate) fn chart(name: &str) -> String {
    format!("{}/{name}", std::env::var("CHARTS").unwrap())
}

/// Upgrades a release with the values that it was installed with, and waits until it is ready.
pub(crate) fn upgrade(name: &str) {
    helm(&["upgrade", name, &chart(name), "--reuse-values", "--wait", "--timeout", "3m"]);
}

/// The releases, data first.
pub(crate) fn services() -> Vec<String> {
    let names = helm(&["list", "--short"]);
    names.lines().filter(|name| *name != "data").map(str::to_owned).collect()
}
