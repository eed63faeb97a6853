//! The tokio runtime, as the driver sees it: sockets, timers, tasks, a clock.

use std::future::Future;
use std::io::{self, IoSlice};
use std::net::{SocketAddr, UdpSocket as StdUdpSocket};
use std::pin::Pin;
use std::task::{Context, Poll};

use netaio_driver::{
    ByteStream, DatagramSocket, Instant, Runtime, Timer, WrapStream,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::Sleep;

/// The tokio runtime.
///
/// Clients and servers must be used within a tokio runtime whose time and I/O
/// drivers are enabled, as `#[tokio::main]` does.
#[derive(Clone, Copy, Debug)]
pub struct Tokio {
    epoch: tokio::time::Instant,
}

impl Default for Tokio {
    /// Counts time from now.
    fn default() -> Self {
        Self {
            epoch: tokio::time::Instant::now(),
        }
    }
}

impl Runtime for Tokio {
    type TcpStream = TokioStream<TcpStream>;
    type TcpListener = TcpListener;
    type UdpSocket = TokioUdpSocket;
    type Timer = TokioTimer;

    fn now(&self) -> Instant {
        let micros = self.epoch.elapsed().as_micros();
        Instant::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    fn timer(&self) -> TokioTimer {
        TokioTimer {
            epoch: self.epoch,
            sleep: None,
        }
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(task);
    }

    fn spawn_blocking(&self, work: impl FnOnce() + Send + 'static) {
        tokio::task::spawn_blocking(work);
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<Self::TcpStream> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(TokioStream(stream))
    }

    async fn listen(&self, address: SocketAddr) -> io::Result<TcpListener> {
        TcpListener::bind(address).await
    }

    async fn accept(
        &self,
        listener: &TcpListener,
    ) -> io::Result<(Self::TcpStream, SocketAddr)> {
        let (stream, address) = listener.accept().await?;
        stream.set_nodelay(true)?;
        Ok((TokioStream(stream), address))
    }

    fn local_addr(&self, listener: &TcpListener) -> io::Result<SocketAddr> {
        listener.local_addr()
    }

    fn udp_socket(&self, socket: StdUdpSocket) -> io::Result<TokioUdpSocket> {
        Ok(TokioUdpSocket(UdpSocket::from_std(socket)?))
    }

    async fn resolve(&self, server: &str) -> io::Result<Vec<SocketAddr>> {
        Ok(tokio::net::lookup_host(server).await?.collect())
    }
}

impl<S> WrapStream<S> for Tokio
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    type Stream = TokioStream<S>;

    fn wrap(stream: S) -> TokioStream<S> {
        TokioStream(stream)
    }
}

/// A tokio stream, as the driver sees it.
#[derive(Debug)]
pub struct TokioStream<S>(S);

impl<S> ByteStream for TokioStream<S>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        let stream = Pin::new(&mut self.0);
        stream
            .poll_read(context, &mut buffer)
            .map_ok(|()| buffer.filled().len())
    }

    fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let stream = Pin::new(&mut self.0);
        match buffers {
            [buffer] => stream.poll_write(context, buffer),
            buffers => stream.poll_write_vectored(context, buffers),
        }
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_close(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

/// A tokio UDP socket, as the driver sees it.
#[derive(Debug)]
pub struct TokioUdpSocket(UdpSocket);

impl DatagramSocket for TokioUdpSocket {
    fn poll_recv_from(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>> {
        let mut buffer = ReadBuf::new(buffer);
        self.0
            .poll_recv_from(context, &mut buffer)
            .map_ok(|from| (buffer.filled().len(), from))
    }

    fn poll_send_to(
        &mut self,
        context: &mut Context<'_>,
        bytes: &[u8],
        to: SocketAddr,
    ) -> Poll<io::Result<usize>> {
        self.0.poll_send_to(context, bytes, to)
    }
}

/// A tokio timer, as the driver sees it.
#[derive(Debug)]
pub struct TokioTimer {
    epoch: tokio::time::Instant,
    /// Made when it is first set: most connections of a server never wait for
    /// a time.
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Timer for TokioTimer {
    fn set(&mut self, at: Instant) {
        let span = std::time::Duration::from_micros(at.as_micros());
        // A time beyond what tokio can express is never.
        let far = std::time::Duration::from_secs(60 * 60 * 24 * 365 * 30);
        let at = self.epoch + span.min(far);
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().reset(at),
            None => self.sleep = Some(Box::pin(tokio::time::sleep_until(at))),
        }
    }

    fn poll_expired(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match &mut self.sleep {
            // One whose task has used up its budget would not be registered.
            Some(sleep) => {
                let mut sleep = tokio::task::unconstrained(sleep.as_mut());
                Pin::new(&mut sleep).poll(context)
            }
            None => Poll::Pending,
        }
    }
}
