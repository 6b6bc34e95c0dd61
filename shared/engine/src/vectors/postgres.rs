//! Connections to `PostgreSQL`, subject to the app's egress rules.

use super::StoreError;
use crate::{
    egress::Http,
    load::{Fields, Loading},
    nodes::connection::{Setting, connection},
};
use rustls::{
    ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use std::{
    error::Error as _,
    fmt, io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    task::JoinHandle,
};
use tokio_postgres::{
    Client, Config,
    error::SqlState,
    tls::{ChannelBinding, TlsConnect, TlsStream},
};

const HOST: Setting = Setting { key: "host", variable: "POSTGRESQL_HOST", default: Some("localhost") };
const PORT: Setting = Setting { key: "port", variable: "POSTGRESQL_PORT", default: Some("5432") };
const DATABASE: Setting = Setting { key: "database", variable: "POSTGRESQL_DATABASE", default: Some("db") };
const USER: Setting = Setting { key: "user", variable: "POSTGRESQL_USER", default: Some("postgres") };
const PASSWORD: Setting =
    Setting { key: "password", variable: "POSTGRESQL_PASSWORD", default: Some("password") };

/// Timeouts of connecting and of disconnecting.
const OPEN_TIMEOUT: Duration = Duration::from_secs(15);
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// The address of a database, and the credentials for it.
pub(super) struct Server {
    host: String,
    port: u16,
    database: String,
    user: String,
    password: String,
}

/// Omits the password.
impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("database", &self.database)
            .finish_non_exhaustive()
    }
}

/// A connection. Dropping it aborts what it is doing.
pub(super) struct Session {
    pub(super) client: Client,
    driver: Driver,
}

/// The task that performs the connection's I/O.
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Server {
    pub(super) fn read(fields: Fields<'_>, loading: &Loading<'_>) -> Option<Self> {
        let connection = connection(&["PostgreSQL"], fields, loading)?;
        let setting = |setting: Setting| setting.of(connection.as_ref(), fields, loading);
        let (host, port, database) = (setting(HOST), setting(PORT)?, setting(DATABASE));
        let (user, password) = (setting(USER), setting(PASSWORD));
        let Ok(port) = port.parse() else {
            fields.mistake(fields.spot("connection"), "the connection's `port` must be a port number".into());
            return None;
        };
        Some(Self { host: host?, port, database: database?, user: user?, password: password? })
    }

    /// Connects and logs in.
    pub(super) async fn open(&self, http: &Http) -> Result<Session, StoreError> {
        let target = format!("the database on {}:{}", self.host, self.port);
        let unreachable = |why: String| StoreError::store(format!("{target} cannot be reached: {why}"));
        let open = async {
            let stream = http.connect(&self.host, self.port).await.map_err(|error| error.to_string())?;
            let _ = stream.set_nodelay(true);
            let mut config = Config::new();
            config.user(&self.user).password(&self.password).dbname(&self.database);
            config.application_name("runyard");
            let tls = Encrypt { host: self.host.clone() };
            config.connect_raw(stream, tls).await.map_err(|error| explain(&error))
        };
        let opened = tokio::time::timeout(OPEN_TIMEOUT, open).await;
        let opened =
            opened.map_err(|_| unreachable(format!("no answer within {} s", OPEN_TIMEOUT.as_secs())))?;
        let (client, connection) = opened.map_err(unreachable)?;
        let http = http.clone();
        let driver = Driver(tokio::spawn(async move {
            if let Err(error) = connection.await {
                let error = http.secrets().hide_in_text(error.to_string());
                tracing::debug!(error, "database connection ended");
            }
        }));
        Ok(Session { client, driver })
    }
}

impl Session {
    /// Closes the connection properly.
    pub(super) async fn close(self) {
        let Self { client, mut driver } = self;
        drop(client);
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, &mut driver.0).await;
    }
}

/// Converts a database's error.
pub(super) fn store_error(error: &tokio_postgres::Error) -> StoreError {
    let text = explain(error);
    match error.code() {
        Some(code) if *code == SqlState::UNDEFINED_TABLE => {
            StoreError::store(format!("{text}; a writer with `create_if_not_exist` creates the table"))
        }
        // Class 22: data exceptions.
        Some(code) if code.code().starts_with("22") => StoreError::value(text),
        _ => StoreError::store(text),
    }
}

fn explain(error: &tokio_postgres::Error) -> String {
    if let Some(error) = error.as_db_error() {
        return error.message().to_owned();
    }
    error.source().map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}

/// Encrypts the connection if the server supports it (`sslmode=prefer`, as in the reference's client), and accepts any
/// certificate: an attacker who can intercept the connection could also claim that the server does not support
/// encryption.
struct Encrypt {
    host: String,
}

impl TlsConnect<TcpStream> for Encrypt {
    type Stream = Encrypted;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Encrypted>> + Send>>;

    fn connect(self, stream: TcpStream) -> Self::Future {
        Box::pin(async move {
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let name = ServerName::try_from(self.host).map_err(io::Error::other)?;
            let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
                .with_safe_default_protocol_versions()
                .map_err(io::Error::other)?
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(AcceptAnyCertificate(provider)))
                .with_no_client_auth();
            let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
            Ok(Encrypted(connector.connect(name, stream).await?))
        })
    }
}

struct Encrypted(tokio_rustls::client::TlsStream<TcpStream>);

impl TlsStream for Encrypted {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl AsyncRead for Encrypted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Encrypted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// Accepts any certificate whose key signed the handshake.
#[derive(Debug)]
struct AcceptAnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
