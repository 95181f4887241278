//! A wire to the database that a test can cut, let hang, and mend.

use std::{net::Ipv4Addr, pin::pin, thread};

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
    Hanging,
}

/// A TCP proxy in front of PostgreSQL. It lives as long as the process, on a thread of its own.
pub struct CutProxy {
    pub port: u16,
    line: watch::Sender<Line>,
}

impl CutProxy {
    /// A proxy that lets everything through.
    pub fn start() -> Self {
        Self::with(Line::Through)
    }

    /// A proxy that refuses everything so far.
    pub fn start_cut() -> Self {
        Self::with(Line::Cut)
    }

    fn with(line: Line) -> Self {
        let (line, watch) = watch::channel(line);
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

    /// Takes connections but moves no byte any more.
    pub fn hang(&self) {
        self.line.send_replace(Line::Hanging);
    }

    /// Lets everything through again.
    pub fn mend(&self) {
        self.line.send_replace(Line::Through);
    }
}

async fn carry(mut near: TcpStream, mut line: watch::Receiver<Line>) {
    while *line.borrow_and_update() == Line::Hanging {
        if line.changed().await.is_err() {
            return;
        }
    }
    if *line.borrow() == Line::Cut {
        return;
    }
    let Ok(mut far) = TcpStream::connect(database::server_address()).await else {
        return;
    };
    let mut copying = pin!(copy_bidirectional(&mut near, &mut far));
    loop {
        let now = *line.borrow_and_update();
        let is_open = match now {
            Line::Cut => false,
            Line::Hanging => line.changed().await.is_ok(),
            Line::Through => tokio::select! {
                _ = &mut copying => false,
                changed = line.changed() => changed.is_ok(),
            },
        };
        if !is_open {
            return;
        }
    }
}
