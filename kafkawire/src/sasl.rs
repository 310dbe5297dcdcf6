//! The client's side of the SASL mechanisms: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512.
//!
//! Source: RFC 4616, RFC 5802, RFC 7677. Kafka applies no SASLprep: names and passwords are UTF-8
//! as they stand.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{EagerHash, Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256, Sha512};

use crate::error::{Error, Fault};

/// How a connection proves who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// The password itself; over TLS, or on a loopback.
    Plain,
    /// A proof by SHA-256.
    ScramSha256,
    /// A proof by SHA-512.
    ScramSha512,
}

impl Mechanism {
    /// The name that SaslHandshake carries.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// Mechanism, user and password. Prints without the password.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// How to authenticate.
    pub mechanism: Mechanism,
    /// Who.
    pub user: String,
    /// The secret.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("mechanism", &self.mechanism)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// A server that asks for more rounds than this wants our processor, not our password.
const ITERATIONS_MAX: u32 = 1_000_000;
/// RFC 7677, and what Kafka enforces.
const ITERATIONS_MIN: u32 = 4096;
/// The GS2 header `n,,`, in base64.
const CHANNEL: &str = "biws";
/// What errors call the server's messages.
const MESSAGE: &str = "SASL answer";

/// One authentication: [`first`](Self::first), then [`answer`](Self::answer) until it gives `None`.
#[derive(Debug)]
pub struct Exchange {
    credentials: Credentials,
    nonce: String,
    state: State,
}

#[derive(Debug)]
enum State {
    /// The first message is out, or will be.
    First,
    /// The proof is out; the server must show that it knows the password too.
    Final {
        signature: Vec<u8>,
    },
    Done,
}

impl Exchange {
    /// Begins. `nonce` is fresh and printable ASCII without a comma; PLAIN does not use it.
    #[must_use]
    pub fn new(credentials: Credentials, nonce: String) -> Self {
        Self {
            credentials,
            nonce,
            state: State::First,
        }
    }

    /// How the client authenticates.
    #[must_use]
    pub fn mechanism(&self) -> Mechanism {
        self.credentials.mechanism
    }

    /// The client's first message.
    #[must_use]
    pub fn first(&self) -> Vec<u8> {
        let Credentials {
            mechanism,
            user,
            password,
        } = &self.credentials;
        match mechanism {
            Mechanism::Plain => format!("\0{user}\0{password}").into_bytes(),
            _ => format!("n,,{}", self.first_bare()).into_bytes(),
        }
    }

    /// Takes the server's message, gives the client's next one; `None` when both sides are done.
    ///
    /// Errors: `Malformed` for a message outside the grammar, `Unexpected` for a server that does
    /// not know the password or speaks out of turn.
    pub fn answer(&mut self, message: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        match (
            std::mem::replace(&mut self.state, State::Done),
            self.credentials.mechanism,
        ) {
            (State::First, Mechanism::Plain) => Ok(None),
            (State::First, Mechanism::ScramSha256) => self.prove::<Sha256>(message).map(Some),
            (State::First, Mechanism::ScramSha512) => self.prove::<Sha512>(message).map(Some),
            (State::Final { signature }, _) => verify(message, &signature).map(|()| None),
            (State::Done, _) => Err(Error::Unexpected {
                state: "authenticated",
                message: MESSAGE,
            }),
        }
    }

    fn first_bare(&self) -> String {
        let user = self
            .credentials
            .user
            .replace('=', "=3D")
            .replace(',', "=2C");
        format!("n={user},r={}", self.nonce)
    }

    fn prove<D: EagerHash + Digest>(&mut self, message: &[u8]) -> Result<Vec<u8>, Error>
    where
        Hmac<D>: Mac + KeyInit + Clone,
    {
        let server_first = std::str::from_utf8(message).map_err(|_| fault("text", Fault::Utf8))?;
        let mut attributes = server_first.split(',');
        let mut take = |name: &'static str, prefix: &str| {
            let attribute = attributes
                .next()
                .and_then(|attribute| attribute.strip_prefix(prefix));
            attribute.ok_or_else(|| fault(name, Fault::Value))
        };
        let nonce = take("nonce", "r=")?;
        let salt = take("salt", "s=")?;
        let iterations = take("iterations", "i=")?;
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err(fault("nonce", Fault::Value));
        }
        let salt = BASE64
            .decode(salt)
            .map_err(|_| fault("salt", Fault::Value))?;
        let iterations = iterations
            .parse()
            .ok()
            .filter(|rounds| (ITERATIONS_MIN..=ITERATIONS_MAX).contains(rounds))
            .ok_or_else(|| fault("iterations", Fault::Value))?;

        let without_proof = format!("c={CHANNEL},r={nonce}");
        let signed = format!("{},{server_first},{without_proof}", self.first_bare());
        let salted = salt_password::<D>(self.credentials.password.as_bytes(), &salt, iterations);
        let client_key = hmac::<D>(&salted, &[b"Client Key"]);
        let stored_key = D::digest(&client_key).to_vec();
        let mut proof = client_key;
        xor(&mut proof, &hmac::<D>(&stored_key, &[signed.as_bytes()]));
        let server_key = hmac::<D>(&salted, &[b"Server Key"]);
        let signature = hmac::<D>(&server_key, &[signed.as_bytes()]);
        self.state = State::Final { signature };
        Ok(format!("{without_proof},p={}", BASE64.encode(proof)).into_bytes())
    }
}

/// `v=<signature>`, or `e=<reason>`.
fn verify(message: &[u8], signature: &[u8]) -> Result<(), Error> {
    let text = std::str::from_utf8(message).map_err(|_| fault("text", Fault::Utf8))?;
    let shown = text
        .split(',')
        .next()
        .and_then(|attribute| attribute.strip_prefix("v="));
    let shown = shown.ok_or_else(|| fault("verifier", Fault::Value))?;
    let shown = BASE64
        .decode(shown)
        .map_err(|_| fault("verifier", Fault::Value))?;
    if shown == signature {
        Ok(())
    } else {
        Err(Error::Unexpected {
            state: "waiting for the server's proof",
            message: "proof of another password",
        })
    }
}

fn fault(field: &'static str, fault: Fault) -> Error {
    Error::Malformed {
        message: MESSAGE,
        field,
        at: 0,
        fault,
    }
}

fn xor(bytes: &mut [u8], with: &[u8]) {
    for (byte, with) in bytes.iter_mut().zip(with) {
        *byte ^= with;
    }
}

fn hmac<D: EagerHash>(key: &[u8], parts: &[&[u8]]) -> Vec<u8>
where
    Hmac<D>: Mac + KeyInit + Clone,
{
    keyed::<D>(key)
        .map(|mac| finish(mac, parts))
        .unwrap_or_default()
}

/// HMAC takes a key of any length, so this is never `None`.
fn keyed<D: EagerHash>(key: &[u8]) -> Option<Hmac<D>>
where
    Hmac<D>: Mac + KeyInit + Clone,
{
    <Hmac<D> as KeyInit>::new_from_slice(key).ok()
}

fn finish<M: Mac>(mut mac: M, parts: &[&[u8]]) -> Vec<u8> {
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().to_vec()
}

/// PBKDF2 with one block, which is all that SCRAM needs.
fn salt_password<D: EagerHash>(password: &[u8], salt: &[u8], iterations: u32) -> Vec<u8>
where
    Hmac<D>: Mac + KeyInit + Clone,
{
    let Some(mac) = keyed::<D>(password) else {
        return Vec::new();
    };
    let mut round = finish(mac.clone(), &[salt, &[0, 0, 0, 1]]);
    let mut salted = round.clone();
    for _ in 1..iterations {
        round = finish(mac.clone(), &[&round]);
        xor(&mut salted, &round);
    }
    salted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange(mechanism: Mechanism, nonce: &str) -> Exchange {
        let credentials = Credentials {
            mechanism,
            user: "user".to_owned(),
            password: "pencil".to_owned(),
        };
        Exchange::new(credentials, nonce.to_owned())
    }

    /// The first pair is the example of RFC 7677, the second was computed by Java.
    #[test]
    fn scram_as_the_specification_shows_it() {
        for (mechanism, proof, verifier) in [
            (
                Mechanism::ScramSha256,
                "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
                "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
            ),
            (
                Mechanism::ScramSha512,
                "gMGXRcevScNtxZ6/8lQYpGtnsNAc3mGcmNomv+xnoOMw\
                 +3R2xNJdMNnzMlTN8PPC6wdp6dybEmDYXYTxwnYPJQ==",
                "ZQnYEgWQMFmmsM8aQMF0nDDCy/AgCzkwk8CmMZYcMg0v\
                 SVlKDanekLtifDSeVGT4+5ZxXnJq199RVG2rR7N7Zw==",
            ),
        ] {
            let mut exchange = exchange(mechanism, "rOprNGfwEbeRWgbNEkqO");
            assert_eq!(exchange.first(), b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
            let nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
            let server_first = format!("r={nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
            let answer = exchange.answer(server_first.as_bytes()).unwrap().unwrap();
            assert_eq!(answer, format!("c=biws,r={nonce},p={proof}").into_bytes());
            assert_eq!(
                exchange.answer(format!("v={verifier}").as_bytes()),
                Ok(None)
            );
            assert!(exchange.answer(b"").is_err());
        }
    }

    #[test]
    fn a_server_may_not_cheat() {
        for server_first in [
            "r=other,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            "r=abc,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            "r=abcd,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4095",
            "r=abcd,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4000000000",
            "r=abcd,s=?,i=4096",
            "",
        ] {
            let error = exchange(Mechanism::ScramSha256, "abc").answer(server_first.as_bytes());
            assert!(error.is_err(), "{server_first}");
        }
        let mut honest = exchange(Mechanism::ScramSha256, "abc");
        honest
            .answer(b"r=abcd,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096")
            .unwrap();
        let error = honest.answer(b"v=AAAA").unwrap_err();
        assert!(matches!(error, Error::Unexpected { .. }), "{error}");
    }

    #[test]
    fn names_are_escaped_and_plain_is_plain() {
        let mut credentials = exchange(Mechanism::ScramSha512, "").credentials;
        credentials.user = "a=b,c".to_owned();
        let first = Exchange::new(credentials.clone(), "n".to_owned()).first();
        assert_eq!(first, b"n,,n=a=3Db=2Cc,r=n");
        credentials.mechanism = Mechanism::Plain;
        let mut plain = Exchange::new(credentials, String::new());
        assert_eq!(plain.first(), b"\0a=b,c\0pencil");
        assert_eq!(plain.answer(b""), Ok(None));
    }
}
