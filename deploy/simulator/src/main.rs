//! The simulator on fixed ports, for the local stack.

use simulator::{Settings, Simulator};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(std::io::stderr)
        .with_max_level(tracing::Level::INFO)
        .init();
    let simulator = Simulator::start(Settings::from_env()?)?;
    tracing::info!(
        github = simulator.github_url(),
        atlassian = simulator.atlassian_url(),
        slack = simulator.slack_url(),
        control = simulator.control_url(),
        "the providers answer"
    );
    simulator.run_until_stopped().await
}
