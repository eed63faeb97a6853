//! The floor of netaio's structure: as the bare sockets, but at the client one
//! task owns the socket, and whoever asks hands it frames behind a lock and is
//! woken when they are answered, in order. Nothing else is done.

use std::collections::VecDeque;
use std::future::Future;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::net::TcpStream;

use super::super::{body, buffer, next_body, put_frame};
use crate::load::{self, Clock, Shape, asked, client_on_tokio};

/// Round trips a second.
pub(crate) fn rate(server: SocketAddr, shape: Shape, span: Duration) -> f64 {
    client_on_tokio(shape.threads, async {
        let clock = Clock::new();
        let mut tasks = Vec::new();
        for _ in 0..shape.connections {
            let stream = TcpStream::connect(server).await.expect("a connection");
            stream.set_nodelay(true).expect("a socket");
            let shared = Arc::<Shared>::default();
            tokio::spawn(Owner {
                shared: Arc::clone(&shared),
                stream,
                input: buffer(),
                output: buffer(),
                answered: Vec::new(),
            });
            for _ in 0..shape.depth {
                let shared = Arc::clone(&shared);
                let body: Arc<[u8]> = body(shape.content).into();
                let ask = move || Ask {
                    shared: Arc::clone(&shared),
                    body: Arc::clone(&body),
                    number: None,
                };
                tasks.push(asked(ask, clock.clone()));
            }
        }
        load::rate(tasks, &clock, span).await
    })
}

#[derive(Default)]
struct Shared(Mutex<State>);

#[derive(Default)]
struct State {
    output: BytesMut,
    owner: Option<Waker>,
    asked: u64,
    answered: u64,
    waiting: VecDeque<Waker>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nobody panics")
    }
}

/// A request and its answer.
struct Ask {
    shared: Arc<Shared>,
    body: Arc<[u8]>,
    /// Of the request, once it has been handed over.
    number: Option<u64>,
}

impl Future for Ask {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let mut state = this.shared.lock();
        match this.number {
            Some(number) if number < state.answered => Poll::Ready(()),
            Some(_) => Poll::Pending,
            None => {
                this.number = Some(state.asked);
                state.asked += 1;
                put_frame(&mut state.output, 0, &this.body);
                state.waiting.push_back(context.waker().clone());
                let owner = state.owner.take();
                drop(state);
                if let Some(owner) = owner {
                    owner.wake();
                }
                Poll::Pending
            }
        }
    }
}

/// The task that owns the socket.
struct Owner {
    shared: Arc<Shared>,
    stream: TcpStream,
    input: BytesMut,
    output: BytesMut,
    answered: Vec<Waker>,
}

impl Owner {
    /// Takes what has been handed over, and what has been answered.
    fn exchange(&mut self, context: &Context<'_>) {
        let mut state = self.shared.lock();
        while next_body(&mut self.input).is_some() {
            state.answered += 1;
            self.answered.extend(state.waiting.pop_front());
        }
        self.output.extend_from_slice(&state.output);
        state.output.clear();
        state.owner = Some(context.waker().clone());
        drop(state);
        self.answered.drain(..).for_each(Waker::wake);
    }
}

impl Future for Owner {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        loop {
            this.exchange(context);
            while !this.output.is_empty() {
                let stream = Pin::new(&mut this.stream);
                match stream.poll_write(context, &this.output) {
                    Poll::Ready(Ok(count)) => this.output.advance(count),
                    Poll::Ready(Err(_)) => return Poll::Ready(()),
                    Poll::Pending => break,
                }
            }
            let mut room = [const { MaybeUninit::uninit() }; 16 * 1024];
            let mut room = ReadBuf::uninit(&mut room);
            let read = Pin::new(&mut this.stream).poll_read(context, &mut room);
            if ready!(read).is_err() || room.filled().is_empty() {
                return Poll::Ready(());
            }
            this.input.extend_from_slice(room.filled());
        }
    }
}
