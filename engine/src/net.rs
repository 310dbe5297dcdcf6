//! Sockets, TLS, the clock and randomness: the only module that has any of them.

mod low_water;

use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;

use crate::config::{Pem, Tls};

/// The world around a pipe: whom it reaches by a name, what time it is, what is random.
///
/// The real one unless [`within`] says otherwise; a simulation plays all of it, from a seed.
pub trait Surroundings {
    /// A connection to whoever listens there.
    ///
    /// Errors: the system's; `ConnectionRefused` when nobody does.
    fn connect(&self, host: &str, port: u16) -> io::Result<Stream>;
    /// The time of day: microseconds since 1970-01-01 UTC.
    fn now_unix_us(&self) -> i64;
    /// Fills `bytes` with what nobody else can guess.
    fn fill_random(&self, bytes: &mut [u8]);
}

tokio::task_local! {
    static SURROUNDINGS: Rc<dyn Surroundings>;
}

/// Runs `future` in `surroundings`: its connections, its time of day and its randomness are theirs.
/// The monotonic clock is the runtime's, which can be stopped.
pub async fn within<F: Future>(surroundings: Rc<dyn Surroundings>, future: F) -> F::Output {
    SURROUNDINGS.scope(surroundings, future).await
}

/// How long an idle connection stays silent before the kernel asks whether the peer is there.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
/// How long between the kernel's questions.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// How long what was sent may stay unacknowledged by the peer's kernel: by default a quarter of an
/// hour, and while something is on its way no keepalive asks.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(60);

/// A connection, whatever it runs over. Reads and writes as the stream inside does.
#[derive(Debug)]
pub enum Stream {
    /// TCP, without delay of small writes.
    Tcp(TcpStream),
    /// A Unix socket.
    Unix(UnixStream),
    /// TLS over TCP.
    Tls(Box<TlsStream<TcpStream>>),
    /// One end of a pipe in memory: see [`Stream::pair`].
    Memory(DuplexStream),
}

impl Stream {
    /// Connects over TCP: `host` is a name or an address (brackets around an IPv6 one are allowed),
    /// and each of a name's addresses is tried. `timeout` covers all of it.
    ///
    /// Errors: [`NetError`], with the last address's reason.
    pub async fn connect_tcp(host: &str, port: u16, timeout: Duration) -> Result<Self, NetError> {
        let name = host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(host);
        let target = if name.contains(':') {
            format!("[{name}]:{port}")
        } else {
            format!("{name}:{port}")
        };
        let attempt = async {
            if let Ok(stream) = SURROUNDINGS.try_with(|world| world.connect(name, port)) {
                let refused = |error| NetError::new(&target, NetFault::Refused, Some(error));
                return stream.map_err(refused);
            }
            let addresses = tokio::net::lookup_host((name, port)).await;
            let addresses = addresses
                .map_err(|error| NetError::new(&target, NetFault::NameUnknown, Some(error)))?;
            let mut last = None;
            for address in addresses {
                match TcpStream::connect(address).await {
                    Ok(stream) => return Ok(Self::over_tcp(stream)),
                    Err(error) => last = Some(error),
                }
            }
            let fault = match last.as_ref().map(io::Error::kind) {
                None => NetFault::NameUnknown,
                Some(io::ErrorKind::ConnectionRefused) => NetFault::Refused,
                Some(_) => NetFault::Unreachable,
            };
            Err(NetError::new(&target, fault, last))
        };
        match tokio::time::timeout(timeout, attempt).await {
            Ok(stream) => stream,
            Err(_) => Err(NetError::new(&target, NetFault::TimedOut, None)),
        }
    }

    fn over_tcp(stream: TcpStream) -> Self {
        // Neither is needed for a connection to work, so neither can fail it.
        let keepalive = socket2::TcpKeepalive::new()
            .with_time(KEEPALIVE_IDLE)
            .with_interval(KEEPALIVE_INTERVAL);
        let socket = socket2::SockRef::from(&stream);
        let _ = socket.set_tcp_keepalive(&keepalive);
        #[cfg(target_os = "linux")]
        let _ = socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX));
        let _ = stream.set_nodelay(true);
        Self::Tcp(stream)
    }

    /// Connects to the Unix socket at `path`.
    ///
    /// Errors: [`NetError`].
    pub async fn connect_unix(path: &Path, timeout: Duration) -> Result<Self, NetError> {
        let target = path.display().to_string();
        match tokio::time::timeout(timeout, UnixStream::connect(path)).await {
            Ok(Ok(stream)) => Ok(Self::Unix(stream)),
            Ok(Err(error)) => {
                let fault = match error.kind() {
                    io::ErrorKind::ConnectionRefused => NetFault::Refused,
                    io::ErrorKind::NotFound => NetFault::SocketMissing,
                    _ => NetFault::Unreachable,
                };
                Err(NetError::new(&target, fault, Some(error)))
            }
            Err(_) => Err(NetError::new(&target, NetFault::TimedOut, None)),
        }
    }

    /// Two ends of a pipe in memory that holds `capacity` bytes each way: a connection for tests.
    #[must_use]
    pub fn pair(capacity: usize) -> (Self, Self) {
        let (one, other) = tokio::io::duplex(capacity);
        (Self::Memory(one), Self::Memory(other))
    }

    /// Begins TLS as the client, over TCP; `host` is checked against the certificate as far as
    /// `tls` says so, and is sent as SNI when it is a name. `timeout` covers the handshake.
    ///
    /// Errors: [`NetError`].
    pub async fn start_tls(
        self,
        tls: &TlsConfig,
        host: &str,
        timeout: Duration,
    ) -> Result<Self, NetError> {
        let Self::Tcp(stream) = self else {
            return Err(NetError::new(host, NetFault::TlsOverThis, None));
        };
        let port = stream.peer_addr().map_or(0, |address| address.port());
        let target = format!("{host}:{port}");
        let fail = |fault, source| Err(NetError::new(&target, fault, source));
        let name = host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(host);
        let Ok(server_name) = ServerName::try_from(name.to_owned()) else {
            return fail(NetFault::NotAHostName, None);
        };
        let connector = tokio_rustls::TlsConnector::from(Arc::clone(&tls.config));
        match tokio::time::timeout(timeout, connector.connect(server_name, stream)).await {
            Ok(Ok(stream)) => Ok(Self::Tls(Box::new(stream))),
            Ok(Err(error)) => fail(tls_fault(&error), Some(error)),
            Err(_) => fail(NetFault::TimedOut, None),
        }
    }

    /// Asks the kernel to wake who reads only when so many bytes have arrived; 1: any. A wish: what
    /// is no TCP ignores it, and what has arrived is read whether the mark is reached or not.
    pub fn set_low_water(&self, bytes: usize) {
        let socket = match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Tls(stream) => stream.get_ref().0.as_fd(),
            Self::Unix(_) | Self::Memory(_) => return,
        };
        let _ = low_water::set(socket, i32::try_from(bytes).unwrap_or(i32::MAX));
    }

    /// Whether what is written can be read by who is on the way.
    #[must_use]
    pub fn encrypted(&self) -> bool {
        matches!(self, Self::Tls(_))
    }
}

impl From<TcpStream> for Stream {
    fn from(stream: TcpStream) -> Self {
        Self::Tcp(stream)
    }
}

impl AsyncRead for Stream {
    #[inline]
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Memory(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    #[inline]
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Memory(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    #[inline]
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
            Self::Memory(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Memory(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    #[inline]
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Memory(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.is_write_vectored(),
            Self::Unix(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
            Self::Memory(stream) => stream.is_write_vectored(),
        }
    }
}

/// How much of a server's certificate is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verify {
    /// Nothing: who listens is kept out, who stands in the way is not.
    Nothing,
    /// That it leads to a trusted root.
    Chain,
    /// That, and that it is made out to the host.
    Full,
}

/// What a TLS client is set up with.
#[derive(Debug, Clone, Copy)]
pub struct TlsOptions<'a> {
    /// How much of the server's certificate is checked.
    pub verify: Verify,
    /// Trusted certificates; none: the system's.
    pub root_cert: Option<&'a Pem>,
    /// Our certificate and its chain, for servers that ask for one.
    pub cert: Option<&'a Pem>,
    /// Its key; a file may hold PKCS#8 DER too.
    pub key: Option<&'a Pem>,
    /// Protocols that we speak inside, the favourite first; none: not said.
    pub alpn: &'a [&'a [u8]],
}

/// A TLS client's settings, read and checked once for all connections.
#[derive(Debug, Clone)]
pub struct TlsConfig {
    config: Arc<rustls::ClientConfig>,
}

impl TlsConfig {
    /// As `ssl.*` of a client of Kafka or of the registry says.
    ///
    /// Errors: as [`TlsConfig::new`].
    pub fn of(tls: &Tls) -> Result<Self, TlsConfigError> {
        Self::new(&TlsOptions {
            verify: if tls.verify_hostname {
                Verify::Full
            } else {
                Verify::Chain
            },
            root_cert: tls.root_cert.as_ref(),
            cert: tls.cert.as_ref(),
            key: tls.key.as_ref(),
            alpn: &[],
        })
    }

    /// Reads what `options` name.
    ///
    /// Errors: [`TlsConfigError`], which names the file or the property.
    pub fn new(options: &TlsOptions<'_>) -> Result<Self, TlsConfigError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = Verifier {
            roots: match options.verify {
                Verify::Nothing => None,
                Verify::Chain | Verify::Full => Some(Roots::load(options.root_cert)?),
            },
            host: options.verify == Verify::Full,
            provider: Arc::clone(&provider),
        };
        let signing = Arc::clone(&provider);
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsConfigError {
                place: "TLS".to_owned(),
                reason: error.to_string(),
            })?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match (options.cert, options.key) {
            (None, None) => builder.with_no_client_auth(),
            (Some(cert), Some(key)) => {
                let certified = certified_key(certificates(cert)?, key, &signing)?;
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified)))
            }
            (Some(cert), None) => {
                return Err(TlsConfigError::new(cert, "a certificate without its key"));
            }
            (None, Some(key)) => {
                return Err(TlsConfigError::new(key, "a key without its certificate"));
            }
        };
        config.alpn_protocols = options.alpn.iter().map(|name| name.to_vec()).collect();
        Ok(Self {
            config: Arc::new(config),
        })
    }

    /// The settings as rustls has them.
    #[must_use]
    pub fn rustls(&self) -> &Arc<rustls::ClientConfig> {
        &self.config
    }
}

/// Trusted certificates, as roots and as they are in the file.
#[derive(Debug)]
struct Roots {
    store: RootCertStore,
    certificates: Vec<CertificateDer<'static>>,
}

impl Roots {
    fn load(pem: Option<&Pem>) -> Result<Self, TlsConfigError> {
        let certificates = match pem {
            Some(pem) => certificates(pem)?,
            None => rustls_native_certs::load_native_certs().certs,
        };
        let mut store = RootCertStore::empty();
        let (added, _) = store.add_parsable_certificates(certificates.iter().cloned());
        if added == 0 {
            return Err(TlsConfigError {
                place: pem
                    .map_or("the system's certificates", Pem::place)
                    .to_owned(),
                reason: "no certificate that can be a root".to_owned(),
            });
        }
        Ok(Self {
            store,
            certificates,
        })
    }
}

fn certificates(pem: &Pem) -> Result<Vec<CertificateDer<'static>>, TlsConfigError> {
    let read = match pem {
        Pem::File(path) => CertificateDer::pem_file_iter(path).and_then(Iterator::collect),
        Pem::Text { text, .. } => CertificateDer::pem_slice_iter(text.as_bytes()).collect(),
    };
    let read: Vec<_> = read.map_err(|error| TlsConfigError::new(pem, error))?;
    if read.is_empty() {
        return Err(TlsConfigError::new(pem, "no certificate in PEM form in it"));
    }
    Ok(read)
}

fn private_key(pem: &Pem) -> Result<PrivateKeyDer<'static>, TlsConfigError> {
    let path = match pem {
        Pem::File(path) => path,
        Pem::Text { text, .. } => {
            return PrivateKeyDer::from_pem_slice(text.as_bytes())
                .map_err(|error| TlsConfigError::new(pem, error));
        }
    };
    let bytes = std::fs::read(path).map_err(|error| TlsConfigError::new(pem, error))?;
    if let Ok(key) = PrivateKeyDer::from_pem_slice(&bytes) {
        return Ok(key);
    }
    PrivateKeyDer::try_from(bytes)
        .map_err(|_| TlsConfigError::new(pem, "neither a PEM key nor PKCS#8 DER"))
}

/// Our certificate and its key. The server judges the certificate, so its form is not looked at:
/// many are made by a plain `openssl x509 -req`, whose version 1 rustls does not read.
fn certified_key(
    chain: Vec<CertificateDer<'static>>,
    key: &Pem,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, TlsConfigError> {
    let fail = |error: rustls::Error| TlsConfigError::new(key, error);
    let signing_key = provider
        .key_provider
        .load_private_key(private_key(key)?)
        .map_err(fail)?;
    let certified = CertifiedKey::new(chain, signing_key);
    match certified.keys_match() {
        Err(error @ rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch)) => {
            Err(fail(error))
        }
        _ => Ok(certified),
    }
}

/// TLS settings that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsConfigError {
    /// The file, or the property whose value is the text itself.
    pub place: String,
    /// What is wrong there.
    pub reason: String,
}

impl TlsConfigError {
    fn new(pem: &Pem, reason: impl fmt::Display) -> Self {
        Self {
            place: pem.place().to_owned(),
            reason: reason.to_string(),
        }
    }
}

impl fmt::Display for TlsConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.reason)
    }
}

impl std::error::Error for TlsConfigError {}

/// Checks as much of a certificate as is wanted: nothing (without roots), its chain, or the host's
/// name too, and with either that the server holds the certificate's key.
#[derive(Debug)]
struct Verifier {
    roots: Option<Roots>,
    host: bool,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(roots) = &self.roots else {
            return Ok(ServerCertVerified::assertion());
        };
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let chain = rustls::client::verify_server_cert_signed_by_trust_anchor(
            &certificate,
            &roots.store,
            intermediates,
            now,
            self.provider.signature_verification_algorithms.all,
        );
        if let Err(error) = chain {
            // A self-signed certificate that is its own root, as many servers have: its extensions
            // say that it signs, not that it serves, yet the user has named it as trusted.
            let named = roots.certificates.iter().any(|root| root == end_entity);
            if !named || certificate_fault(&error) != NetFault::UntrustedCertificate {
                return Err(error);
            }
        }
        if self.host {
            rustls::client::verify_server_name(&certificate, server_name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        if self.roots.is_none() {
            return Ok(HandshakeSignatureValid::assertion());
        }
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        if self.roots.is_none() {
            return Ok(HandshakeSignatureValid::assertion());
        }
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// A connection that did not come about.
#[derive(Debug)]
pub struct NetError {
    /// Host and port, or the path of a Unix socket.
    pub target: String,
    /// What was wrong.
    pub fault: NetFault,
    /// The system's own words.
    pub source: Option<io::Error>,
}

/// Why a connection did not come about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetFault {
    /// The name leads to no address.
    NameUnknown,
    /// Nobody listens.
    Refused,
    /// No way there.
    Unreachable,
    /// No answer in time.
    TimedOut,
    /// There is no such Unix socket.
    SocketMissing,
    /// The server's certificate leads to no trusted root.
    UntrustedCertificate,
    /// The server's certificate is made out to another host.
    OtherHost,
    /// The server's certificate is too old, or too young.
    ExpiredCertificate,
    /// The TLS handshake failed in another way.
    Handshake,
    /// TLS over something else than TCP.
    TlsOverThis,
    /// TLS to something that cannot be a host's name.
    NotAHostName,
}

/// Whom a connection leads to: what can be done about it is set by other properties for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server {
    /// PostgreSQL, by `database.*`.
    Postgres,
    /// A broker, by `producer.*` or the worker's own.
    Kafka,
    /// The schema registry, by a converter's.
    Registry,
}

impl NetError {
    fn new(target: &str, fault: NetFault, source: Option<io::Error>) -> Self {
        Self {
            target: target.to_owned(),
            fault,
            source,
        }
    }

    /// What the reader of the error can do, in the properties that lead to this kind of server.
    #[must_use]
    pub fn remedy(&self, server: Server) -> &'static str {
        match self.fault {
            NetFault::NameUnknown => "Check the host name and the name service.",
            NetFault::Refused => {
                "Check that the server runs, and listens on this address and port."
            }
            NetFault::Unreachable => "Check the address, the network and the firewall between.",
            NetFault::TimedOut => {
                "Check the address, and whether a firewall drops packets on the way."
            }
            NetFault::SocketMissing => {
                "Check that the server runs here, the socket's directory and the port."
            }
            NetFault::UntrustedCertificate => match server {
                Server::Postgres => {
                    "Let database.sslrootcert name the PEM file of the authority that signed it, \
                     or set database.sslmode=require to trust whoever answers."
                }
                Server::Kafka => {
                    "Let ssl.truststore.location name the PEM file of the authority that signed it."
                }
                Server::Registry => {
                    "Let schema.registry.ssl.truststore.location of both converters name the PEM \
                     file of the authority that signed it."
                }
            },
            NetFault::OtherHost => match server {
                Server::Postgres => {
                    "Let database.hostname be a name that the certificate has, or set \
                     database.sslmode=verify-ca."
                }
                Server::Kafka => {
                    "Let the broker's advertised.listeners and bootstrap.servers use a name that \
                     the certificate has, or set ssl.endpoint.identification.algorithm= (empty)."
                }
                Server::Registry => {
                    "Let schema.registry.url use a name that the certificate has, or set \
                     schema.registry.ssl.endpoint.identification.algorithm= (empty)."
                }
            },
            NetFault::ExpiredCertificate => "Renew the server's certificate; check both clocks.",
            NetFault::Handshake => {
                "Check that this port speaks TLS, 1.2 at least, and accepts our certificate."
            }
            NetFault::TlsOverThis => "Turn TLS off for this connection.",
            NetFault::NotAHostName => "Connect by a host name or an address.",
        }
    }

    /// Whether the connection was there, and TLS over it failed.
    #[must_use]
    pub fn over_tls(&self) -> bool {
        matches!(
            self.fault,
            NetFault::UntrustedCertificate
                | NetFault::OtherHost
                | NetFault::ExpiredCertificate
                | NetFault::Handshake
                | NetFault::TlsOverThis
                | NetFault::NotAHostName
        )
    }

    /// Whether the same attempt may succeed later, with nothing mended by hand.
    #[must_use]
    pub fn retriable(&self) -> bool {
        match self.fault {
            NetFault::NameUnknown
            | NetFault::Refused
            | NetFault::Unreachable
            | NetFault::TimedOut
            | NetFault::SocketMissing
            | NetFault::Handshake => true,
            NetFault::UntrustedCertificate
            | NetFault::OtherHost
            | NetFault::ExpiredCertificate
            | NetFault::TlsOverThis
            | NetFault::NotAHostName => false,
        }
    }
}

fn tls_fault(error: &io::Error) -> NetFault {
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    inner.map_or(NetFault::Handshake, certificate_fault)
}

fn certificate_fault(error: &rustls::Error) -> NetFault {
    let rustls::Error::InvalidCertificate(fault) = error else {
        return NetFault::Handshake;
    };
    match fault {
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            NetFault::OtherHost
        }
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => NetFault::ExpiredCertificate,
        _ => NetFault::UntrustedCertificate,
    }
}

impl fmt::Display for NetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let target = &self.target;
        match self.fault {
            NetFault::NameUnknown => write!(f, "{target}: the name leads to no address"),
            NetFault::Refused => write!(f, "{target}: connection refused"),
            NetFault::Unreachable => write!(f, "{target}: not reachable"),
            NetFault::TimedOut => write!(f, "{target}: no answer in time"),
            NetFault::SocketMissing => write!(f, "{target}: no such socket"),
            NetFault::UntrustedCertificate => {
                write!(f, "{target}: the server's certificate is not trusted")
            }
            NetFault::OtherHost => {
                write!(
                    f,
                    "{target}: the server's certificate is made out to another host"
                )
            }
            NetFault::ExpiredCertificate => {
                write!(f, "{target}: the server's certificate is not valid now")
            }
            NetFault::Handshake => write!(f, "{target}: the TLS handshake failed"),
            NetFault::TlsOverThis => write!(f, "{target}: TLS runs over TCP only"),
            NetFault::NotAHostName => write!(f, "{target}: not a host name"),
        }?;
        match &self.source {
            Some(source) => write!(f, " ({source})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for NetError {}

/// A port of 127.0.0.1 that nobody listens on now.
///
/// Errors: there is none.
pub fn free_port() -> io::Result<u16> {
    let listener = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}

/// The time of day: microseconds since 1970-01-01 UTC.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "this is where the clock is read")]
pub fn now_unix_us() -> i64 {
    if let Ok(now) = SURROUNDINGS.try_with(|world| world.now_unix_us()) {
        return now;
    }
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// Fills `bytes` with randomness that is good enough for nonces.
///
/// Errors: the system has none.
pub fn fill_random(bytes: &mut [u8]) -> io::Result<()> {
    if let Ok(()) = SURROUNDINGS.try_with(|world| world.fill_random(bytes)) {
        return Ok(());
    }
    getrandom::fill(bytes).map_err(|error| io::Error::other(error.to_string()))
}

/// The monotonic clock, as the runtime tells it: a test can stop it.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "this is where the clock is read")]
pub fn now() -> tokio::time::Instant {
    tokio::time::Instant::now()
}

/// A timer of the system's own, to the microsecond: the runtime's sleeps whole milliseconds.
#[derive(Debug)]
pub struct Alarm {
    timer: tokio::io::unix::AsyncFd<std::fs::File>,
}

impl Alarm {
    /// An alarm that is not set.
    ///
    /// Errors: the system has no timer left.
    #[allow(
        deprecated,
        reason = "a File keeps its descriptor, which is all that its successor wants promised"
    )]
    pub fn new() -> io::Result<Self> {
        use rustix::time::{TimerfdClockId, TimerfdFlags, timerfd_create};
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        let timer = tokio::io::unix::AsyncFd::new(std::fs::File::from(timer))?;
        Ok(Self { timer })
    }

    /// Waits so long.
    ///
    /// Errors: the system takes no such time.
    pub async fn sleep(&self, duration: Duration) -> io::Result<()> {
        use rustix::time::{Itimerspec, TimerfdTimerFlags, Timespec, timerfd_settime};
        // Zero would mean never.
        let duration = duration.max(Duration::from_nanos(1));
        let once = Itimerspec {
            it_interval: Timespec::default(),
            it_value: Timespec {
                tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: duration.subsec_nanos().into(),
            },
        };
        timerfd_settime(self.timer.get_ref(), TimerfdTimerFlags::empty(), &once)?;
        loop {
            let mut ready = self.timer.readable().await?;
            let read = ready.try_io(|timer| io::Read::read(&mut timer.get_ref(), &mut [0; 8]));
            match read {
                Ok(read) => return read.map(drop),
                Err(_would_block) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn run<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(future)
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn an_alarm_rings_when_it_should() {
        run(async {
            let alarm = Alarm::new().unwrap();
            let start = now();
            for _ in 0..3 {
                alarm.sleep(Duration::from_micros(300)).await.unwrap();
            }
            let passed = start.elapsed();
            assert!(passed >= Duration::from_micros(900), "{passed:?}");
        });
    }

    #[test]
    fn a_pair_carries_bytes() {
        run(async {
            let (mut one, mut other) = Stream::pair(16);
            one.write_all(b"hello").await.unwrap();
            let mut bytes = [0; 5];
            other.read_exact(&mut bytes).await.unwrap();
            assert_eq!(&bytes, b"hello");
            drop(one);
            assert_eq!(other.read(&mut bytes).await.unwrap(), 0);
        });
    }

    #[test]
    fn errors_name_the_target() {
        run(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let stream = Stream::connect_tcp("localhost", port, SECOND)
                .await
                .unwrap();
            assert!(!stream.encrypted());
            drop(listener);
            let error = Stream::connect_tcp("127.0.0.1", port, SECOND)
                .await
                .unwrap_err();
            assert_eq!((error.fault, error.retriable()), (NetFault::Refused, true));
            assert!(
                error
                    .to_string()
                    .starts_with(&format!("127.0.0.1:{port}: ")),
                "{error}"
            );
            let error = Stream::connect_unix(Path::new("/nowhere/s"), SECOND)
                .await
                .unwrap_err();
            assert_eq!(error.fault, NetFault::SocketMissing);
        });
    }

    #[test]
    fn tls_settings_are_named() {
        let [root, cert] = ["root", "cert"].map(|name| Pem::File(format!("/nowhere/{name}.pem")));
        let options = TlsOptions {
            verify: Verify::Full,
            root_cert: Some(&root),
            cert: None,
            key: None,
            alpn: &[b"postgresql"],
        };
        let error = TlsConfig::new(&options).unwrap_err();
        assert_eq!(error.place, "/nowhere/root.pem");
        let text = Pem::Text {
            property: "ssl.truststore.certificates".to_owned(),
            text: "secret".to_owned(),
        };
        let options = TlsOptions {
            root_cert: Some(&text),
            ..options
        };
        let error = TlsConfig::new(&options).unwrap_err().to_string();
        assert!(error.contains("ssl.truststore.certificates"), "{error}");
        assert!(!error.contains("secret"), "{error}");
        let options = TlsOptions {
            verify: Verify::Nothing,
            ..options
        };
        assert!(
            TlsConfig::new(&options).is_ok(),
            "what is not used is not read"
        );
        let options = TlsOptions {
            cert: Some(&cert),
            ..options
        };
        assert!(TlsConfig::new(&options).is_err());
    }
}
