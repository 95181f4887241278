//! A wire to the database that a test can cut and mend.

use std::{net::Ipv4Addr, thread};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
};

use super::database;

/// What happens to the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    Through,
    Cut,
}

/// A TCP proxy in front of PostgreSQL. It lives as long as the process, on a thread of its own.
pub struct CutProxy {
    pub port: u16,
    line: watch::Sender<Line>,
}

impl CutProxy {
    /// A proxy that lets everything through.
    pub fn start() -> Self {
        let (line, watch) = watch::channel(Line::Through);
        let (sender, port) = std::sync::mpsc::channel();
        thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
                sender.send(listener.local_addr().expect("an address").port()).expect("a receiver");
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(carry(stream, watch.clone()));
                }
            });
        });
        Self { port: port.recv().expect("a port"), line }
    }

    /// Ends what is connected and refuses what comes.
    pub fn cut(&self) {
        self.line.send_replace(Line::Cut);
    }

    /// Lets everything through again.
    pub fn mend(&self) {
        self.line.send_replace(Line::Through);
    }
}

async fn carry(mut near: TcpStream, mut line: watch::Receiver<Line>) {
    if *line.borrow() == Line::Cut {
        return;
    }
    let Ok(mut far) = TcpStream::connect(database::server_address()).await else {
        return;
    };
    tokio::select! {
        // Whoever ends it, it is over.
        _ = copy_bidirectional(&mut near, &mut far) => {}
        _ = line.wait_for(|line| *line == Line::Cut) => {}
    }
}
