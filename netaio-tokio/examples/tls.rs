//! netaio over TLS, with rustls: a server and a client in one process. Ends by
//! itself, with an error if anything is not as expected.
//!
//! ```text
//! cargo run -p netaio-tokio --example tls
//! ```
//!
//! netaio has no TLS of its own. It takes streams that are connected already,
//! whatever they are made of. So accepting and connecting is up to you, and
//! connecting again is, too.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use netaio_tokio::{Link, MessageType, TcpClient, TcpServer};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::rustls::pki_types::{PrivatePkcs8KeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // A certificate that nobody has signed, but that the client trusts. Yours
    // comes from an authority.
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
    let certificate = made.cert.der().clone();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());

    let server_config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key.into())?;
    let mut roots = RootCertStore::empty();
    roots.add(certificate)?;
    let client_config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();

    let server = TcpServer::new();
    server.on((MessageType::REQUEST_URI, "echo"), |m| {
        m.respond(m.content())
    });
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let tls = TlsAcceptor::from(Arc::new(server_config));
    let accepting = tokio::spawn(accept(server.clone(), listener, tls));

    let client = TcpClient::builder().server("the echo server").build();
    let tls = TlsConnector::from(Arc::new(client_config));
    let link = connect(&client, "localhost", port, tls).await?;
    println!("connected to {}", link.remote());

    let reply = client.request("echo").content("hello").await?;
    println!("request echo: {} {:?}", reply.message_type(), reply.text());
    assert_eq!(reply.content(), b"hello");

    client.close().await;
    accepting.abort();
    server.shutdown(Duration::from_secs(1)).await;
    Ok(())
}

/// Accepts connections, and gives them to the server once they are secure.
async fn accept(server: TcpServer, listener: TcpListener, tls: TlsAcceptor) {
    loop {
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Too many open files, perhaps: that passes.
                eprintln!("accepting: {error}");
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        // A task each: whoever is slow to shake hands keeps nobody waiting.
        let (server, tls) = (server.clone(), tls.clone());
        tokio::spawn(async move {
            let secured = async {
                stream.set_nodelay(true)?;
                tls.accept(stream).await
            };
            match timeout(Duration::from_secs(10), secured).await {
                Ok(Ok(stream)) => drop(server.serve_stream(stream, from)),
                Ok(Err(error)) => eprintln!("{from}: {error}"),
                Err(_) => eprintln!("{from} does not shake hands"),
            }
        });
    }
}

/// Connects the client. Call it again when the connection is lost, and subscribe
/// again: subscriptions end with their connection if nobody makes another by itself.
async fn connect(
    client: &TcpClient,
    host: &str,
    port: u16,
    tls: TlsConnector,
) -> io::Result<Link> {
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    let remote = stream.peer_addr()?;
    let host = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let stream = tls.connect(host, stream).await?;
    client.connect_stream("the echo server", remote, stream)
}
