//! A TCP proxy that fails as networks do: delays, resets, cuts at any byte, silence in one
//! direction or both.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::free_ports;

/// Between looks at what the proxy was told.
const TICK: Duration = Duration::from_millis(10);

/// A proxy in front of one port on 127.0.0.1. It runs until this process ends.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    orders: Arc<Orders>,
}

/// What all connections do.
#[derive(Debug, Default)]
struct Orders {
    delay_ms: AtomicU64,
    /// Of a million reads, so many end the connection in the middle of what was read.
    cuts_per_million: AtomicU64,
    /// Nothing is passed from the client to the server, or back; nor is the end of a connection.
    silent: [AtomicBool; 2],
    random: AtomicU64,
    /// Both ends of every connection that lives.
    living: Mutex<Vec<(TcpStream, TcpStream)>>,
}

impl Proxy {
    /// A proxy that passes everything to 127.0.0.1:`target`; its faults follow from `seed`.
    ///
    /// Panics when it cannot listen.
    #[must_use]
    pub fn start(target: u16, seed: u64) -> Self {
        Self::listen(free_ports(1), target, seed)
    }

    /// As [`Self::start`], on a port that was chosen before.
    ///
    /// Panics when it cannot listen.
    #[must_use]
    pub fn listen(port: u16, target: u16, seed: u64) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("the port is free");
        let orders = Arc::new(Orders {
            random: AtomicU64::new(seed | 1),
            ..Orders::default()
        });
        let shared = Arc::clone(&orders);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, target)) else {
                    continue;
                };
                let _ = (client.set_nodelay(true), server.set_nodelay(true));
                let ends = |stream: &TcpStream| stream.try_clone().expect("a file handle");
                let mut living = shared.living.lock().expect("no panic under it");
                living.retain(|(client, _)| client.peer_addr().is_ok());
                living.push((ends(&client), ends(&server)));
                drop(living);
                for (way, from, to) in [
                    (0, ends(&client), ends(&server)),
                    (1, ends(&server), ends(&client)),
                ] {
                    let orders = Arc::clone(&shared);
                    std::thread::spawn(move || orders.pass(way, from, to));
                }
            }
        });
        Self { port, orders }
    }

    /// Where it listens, on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Everything that is passed waits so long, in each direction.
    pub fn delay(&self, delay: Duration) {
        let ms = u64::try_from(delay.as_millis()).expect("short");
        self.orders.delay_ms.store(ms, Ordering::Relaxed);
    }

    /// So many of a million reads end in a reset, in the middle of what was read.
    pub fn cut(&self, per_million: u64) {
        self.orders
            .cuts_per_million
            .store(per_million, Ordering::Relaxed);
    }

    /// What the client sends, or what the server sends, is held back and no end is told: a
    /// partition in one direction or, with both, a half-open connection.
    pub fn silence(&self, from_client: bool, from_server: bool) {
        self.orders.silent[0].store(from_client, Ordering::Relaxed);
        self.orders.silent[1].store(from_server, Ordering::Relaxed);
    }

    /// Resets every connection.
    pub fn reset(&self) {
        let mut living = self.orders.living.lock().expect("no panic under it");
        for (client, server) in living.drain(..) {
            reset(&client);
            reset(&server);
        }
    }
}

impl Orders {
    fn pass(&self, way: usize, mut from: TcpStream, mut to: TcpStream) {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let read = from.read(&mut buffer);
            let delay = Duration::from_millis(self.delay_ms.load(Ordering::Relaxed));
            std::thread::sleep(delay);
            while self.silent[way].load(Ordering::Relaxed) {
                std::thread::sleep(TICK);
            }
            let Ok(n @ 1..) = read else {
                let _ = to.shutdown(Shutdown::Write);
                return;
            };
            let cut = self.random() % 1_000_000 < self.cuts_per_million.load(Ordering::Relaxed);
            let passed = if cut {
                usize::try_from(self.random()).unwrap_or(0) % n
            } else {
                n
            };
            if to.write_all(&buffer[..passed]).is_err() || cut {
                reset(&from);
                reset(&to);
                return;
            }
        }
    }

    fn random(&self) -> u64 {
        let mut next = self.random.load(Ordering::Relaxed);
        next ^= next << 13;
        next ^= next >> 7;
        next ^= next << 17;
        self.random.store(next, Ordering::Relaxed);
        next
    }
}

/// Ends a connection without a good-bye: what is on its way is lost.
fn reset(stream: &TcpStream) {
    let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
    let _ = stream.shutdown(Shutdown::Both);
}
