//! The relay is stopped and killed while people come back from their providers: no page ever says more than is true.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use chaos::{Service, ports::free_port, seed::Seed};
use e2e::wait;
use rand::RngExt;
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
    sync::watch,
    task::JoinHandle,
};
use uuid::Uuid;

use crate::SOON;

const WAITERS: usize = 100;
const ROUNDS: usize = 10;

/// A relay with its socket in a folder of its own.
struct Relay {
    service: Service,
    folder: PathBuf,
}

/// A waiter and the callback for it.
struct Flow {
    code: String,
    /// The code that was received and acknowledged.
    taken: JoinHandle<Option<String>>,
    /// The page's status; none where the relay was gone.
    page: JoinHandle<Option<u16>>,
}

impl Relay {
    async fn start() -> Result<Self> {
        let name = Uuid::new_v4().simple().to_string();
        let folder = std::env::temp_dir().join(format!("chaos-{}", &name[..8]));
        std::fs::create_dir(&folder)?;
        let service = service(&folder, "oauth-relay", (free_port()?, free_port()?))?;
        let mut relay = Self { service, folder };
        relay.service.start().await?;
        Ok(relay)
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("relay.sock")
    }

    async fn holds(&self, count: usize) -> Result<()> {
        let wanted = format!("\noauth_relay_waiters {count}\n");
        wait::until(SOON * 10, "the slots are held", async || {
            Ok(self.service.admin.get("/metrics").send().await?.text.contains(&wanted))
        })
        .await?;
        Ok(())
    }

    /// Registers waiters, and calls back for all of them at once; `deliveries` counts what they took.
    async fn flows(&self, deliveries: &watch::Sender<usize>) -> Result<Vec<Flow>> {
        let mut waiting = Vec::new();
        for _ in 0..WAITERS {
            let state = Uuid::new_v4().simple().to_string();
            let waiter = register(&self.socket(), &state).await?;
            waiting.push((state, tokio::spawn(take(waiter, deliveries.clone()))));
        }
        let flows = waiting.into_iter().map(|(state, taken)| {
            let code = format!("of-{state}");
            let call = self.service.peer.get(&format!("/oauth/callback?code={code}&state={state}"));
            let page = tokio::spawn(async move { call.send().await.ok().map(|answer| answer.status) });
            Flow { code, taken, page }
        });
        Ok(flows.collect())
    }

    fn remove(self) -> Result<()> {
        Ok(std::fs::remove_dir_all(self.folder)?)
    }
}

fn service(folder: &Path, name: &str, ports: (u16, u16)) -> Result<Service> {
    let socket = folder.join("relay.sock");
    let socket = socket.to_str().context("a path in UTF-8")?;
    let settings = [("OAUTH_ENABLED", "true"), ("OAUTH_SOCKET_PATH", socket)];
    Service::new("oauth-relay", name, folder, ports, &settings)
}

/// Registers a waiter that acknowledges, and returns once its slot is held.
async fn register(socket: &Path, state: &str) -> Result<BufReader<UnixStream>> {
    let mut stream = BufReader::new(UnixStream::connect(socket).await?);
    let frame = format!("{{\"type\":\"REGISTER\",\"state\":\"{state}\",\"extended\":true}}\n");
    stream.write_all(frame.as_bytes()).await?;
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    assert!(line.contains("\"REGISTERED\""), "{line}");
    Ok(stream)
}

/// Waits for a delivery and acknowledges it; none where the relay said otherwise or was gone.
async fn take(mut stream: BufReader<UnixStream>, deliveries: watch::Sender<usize>) -> Option<String> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok()?;
    let frame: Value = serde_json::from_str(&line).ok()?;
    let code = frame["code"].as_str()?.to_owned();
    // Whether the relay still reads it or not, the code is here.
    let _ = stream.write_all(b"{\"type\":\"ACK\"}\n").await;
    deliveries.send_modify(|count| *count += 1);
    Some(code)
}

#[tokio::test]
#[ignore = "starts processes: make chaos"]
async fn sigterm_with_callbacks_in_flight_loses_no_code() {
    let seed = Seed::choose().unwrap();
    println!("CHAOS_SEED={}", seed.number);
    let mut random = seed.rng(0);
    let mut relay = Relay::start().await.unwrap();
    let mut complete = 0;
    for round in 0..ROUNDS {
        let deliveries = watch::Sender::new(0);
        let flows = relay.flows(&deliveries).await.unwrap();
        let enough = random.random_range(1..WAITERS);
        deliveries.subscribe().wait_for(|count| *count >= enough).await.unwrap();

        relay.service.stop().await.unwrap();

        assert!(!relay.socket().exists(), "the socket is removed");
        for Flow { code, taken, page } in flows {
            let (taken, page) = (taken.await.unwrap(), page.await.unwrap());
            match page {
                Some(200) => {
                    assert_eq!(taken.as_ref(), Some(&code), "round {round}: complete, and nobody has it");
                    complete += 1;
                }
                Some(404 | 503) | None => {
                    assert_eq!(taken, None, "round {round}: taken, and the page says {page:?}");
                }
                Some(status) => panic!("round {round}: {status}"),
            }
        }
        relay.service.start().await.unwrap();
    }
    println!("{complete} of {} codes were delivered before or during a stop", ROUNDS * WAITERS);
    relay.service.stop().await.unwrap();
    relay.remove().unwrap();
}

#[tokio::test]
#[ignore = "starts processes: make chaos"]
async fn kill_9_never_leaves_a_complete_page_for_a_code_that_nobody_took() {
    let seed = Seed::choose().unwrap();
    println!("CHAOS_SEED={}", seed.number);
    let mut random = seed.rng(0);
    let mut relay = Relay::start().await.unwrap();
    let (mut complete, mut cut) = (0, 0);
    for round in 0..ROUNDS {
        let deliveries = watch::Sender::new(0);
        let flows = relay.flows(&deliveries).await.unwrap();
        let enough = random.random_range(1..WAITERS);
        deliveries.subscribe().wait_for(|count| *count >= enough).await.unwrap();

        relay.service.kill().await.unwrap();

        for Flow { code, taken, page } in flows {
            let (taken, page) = (taken.await.unwrap(), page.await.unwrap());
            assert!(taken.is_none() || taken.as_ref() == Some(&code), "round {round}: somebody else's code");
            if page == Some(200) {
                assert_eq!(taken, Some(code), "round {round}: complete, and nobody has it");
                complete += 1;
            } else {
                cut += usize::from(page.is_none());
            }
        }
        assert!(relay.socket().exists(), "nobody could remove the socket");
        relay.service.start().await.unwrap();
    }
    println!("{complete} pages said complete, {cut} were cut off");
    relay.service.stop().await.unwrap();
    relay.remove().unwrap();
}

#[tokio::test]
#[ignore = "starts processes: make chaos"]
async fn clients_that_wait_register_anew_after_kill_9_and_get_their_codes() {
    const COMMANDS: usize = 20;
    let mut relay = Relay::start().await.unwrap();
    let states: Vec<String> = (0..COMMANDS).map(|_| Uuid::new_v4().simple().to_string()).collect();
    let mut commands = Vec::new();
    for state in &states {
        let (command, state) = (service(&relay.folder, "wait", (1, 1)).unwrap(), state.clone());
        commands.push(tokio::spawn(async move {
            command.run(&["wait", "--state", &state, "--timeout", "60"]).await
        }));
    }
    relay.holds(COMMANDS).await.unwrap();

    // Once by surprise, once in order.
    relay.service.kill().await.unwrap();
    relay.service.start().await.unwrap();
    relay.holds(COMMANDS).await.unwrap();
    relay.service.stop().await.unwrap();
    relay.service.start().await.unwrap();
    relay.holds(COMMANDS).await.unwrap();

    for (state, command) in states.iter().zip(commands) {
        let path = format!("/oauth/callback?code=of-{state}&state={state}");
        relay.service.peer.get(&path).send().await.unwrap().expect(200).unwrap();
        let printed: Value = serde_json::from_str(&command.await.unwrap().unwrap()).unwrap();
        assert_eq!(printed["code"], format!("of-{state}"));
    }
    relay.service.stop().await.unwrap();
    relay.remove().unwrap();
}
