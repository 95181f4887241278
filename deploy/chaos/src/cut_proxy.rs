//! A TCP proxy on loopback that can be cut: refusing connections as a stopped server does, or swallowing everything as a
//! broken network does.

use std::{
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::Result;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

use crate::databases::Address;

/// What the proxy does with connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    /// Everything passes.
    Open,
    /// Open connections are closed, new ones too, at once.
    Refused,
    /// Connections stay open and new ones are accepted, but what is sent is read and never answered.
    Swallowed,
}

/// The proxy; it ends when this is dropped.
pub struct CutProxy {
    port: u16,
    passage: watch::Sender<Passage>,
    cuts: Arc<AtomicU64>,
    accepting: JoinHandle<()>,
}

impl CutProxy {
    /// Listens on a free port and passes everything on to `target`.
    pub async fn to(target: Address) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let (passage, watched) = watch::channel(Passage::Open);
        let cuts = Arc::new(AtomicU64::new(0));
        let accepting = tokio::spawn(accept(listener, target, watched, Arc::clone(&cuts)));
        Ok(Self { port, passage, cuts, accepting })
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Changes what happens to connections from now on.
    pub fn set(&self, passage: Passage) {
        self.passage.send_replace(passage);
    }

    /// How many connections were hit by a cut so far: a fault that hit nothing shows nothing.
    pub fn cuts(&self) -> u64 {
        self.cuts.load(Ordering::Relaxed)
    }
}

impl Drop for CutProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(
    listener: TcpListener,
    target: Address,
    passage: watch::Receiver<Passage>,
    cuts: Arc<AtomicU64>,
) {
    while let Ok((inbound, _)) = listener.accept().await {
        let (target, passage, cuts) = (target.clone(), passage.clone(), Arc::clone(&cuts));
        tokio::spawn(async move {
            if serve(inbound, &target, passage).await {
                cuts.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
}

/// Serves one connection; true where a cut ended it.
async fn serve(mut inbound: TcpStream, target: &Address, mut passage: watch::Receiver<Passage>) -> bool {
    let now = *passage.borrow_and_update();
    match now {
        Passage::Refused => true,
        Passage::Swallowed => {
            tokio::select! {
                () = swallow(&mut inbound) => {}
                _ = passage.changed() => {}
            }
            true
        }
        Passage::Open => {
            let Ok(mut outbound) = TcpStream::connect((target.host.as_str(), target.port)).await else {
                return false;
            };
            let _ = (inbound.set_nodelay(true), outbound.set_nodelay(true));
            tokio::select! {
                _ = copy_bidirectional(&mut inbound, &mut outbound) => false,
                _ = passage.changed() => {
                    // Swallowed connections stay open, so that nobody is told.
                    if *passage.borrow_and_update() == Passage::Swallowed {
                        drop(outbound);
                        tokio::select! {
                            () = swallow(&mut inbound) => {}
                            _ = passage.changed() => {}
                        }
                    }
                    let _ = inbound.shutdown().await;
                    true
                }
            }
        }
    }
}

/// Reads until the other side gives up.
async fn swallow(stream: &mut TcpStream) {
    let mut buffer = [0; 4096];
    while matches!(stream.read(&mut buffer).await, Ok(1..)) {}
}
