//! `demo`: tells the story of the platform on the running stack, and fails where it does not hold.

use std::{
    io::{IsTerminal, Write, stderr, stdout},
    process::ExitCode,
};

use anyhow::Result;
use e2e::{Stack, narrator::Narrator, story};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to do if even this cannot be written.
            let _ = writeln!(stderr(), "\nThe story broke off: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn run() -> Result<()> {
    let stack = Stack::from_env()?;
    let coloured = stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let mut told =
        Narrator::new(stdout(), coloured, "Alice sends a message: the story of the platform, live")?;
    told.note(format!("auth-api {}  chat-api {}", stack.auth.peer.base(), stack.chat.peer.base()))?;
    story::tell(&stack, &mut told).await?;
    told.finish()
}
