//! tarpc, over TCP with bincode.

use std::future::ready;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use tarpc::client::Config;
use tarpc::context;
use tarpc::serde_transport::tcp;
use tarpc::server::{BaseChannel, Channel as _};
use tarpc::tokio_serde::formats::Bincode;

use crate::load::{
    self, Clock, Server, Shape, Threads, asked, client_on_tokio, on_tokio,
};

#[tarpc::service]
trait Echo {
    async fn echo(content: Bytes) -> Bytes;
}

#[derive(Clone)]
struct Service;

impl Echo for Service {
    async fn echo(self, _: context::Context, content: Bytes) -> Bytes {
        content
    }
}

/// Requests a second over one connection.
pub(crate) fn rate(shape: Shape, span: Duration) -> f64 {
    let server = server(shape.threads);
    client_on_tokio(shape.threads, async {
        let transport = tcp::connect(server.address, Bincode::default).await;
        let transport = transport.expect("a connection");
        transport.get_ref().set_nodelay(true).expect("a socket");
        let client = EchoClient::new(Config::default(), transport).spawn();
        let content = Bytes::from(vec![7; shape.content]);
        let clock = Clock::new();
        let tasks = (0..shape.depth).map(|_| {
            let (client, content) = (client.clone(), content.clone());
            let ask = move || {
                let (client, content) = (client.clone(), content.clone());
                async move {
                    let reply = client.echo(context::current(), content).await;
                    reply.expect("a reply");
                }
            };
            asked(ask, clock.clone())
        });
        load::rate(tasks.collect(), &clock, span).await
    })
}

fn server(threads: Threads) -> Server {
    Server::start(threads, move |started| {
        on_tokio(threads, async {
            let mut listener = tcp::listen("127.0.0.1:0", Bincode::default)
                .await
                .expect("a port");
            let address = listener.local_addr();
            listener.config_mut().max_frame_length(usize::MAX);
            let serve = tokio::spawn(
                listener
                    .filter_map(|transport| ready(transport.ok()))
                    .inspect(|transport| {
                        transport.get_ref().set_nodelay(true).expect("a socket");
                    })
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
