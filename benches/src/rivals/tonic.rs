//! tonic: gRPC, over one HTTP/2 connection. What protoc would generate is
//! written by hand.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::time::Duration;

use bytes::Bytes;
use tonic::body::Body;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::codegen::{BoxFuture, Context, Poll, Service, http};
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

use crate::load::{
    self, Clock, Server, Shape, Threads, asked, client_on_tokio, on_tokio,
};

/// `message Content { bytes content = 1; }`
#[derive(Clone, PartialEq, prost::Message)]
struct Content {
    #[prost(bytes = "bytes", tag = "1")]
    content: Bytes,
}

/// Requests a second over one connection.
pub(crate) fn rate(shape: Shape, span: Duration) -> f64 {
    let server = server(shape.threads);
    client_on_tokio(shape.threads, async {
        let endpoint = format!("http://{}", server.address);
        let endpoint = Endpoint::from_shared(endpoint).expect("an address");
        let endpoint = endpoint.tcp_nodelay(true);
        let channel = endpoint.connect().await.expect("a connection");
        let content = Bytes::from(vec![7; shape.content]);
        let clock = Clock::new();
        let tasks = (0..shape.depth).map(|_| {
            let (channel, content) = (channel.clone(), content.clone());
            asked(move || ask(channel.clone(), content.clone()), clock.clone())
        });
        load::rate(tasks.collect(), &clock, span).await
    })
}

async fn ask(channel: Channel, content: Bytes) {
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.expect("it is open");
    let codec = ProstCodec::<Content, Content>::default();
    let request = Request::new(Content { content });
    let path = PathAndQuery::from_static("/echo.Echo/Echo");
    let reply = client.unary(request, path, codec).await;
    reply.expect("a reply");
}

fn server(threads: Threads) -> Server {
    Server::start(threads, move |started| {
        on_tokio(threads, async {
            let incoming = TcpIncoming::bind(([127, 0, 0, 1], 0).into());
            let incoming = incoming.expect("a port").with_nodelay(Some(true));
            let address = incoming.local_addr().expect("an address");
            let server = tonic::transport::Server::builder().add_service(Echo);
            let serve = tokio::spawn(server.serve_with_incoming(incoming));
            started.at(address).await;
            serve.abort();
        });
    })
}

#[derive(Clone)]
struct Echo;

impl NamedService for Echo {
    const NAME: &'static str = "echo.Echo";
}

impl Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async {
            let codec = ProstCodec::<Content, Content>::default();
            Ok(Grpc::new(codec).unary(Method, request).await)
        })
    }
}

struct Method;

impl UnaryService<Content> for Method {
    type Response = Content;
    type Future = Ready<Result<Response<Content>, Status>>;

    fn call(&mut self, request: Request<Content>) -> Self::Future {
        ready(Ok(Response::new(request.into_inner())))
    }
}
