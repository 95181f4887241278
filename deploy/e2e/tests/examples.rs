//! The examples of oauth-relay's client, run as they are against the simulated GitHub (`make e2e-local`).
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::{path::PathBuf, process::Stdio, time::Duration};

use e2e::{Stack, browser::Browser, wait};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::{Child, ChildStdout, Command},
};

const SOON: Duration = Duration::from_secs(5);

/// An example that runs.
struct Example {
    process: Child,
    output: BufReader<ChildStdout>,
}

impl Example {
    /// Starts it; its binary lies where cargo puts examples, beside the folder of this test's own.
    fn start(name: &str, arguments: &[&str], settings: &[(&str, &str)]) -> Self {
        let own = std::env::current_exe().unwrap();
        let folder: PathBuf = own.ancestors().nth(2).unwrap().join("examples");
        let mut process = Command::new(folder.join(name))
            .args(arguments)
            .envs(settings.iter().copied())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the example is not built: cargo build -p oauth-relay --examples");
        let output = BufReader::new(process.stdout.take().unwrap());
        Self { process, output }
    }

    /// The address that it asks somebody to open.
    async fn address(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).await.unwrap();
        line.split_once("Open ").unwrap().1.trim().to_owned()
    }

    /// What else it says until it ends well.
    async fn rest(mut self) -> String {
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).await.unwrap();
        assert!(self.process.wait().await.unwrap().success(), "{rest}");
        rest
    }
}

/// Waits until this many more wait at the relay, then answers the consent page of each address.
async fn decide(stack: &Stack, before: f64, addresses: &[(String, &str)]) {
    let count = before + f64::from(u32::try_from(addresses.len()).unwrap());
    wait::until(SOON, "the programs wait", async || Ok(stack.relay.waiters().await? >= count)).await.unwrap();
    for (address, decision) in addresses {
        let mut browser = Browser::new().unwrap();
        browser.open(address).await.unwrap();
        let page = browser.submit(&[("user", "alice"), ("decision", decision)]).await.unwrap();
        let heading = if *decision == "approve" { "Authorization Complete" } else { "Authorization Failed" };
        assert_eq!((page.status, page.heading()), (200, heading));
    }
}

#[tokio::test]
#[ignore = "needs the local stack: make e2e-local"]
async fn the_examples_get_their_codes_from_the_simulated_provider() {
    let stack = Stack::from_env().unwrap();
    let app = stack.settings.github_oauth_app.clone().unwrap();
    let github = stack.settings.sim_github_url.as_str();
    let authorize = format!("{github}/login/oauth/authorize");
    let callback = stack.relay.callback_url();
    let known = [app.client_id.as_str(), callback.as_str()];

    let before = stack.relay.waiters().await.unwrap();
    let mut google = Example::start("google", &known, &[("GOOGLE_AUTHORIZE_URL", &authorize)]);
    let address = google.address().await;
    decide(&stack, before, &[(address, "approve")]).await;
    let said = google.rest().await;
    assert!(said.contains("exchange it with the code verifier"), "{said}");

    let settings = [("GITHUB_BROWSER_URL", github), ("GITHUB_CLIENT_SECRET", app.client_secret.as_str())];
    let mut program = Example::start("github", &known, &settings);
    let address = program.address().await;
    decide(&stack, before, &[(address, "approve")]).await;
    let said = program.rest().await;
    assert!(said.contains("A token of"), "{said}");

    let people = [authorize.as_str(), &app.client_id, &callback, "anna", "ben"];
    let mut batch = Example::start("batch", &people, &[]);
    let (anna, ben) = (batch.address().await, batch.address().await);
    decide(&stack, before, &[(anna, "approve"), (ben, "cancel")]).await;
    let said = batch.rest().await;
    assert!(
        said.contains("[anna] Authorized") && said.contains("[ben] Not authorized: access_denied"),
        "{said}"
    );
}
