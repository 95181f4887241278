//! An OpenTelemetry collector that keeps what it gets: the text in it can be searched, since protobuf leaves text as it is.

use std::sync::{Arc, Mutex, PoisonError};

use actix_web::{App, HttpResponse, HttpServer, web};

/// A running collector.
pub struct Collector {
    url: String,
    received: Arc<Mutex<Vec<u8>>>,
}

impl Collector {
    /// Listens on a port of its own, on a thread of its own, until the tests end.
    pub fn start() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let received = Arc::default();
        let keeps = web::Data::from(Arc::clone(&received));
        std::thread::spawn(move || {
            let server = HttpServer::new(move || {
                App::new()
                    .app_data(web::Data::clone(&keeps))
                    .app_data(web::PayloadConfig::new(64 * 1024 * 1024))
                    .default_service(web::to(keep))
            });
            let server = server.workers(1).disable_signals().listen(listener).expect("a listener");
            actix_web::rt::System::new().block_on(server.run())
        });
        Self { url, received }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// Everything so far.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.received.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

async fn keep(received: web::Data<Mutex<Vec<u8>>>, body: web::Bytes) -> HttpResponse {
    received.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&body);
    HttpResponse::Ok().finish()
}
