//! What the driver needs of an async runtime.

use std::fmt;
use std::future::Future;
use std::io::{self, IoSlice};
use std::net::{SocketAddr, UdpSocket};
use std::task::{Context, Poll};

use netaio_proto::Instant;

/// An async runtime: sockets, timers, tasks and a clock.
///
/// Static on purpose: a connection is compiled for its runtime and its stream,
/// with no box between. `netaio-tokio` and `netaio-asyncstd` implement it; so
/// can you: in netaio's repository `tests/embedded/main.rs` does, over an executor
/// of one thread that it brings itself, and is meant to be read.
pub trait Runtime: Clone + fmt::Debug + Send + Sync + 'static {
    /// A connected TCP stream.
    type TcpStream: ByteStream;
    /// A listening TCP socket.
    type TcpListener: Send + Sync + 'static;
    /// A UDP socket.
    type UdpSocket: DatagramSocket;
    /// A timer.
    type Timer: Timer;

    /// What time it is, by a clock that never goes back. The epoch is the
    /// runtime's to choose, but all clones must choose the same.
    fn now(&self) -> Instant;

    /// A timer that has not been set.
    fn timer(&self) -> Self::Timer;

    /// Runs a task to its end, whether anybody waits for it or not.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static);

    /// Runs work that takes long and does not wait, such as a proof of work, where
    /// no task waits for it. As a default a new thread does; a runtime that has
    /// threads for such work should use those. Work that cannot be begun is
    /// dropped.
    fn spawn_blocking(&self, work: impl FnOnce() + Send + 'static) {
        let thread = std::thread::Builder::new().name("netaio work".into());
        // Whoever waits for the work sees that it has gone.
        let _ = thread.spawn(work);
    }

    /// Connects to an address.
    fn connect(
        &self,
        address: SocketAddr,
    ) -> impl Future<Output = io::Result<Self::TcpStream>> + Send;

    /// Listens on an address.
    fn listen(
        &self,
        address: SocketAddr,
    ) -> impl Future<Output = io::Result<Self::TcpListener>> + Send;

    /// Waits for the next connection. Cancel safe.
    fn accept(
        &self,
        listener: &Self::TcpListener,
    ) -> impl Future<Output = io::Result<(Self::TcpStream, SocketAddr)>> + Send;

    /// The address that a socket listens on.
    ///
    /// # Errors
    ///
    /// Whatever the system says.
    fn local_addr(&self, listener: &Self::TcpListener) -> io::Result<SocketAddr>;

    /// Takes over a UDP socket that is bound and does not block.
    ///
    /// # Errors
    ///
    /// Whatever the system says.
    fn udp_socket(&self, socket: UdpSocket) -> io::Result<Self::UdpSocket>;

    /// The addresses of a `host:port`.
    fn resolve(
        &self,
        server: &str,
    ) -> impl Future<Output = io::Result<Vec<SocketAddr>>> + Send;
}

/// A runtime that can drive streams of type `S`: those of its own ecosystem's
/// `AsyncRead` and `AsyncWrite`.
pub trait WrapStream<S>: Runtime {
    /// The stream as the driver sees it.
    type Stream: ByteStream;

    /// Wraps a stream.
    fn wrap(stream: S) -> Self::Stream;
}

/// A stream of bytes in both directions.
pub trait ByteStream: Send + Unpin + 'static {
    /// Reads into `buffer`; 0 bytes mean that no more will come.
    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>>;

    /// Writes from several buffers at once.
    fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>>;

    /// Sees to it that what was written leaves.
    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Says that no more will be written.
    fn poll_close(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>>;
}

/// A socket for datagrams.
pub trait DatagramSocket: Send + Unpin + 'static {
    /// Receives a datagram into `buffer`; gives how many bytes it has, and where
    /// it came from.
    fn poll_recv_from(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>>;

    /// Sends a datagram.
    fn poll_send_to(
        &mut self,
        context: &mut Context<'_>,
        bytes: &[u8],
        to: SocketAddr,
    ) -> Poll<io::Result<usize>>;
}

/// A timer that can be set again and again.
pub trait Timer: Send + Unpin + 'static {
    /// Sets the timer to go off at `at`, in place of the time set before.
    fn set(&mut self, at: Instant);

    /// Ready once the time has come that was set. If it says `Pending`, it wakes
    /// this waker when the time has come, whatever else the task has done: it is
    /// not asked again before, unless it is set anew or the waker changes.
    fn poll_expired(&mut self, context: &mut Context<'_>) -> Poll<()>;
}

/// Runs `future` until `at`; `None` if it had not ended by then.
pub(crate) async fn until<R: Runtime, F: Future>(
    runtime: &R,
    at: Instant,
    future: F,
) -> Option<F::Output> {
    let mut timer = runtime.timer();
    timer.set(at);
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|context| {
        if let Poll::Ready(output) = future.as_mut().poll(context) {
            return Poll::Ready(Some(output));
        }
        timer.poll_expired(context).map(|()| None)
    })
    .await
}
