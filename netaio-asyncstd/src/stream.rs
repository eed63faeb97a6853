//! What async-std and smol share: `async-io` sockets and timers, and streams of
//! the `futures-io` kind, as the driver sees them.

use std::future::Future as _;
use std::io::{self, IoSlice};
use std::net::{
    Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs as _, UdpSocket,
};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant as StdInstant};

use async_io::Async;
use futures_io::{AsyncRead, AsyncWrite};
use netaio_driver::{ByteStream, DatagramSocket, Instant, Timer};

/// A `futures-io` stream, as the driver sees it.
#[derive(Debug)]
pub struct FuturesStream<S> {
    stream: S,
    /// Whether the last read took all that there was: then a read waits first.
    drained: bool,
    /// Waits until there is something to read, where a stream can.
    readable: Readable<S>,
    /// What closing needs beyond what the stream does by itself.
    shut: fn(&S) -> io::Result<()>,
}

type Readable<S> = fn(&S, &mut Context<'_>) -> Poll<io::Result<()>>;

impl<S> FuturesStream<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self {
            stream,
            drained: false,
            readable: |_, _| Poll::Ready(Ok(())),
            shut: |_| Ok(()),
        }
    }
}

impl<S> ByteStream for FuturesStream<S>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if self.drained {
            ready!((self.readable)(&self.stream, context))?;
            self.drained = false;
        }
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        let count = ready!(read)?;
        self.drained = 0 < count && count < buffer.len();
        Poll::Ready(Ok(count))
    }

    fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let stream = Pin::new(&mut self.stream);
        match buffers {
            [buffer] => stream.poll_write(context, buffer),
            buffers => stream.poll_write_vectored(context, buffers),
        }
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_close(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_close(context))?;
        Poll::Ready((self.shut)(&self.stream))
    }
}

/// An `async-io` timer, as the driver sees it.
#[derive(Debug)]
pub struct AsyncIoTimer {
    epoch: StdInstant,
    timer: async_io::Timer,
}

impl AsyncIoTimer {
    pub(crate) fn new(epoch: StdInstant) -> Self {
        Self {
            epoch,
            timer: async_io::Timer::never(),
        }
    }
}

impl Timer for AsyncIoTimer {
    fn set(&mut self, at: Instant) {
        let span = Duration::from_micros(at.as_micros());
        match self.epoch.checked_add(span) {
            Some(at) => self.timer.set_at(at),
            None => self.timer = async_io::Timer::never(),
        }
    }

    fn poll_expired(&mut self, context: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.timer).poll(context).map(|_| ())
    }
}

/// A TCP stream over `async-io`.
pub type AsyncIoTcpStream = FuturesStream<Async<TcpStream>>;

pub(crate) async fn connect(address: SocketAddr) -> io::Result<AsyncIoTcpStream> {
    let stream = Async::<TcpStream>::connect(address).await?;
    tcp(stream)
}

/// A TCP stream of `async-io` says only when it is dropped that no more will be
/// written, unless it is told to.
fn tcp(stream: Async<TcpStream>) -> io::Result<AsyncIoTcpStream> {
    stream.get_ref().set_nodelay(true)?;
    Ok(FuturesStream {
        stream,
        drained: false,
        readable: |stream, context| stream.poll_readable(context),
        shut: |stream| stream.get_ref().shutdown(Shutdown::Write),
    })
}

pub(crate) async fn accept(
    listener: &Async<TcpListener>,
) -> io::Result<(AsyncIoTcpStream, SocketAddr)> {
    let (stream, address) = listener.accept().await?;
    Ok((tcp(stream)?, address))
}

/// A UDP socket over `async-io`, as the driver sees it.
#[derive(Debug)]
pub struct AsyncIoUdpSocket(Async<UdpSocket>);

impl AsyncIoUdpSocket {
    pub(crate) fn new(socket: UdpSocket) -> io::Result<Self> {
        Async::new_nonblocking(socket).map(Self)
    }
}

impl DatagramSocket for AsyncIoUdpSocket {
    fn poll_recv_from(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>> {
        loop {
            match self.0.get_ref().recv_from(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                outcome => return Poll::Ready(outcome),
            }
            ready!(self.0.poll_readable(context))?;
        }
    }

    fn poll_send_to(
        &mut self,
        context: &mut Context<'_>,
        bytes: &[u8],
        to: SocketAddr,
    ) -> Poll<io::Result<usize>> {
        loop {
            match self.0.get_ref().send_to(bytes, to) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                outcome => return Poll::Ready(outcome),
            }
            ready!(self.0.poll_writable(context))?;
        }
    }
}

pub(crate) async fn resolve(server: &str) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = server.parse() {
        return Ok(vec![address]);
    }
    let server = server.to_owned();
    let lookup = move || server.to_socket_addrs().map(Iterator::collect);
    blocking::unblock(lookup).await
}

/// Implements the driver's `Runtime` for a type that has a field `epoch` and a
/// method `run`, which starts a task.
macro_rules! async_io_runtime {
    ($runtime:ty) => {
        impl netaio_driver::Runtime for $runtime {
            type TcpStream = $crate::AsyncIoTcpStream;
            type TcpListener = async_io::Async<std::net::TcpListener>;
            type UdpSocket = $crate::AsyncIoUdpSocket;
            type Timer = $crate::AsyncIoTimer;

            fn now(&self) -> netaio_driver::Instant {
                let micros = self.epoch.elapsed().as_micros();
                let micros = u64::try_from(micros).unwrap_or(u64::MAX);
                netaio_driver::Instant::from_micros(micros)
            }

            fn timer(&self) -> $crate::AsyncIoTimer {
                $crate::AsyncIoTimer::new(self.epoch)
            }

            fn spawn(
                &self,
                task: impl std::future::Future<Output = ()> + Send + 'static,
            ) {
                self.run(task);
            }

            fn spawn_blocking(&self, work: impl FnOnce() + Send + 'static) {
                blocking::unblock(work).detach();
            }

            async fn connect(
                &self,
                address: std::net::SocketAddr,
            ) -> std::io::Result<Self::TcpStream> {
                $crate::stream::connect(address).await
            }

            async fn listen(
                &self,
                address: std::net::SocketAddr,
            ) -> std::io::Result<Self::TcpListener> {
                async_io::Async::<std::net::TcpListener>::bind(address)
            }

            async fn accept(
                &self,
                listener: &Self::TcpListener,
            ) -> std::io::Result<(Self::TcpStream, std::net::SocketAddr)> {
                $crate::stream::accept(listener).await
            }

            fn local_addr(
                &self,
                listener: &Self::TcpListener,
            ) -> std::io::Result<std::net::SocketAddr> {
                listener.get_ref().local_addr()
            }

            fn udp_socket(
                &self,
                socket: std::net::UdpSocket,
            ) -> std::io::Result<Self::UdpSocket> {
                $crate::AsyncIoUdpSocket::new(socket)
            }

            async fn resolve(
                &self,
                server: &str,
            ) -> std::io::Result<Vec<std::net::SocketAddr>> {
                $crate::stream::resolve(server).await
            }
        }

        impl<S> netaio_driver::WrapStream<S> for $runtime
        where
            S: futures_io::AsyncRead
                + futures_io::AsyncWrite
                + Send
                + Unpin
                + 'static,
        {
            type Stream = $crate::FuturesStream<S>;

            fn wrap(stream: S) -> $crate::FuturesStream<S> {
                $crate::FuturesStream::new(stream)
            }
        }
    };
}
pub(crate) use async_io_runtime;
