//! A peer that is a bare socket, and does what no client or server of ours
//! would. It blocks: use it on a thread of its own.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use netaio_driver::{Frame, Message, MessageType, MessageTypes};

use crate::waiting::LONG;

pub(crate) struct RawPeer {
    stream: TcpStream,
    received: Vec<u8>,
}

impl RawPeer {
    pub(crate) fn connect(server: SocketAddr) -> Self {
        Self::new(TcpStream::connect(server).expect("a connection"))
    }

    pub(crate) fn accept(listener: &TcpListener) -> Self {
        Self::new(listener.accept().expect("a connection").0)
    }

    fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(LONG)).expect("a timeout");
        Self {
            stream,
            received: Vec::new(),
        }
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("room to write");
    }

    pub(crate) fn send(&mut self, message: &Message) {
        self.write(&message.encode().expect("a message that fits"));
    }

    pub(crate) fn request(&mut self, uri: &str, content: impl AsRef<[u8]>) {
        self.send(&crate::ends::message(
            MessageType::REQUEST_URI,
            uri,
            content,
        ));
    }

    /// The next message; `None` at the end.
    pub(crate) fn receive(&mut self) -> Option<Message> {
        loop {
            if let Some(frame) = Frame::parse(&self.received) {
                let length = frame.length();
                let frame: Vec<_> = self.received.drain(..length).collect();
                let types = MessageTypes::default();
                return Some(Message::decode(&frame, &types).expect("a message"));
            }
            let mut buffer = [0; 65_536];
            match self.stream.read(&mut buffer) {
                Ok(0) => return None,
                Ok(count) => self.received.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                    return None;
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Writes `bytes` again and again until the other end has taken none for a
    /// while, or `most` times; tells how often they left, the last time perhaps
    /// in part, and what remains of it.
    pub(crate) fn flood(&mut self, bytes: &[u8], most: usize) -> (usize, usize) {
        self.stream
            .set_nonblocking(true)
            .expect("a socket that can");
        let mut rest = bytes.len();
        let mut whole = 0;
        let mut since = Instant::now();
        while whole < most && since.elapsed() < Duration::from_millis(500) {
            match self.stream.write(&bytes[bytes.len() - rest..]) {
                Ok(count) => {
                    rest -= count;
                    since = Instant::now();
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(error) => panic!("{error}"),
            }
            if rest == 0 {
                whole += 1;
                rest = bytes.len();
            }
        }
        self.stream
            .set_nonblocking(false)
            .expect("a socket that can");
        (whole, rest % bytes.len())
    }

    /// Says that nothing more comes; what the other end still says can be read.
    pub(crate) fn end_output(&mut self) {
        let ended = self.stream.shutdown(std::net::Shutdown::Write);
        ended.expect("an open connection");
    }

    /// Waits for the other end to close.
    pub(crate) fn wait_for_end(&mut self) {
        while self.receive().is_some() {}
    }
}

/// A listener on a free port.
pub(crate) fn listener() -> TcpListener {
    TcpListener::bind(crate::ends::ANYWHERE).expect("a free port")
}

/// An address that refuses connections.
pub(crate) fn refusing() -> SocketAddr {
    listener().local_addr().expect("an address")
}

/// A listener that leaves connections hanging once its queue is full.
pub(crate) struct BlackHole {
    listener: TcpListener,
    queue: Vec<TcpStream>,
}

impl BlackHole {
    pub(crate) fn open() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let _inside = runtime.enter();
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        let anywhere = crate::ends::ANYWHERE.parse().expect("an address");
        socket.bind(anywhere).expect("a free port");
        let listener = socket.listen(1).expect("a listener");
        let listener = listener.into_std().expect("a listener");
        listener.set_nonblocking(false).expect("a socket that can");
        Self {
            listener,
            queue: Vec::new(),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("an address")
    }

    pub(crate) fn accept(&self) -> RawPeer {
        RawPeer::accept(&self.listener)
    }

    /// Fills the queue: from now on connections hang.
    pub(crate) fn fill(&mut self) {
        let address = self.address();
        let attempt = || -> io::Result<TcpStream> {
            TcpStream::connect_timeout(&address, Duration::from_millis(200))
        };
        for _ in 0..100 {
            match attempt() {
                Ok(stream) => self.queue.push(stream),
                Err(_) => return,
            }
        }
        panic!("the queue does not fill up");
    }
}
