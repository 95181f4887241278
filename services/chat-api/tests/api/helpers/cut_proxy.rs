//! A proxy in front of a TCP server that a test can cut and mend.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

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
    /// Connections of before this number stay silent for ever, as when the machine behind them is gone; new ones get through.
    Lost(u64),
}

/// Forwards a port of its own to `target`.
pub(crate) struct CutProxy {
    port: u16,
    mode: Arc<watch::Sender<Mode>>,
    accepted: Arc<AtomicU64>,
}

impl CutProxy {
    /// Starts forwarding to `host:port`.
    pub(crate) async fn start(target: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mode = Arc::new(watch::Sender::new(Mode::Open));
        let modes = Arc::clone(&mode);
        let accepted = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&accepted);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let number = counter.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(forward(client, number, target.clone(), modes.subscribe()));
            }
        });
        Self { port, mode, accepted }
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

    /// Loses every connection without saying so; new ones are forwarded.
    pub(crate) fn lose(&self) {
        self.mode.send_replace(Mode::Lost(self.accepted.load(Ordering::Relaxed)));
    }

    /// Forwards again.
    pub(crate) fn mend(&self) {
        self.mode.send_replace(Mode::Open);
    }
}

async fn forward(mut client: TcpStream, number: u64, target: String, mut mode: watch::Receiver<Mode>) {
    let _ = mode.wait_for(|mode| *mode != Mode::Silent).await;
    if *mode.borrow() == Mode::Cut {
        return;
    }
    let Ok(mut server) = TcpStream::connect(&target).await else { return };
    // Kept over a silence: what was read is written after it.
    let mut copying = pin!(copy_bidirectional(&mut client, &mut server));
    loop {
        let now = *mode.borrow_and_update();
        match now {
            Mode::Cut => return,
            Mode::Lost(before) if number < before => {
                // Whatever comes later does not bring it back.
                let _ = mode.wait_for(|mode| *mode == Mode::Cut).await;
                return;
            }
            Mode::Silent => {
                let _ = mode.changed().await;
            }
            Mode::Open | Mode::Lost(_) => tokio::select! {
                _ = &mut copying => return,
                _ = mode.changed() => {}
            },
        }
    }
}
