//! A proxy in front of a TCP server that a test can cut and mend.

use std::sync::Arc;

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// How the proxy treats connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    Open,
    /// Connections break, new ones are closed at once.
    Cut,
    /// Connections stay, but nothing gets through.
    Silent,
}

/// Forwards a port of its own to `target`.
pub(crate) struct CutProxy {
    port: u16,
    mode: Arc<watch::Sender<Mode>>,
}

impl CutProxy {
    /// Starts forwarding to `host:port`.
    pub(crate) async fn start(target: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mode = Arc::new(watch::Sender::new(Mode::Open));
        let modes = Arc::clone(&mode);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(forward(client, target.clone(), modes.subscribe()));
            }
        });
        Self { port, mode }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Breaks every connection and takes no new ones.
    pub(crate) fn cut(&self) {
        self.mode.send_replace(Mode::Cut);
    }

    /// Lets nothing through any more, without saying so.
    pub(crate) fn silence(&self) {
        self.mode.send_replace(Mode::Silent);
    }

    /// Forwards again.
    pub(crate) fn mend(&self) {
        self.mode.send_replace(Mode::Open);
    }
}

async fn forward(mut client: TcpStream, target: String, mut mode: watch::Receiver<Mode>) {
    let mut server = None;
    loop {
        let now = *mode.borrow_and_update();
        match now {
            Mode::Cut => return,
            Mode::Silent => {
                let _ = mode.changed().await;
            }
            Mode::Open => {
                if server.is_none() {
                    let Ok(stream) = TcpStream::connect(&target).await else { return };
                    server = Some(stream);
                }
                let Some(server) = &mut server else { return };
                tokio::select! {
                    _ = copy_bidirectional(&mut client, server) => return,
                    _ = mode.changed() => {}
                }
            }
        }
    }
}
