//! tarpc, over TCP with bincode.

use std::future::ready;
use std::time::Duration;

use futures_util::StreamExt as _;
use tarpc::client::Config;
use tarpc::context;
use tarpc::serde_transport::tcp;
use tarpc::server::{BaseChannel, Channel as _};
use tarpc::tokio_serde::formats::Bincode;

use crate::load::{self, Server, Threads, on_tokio};

#[tarpc::service]
trait Echo {
    async fn echo(content: Vec<u8>) -> Vec<u8>;
}

#[derive(Clone)]
struct Service;

impl Echo for Service {
    async fn echo(self, _: context::Context, content: Vec<u8>) -> Vec<u8> {
        content
    }
}

/// Requests a second over one connection.
pub(crate) fn rate(depth: usize, content: usize, span: Duration) -> f64 {
    let server = server();
    on_tokio(Threads::One, async {
        let transport = tcp::connect(server.address, Bincode::default).await;
        let transport = transport.expect("a connection");
        let client = EchoClient::new(Config::default(), transport).spawn();
        let askers = (0..depth).map(|_| {
            let client = client.clone();
            move || {
                let (client, content) = (client.clone(), vec![7; content]);
                async move {
                    let reply = client.echo(context::current(), content).await;
                    reply.expect("a reply");
                }
            }
        });
        load::rate(askers.collect(), span).await
    })
}

fn server() -> Server {
    Server::start(|started| {
        on_tokio(Threads::One, async {
            let mut listener = tcp::listen("127.0.0.1:0", Bincode::default)
                .await
                .expect("a port");
            let address = listener.local_addr();
            listener.config_mut().max_frame_length(usize::MAX);
            let serve = tokio::spawn(
                listener
                    .filter_map(|stream| ready(stream.ok()))
                    .map(BaseChannel::with_defaults)
                    .for_each(|channel| {
                        let requests = channel.execute(Service.serve());
                        tokio::spawn(requests.for_each(|response| {
                            tokio::spawn(response);
                            ready(())
                        }));
                        ready(())
                    }),
            );
            started.at(address).await;
            serve.abort();
        });
    })
}
