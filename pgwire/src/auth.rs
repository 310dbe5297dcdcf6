//! How we prove who we are: MD5 and SCRAM-SHA-256. The nonce is an argument.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};
use sha2::Sha256;

use crate::error::{Fault, Malformed};

/// More rounds than this and we refuse: they are the server's wish, and our processor's time.
pub const ITERATIONS_MAX: u32 = 10_000_000;

/// The name of the mechanism.
pub const SCRAM_SHA_256: &str = "SCRAM-SHA-256";

/// The answer to an MD5 request: `md5` and 32 hex digits of md5(hex(md5(password user)) salt).
#[must_use]
pub fn md5(user: &str, password: &str, salt: [u8; 4]) -> Vec<u8> {
    let inner = hex(&Md5::new()
        .chain_update(password)
        .chain_update(user)
        .finalize());
    let outer = hex(&Md5::new().chain_update(inner).chain_update(salt).finalize());
    [b"md5", outer.as_slice()].concat()
}

fn hex(bytes: &[u8]) -> Vec<u8> {
    let digit = |nibble: u8| {
        if nibble < 10 {
            b'0' + nibble
        } else {
            b'a' + nibble - 10
        }
    };
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

/// One exchange of SCRAM-SHA-256, without channel binding.
///
/// Calls in order: [`Self::new`], [`Self::client_first`], [`Self::respond`], [`Self::verify`].
/// Printable ASCII passwords are used as they are; SASLprep would change only others, and
/// those are taken as already normalised.
///
/// Source: RFC 5802, RFC 7677; PostgreSQL documentation, "SASL Authentication".
#[derive(Clone)]
pub struct Scram {
    password: Vec<u8>,
    client_first_bare: String,
    nonce_length: usize,
    server_signature: Option<[u8; 32]>,
}

impl std::fmt::Debug for Scram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scram")
            .field("client_first_bare", &self.client_first_bare)
            .finish()
    }
}

/// gs2-header: no channel binding on our side, no other identity.
const GS2_HEADER: &str = "n,,";

impl Scram {
    /// An exchange with `nonce`, printable ASCII without a comma, never used before. PostgreSQL
    /// takes the user from the startup message, so `user` is empty there.
    #[must_use]
    pub fn new(user: &str, password: &[u8], nonce: &str) -> Self {
        Self {
            password: password.to_vec(),
            client_first_bare: format!("n={user},r={nonce}"),
            nonce_length: nonce.len(),
            server_signature: None,
        }
    }

    /// client-first-message.
    #[must_use]
    pub fn client_first(&self) -> String {
        format!("{GS2_HEADER}{}", self.client_first_bare)
    }

    /// client-final-message, in answer to server-first-message.
    ///
    /// Errors: `Malformed` when the server's message is no `r=..,s=..,i=..`, its nonce does not
    /// begin with ours and go on, or it wants more rounds than [`ITERATIONS_MAX`].
    pub fn respond(&mut self, server_first: &[u8]) -> Result<String, Malformed> {
        let parsed = ServerFirst::parse(server_first)?;
        let start = self.client_first_bare.len() - self.nonce_length;
        let ours = self.client_first_bare.get(start..).unwrap_or_default();
        if !parsed.nonce.starts_with(ours) || parsed.nonce.len() == ours.len() {
            return Err(fault(
                "SCRAM server-first-message",
                "nonce",
                Fault::Mismatch,
            ));
        }
        let salted_password = pbkdf2(&self.password, &parsed.salt, parsed.iterations);
        let client_key = hmac(&salted_password, &[b"Client Key"]);
        let stored_key = Sha256::digest(client_key);
        let server_key = hmac(&salted_password, &[b"Server Key"]);
        let without_proof = format!("c={},r={}", BASE64.encode(GS2_HEADER), parsed.nonce);
        let auth_message: [&[u8]; 5] = [
            self.client_first_bare.as_bytes(),
            b",",
            server_first,
            b",",
            without_proof.as_bytes(),
        ];
        let mut proof = hmac(&stored_key, &auth_message);
        for (byte, key) in proof.iter_mut().zip(client_key) {
            *byte ^= key;
        }
        self.server_signature = Some(hmac(&server_key, &auth_message));
        Ok(format!("{without_proof},p={}", BASE64.encode(proof)))
    }

    /// Checks server-final-message: only who knows the password's secret can sign it.
    ///
    /// Errors: `Malformed`, with [`Fault::Mismatch`] when the signature is not the server's.
    pub fn verify(&self, server_final: &[u8]) -> Result<(), Malformed> {
        let fault = |fault_| fault("SCRAM server-final-message", "signature", fault_);
        let text = std::str::from_utf8(server_final).map_err(|_| fault(Fault::NotUtf8))?;
        let attribute = text
            .split(',')
            .next()
            .and_then(|first| first.strip_prefix("v="));
        let signature = attribute.and_then(|value| BASE64.decode(value).ok());
        let Some(signature) = signature else {
            return Err(fault(Fault::Syntax));
        };
        let Some(expected) = self.server_signature else {
            return Err(fault(Fault::Mismatch));
        };
        // Every byte is looked at, whichever differs.
        let difference = expected
            .iter()
            .zip(&signature)
            .fold(0, |all, (a, b)| all | (a ^ b));
        if difference != 0 || signature.len() != expected.len() {
            return Err(fault(Fault::Mismatch));
        }
        Ok(())
    }
}

/// server-first-message: `r=<nonce>,s=<salt, base64>,i=<rounds>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerFirst<'b> {
    /// Ours, then the server's.
    pub nonce: &'b str,
    /// Of the stored password.
    pub salt: Vec<u8>,
    /// Rounds of hashing.
    pub iterations: u32,
}

impl<'b> ServerFirst<'b> {
    /// Parses the message; extensions behind the three attributes are allowed, and ignored.
    ///
    /// Errors: `Malformed`.
    pub fn parse(bytes: &'b [u8]) -> Result<Self, Malformed> {
        let fault = |field, fault_| fault("SCRAM server-first-message", field, fault_);
        let text = std::str::from_utf8(bytes).map_err(|_| fault("text", Fault::NotUtf8))?;
        let mut attributes = text.split(',');
        let mut take = |field, prefix| {
            let value = attributes
                .next()
                .and_then(|attribute| attribute.strip_prefix(prefix));
            value.ok_or_else(|| fault(field, Fault::Syntax))
        };
        let nonce = take("nonce", "r=")?;
        let salt = take("salt", "s=")?;
        let iterations = take("iterations", "i=")?;
        if nonce.is_empty() || !nonce.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(fault("nonce", Fault::Syntax));
        }
        let salt = BASE64
            .decode(salt)
            .map_err(|_| fault("salt", Fault::Syntax))?;
        if salt.is_empty() {
            return Err(fault("salt", Fault::Syntax));
        }
        if !iterations.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(fault("iterations", Fault::Syntax));
        }
        match iterations.parse() {
            Ok(iterations @ 1..=ITERATIONS_MAX) => Ok(Self {
                nonce,
                salt,
                iterations,
            }),
            _ => Err(fault("iterations", Fault::Range)),
        }
    }
}

#[cold]
fn fault(message: &'static str, field: &'static str, fault: Fault) -> Malformed {
    Malformed {
        message,
        field,
        at: 0,
        fault,
    }
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    // HMAC takes a key of any length; the error is for other constructions.
    match Hmac::new_from_slice(key) {
        Ok(mac) => mac,
        Err(_) => unreachable!("HMAC takes a key of any length"),
    }
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = keyed(key);
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// PBKDF2 with HMAC-SHA-256, one block of output.
fn pbkdf2(password: &[u8], salt: &[u8], iterations: u32) -> [u8; 32] {
    let keyed = keyed(password);
    let round = |input: &[u8]| -> [u8; 32] {
        let mut mac = keyed.clone();
        mac.update(input);
        mac.finalize().into_bytes().into()
    };
    let mut last = round(&[salt, &[0, 0, 0, 1]].concat());
    let mut sum = last;
    for _ in 1..iterations {
        last = round(&last);
        for (byte, other) in sum.iter_mut().zip(last) {
            *byte ^= other;
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn md5_as_the_server_hashes() {
        let answer = md5("u_md5", "pencil", [0xa1, 0xb2, 0xc3, 0xd4]);
        assert_eq!(answer, b"md582664affddcdac5af727399582cd7d07");
    }

    /// An exchange with a PostgreSQL 15.18, and the one in RFC 7677.
    #[test]
    fn scram_exchanges() {
        let cases = [
            (
                "",
                "fyko+d2lbbFgONRv9qkxdawL",
                "r=fyko+d2lbbFgONRv9qkxdawL6lWJgTHcYh66RH7WDM5plKtJ,s=RaRxzfM2QNi3f4GJ4v0GhQ==,i=4096",
                "c=biws,r=fyko+d2lbbFgONRv9qkxdawL6lWJgTHcYh66RH7WDM5plKtJ,p=bmapE+EPoy2IcGfdVts+9FwMRLM+94MY36VjSyN9fgY=",
                "v=dxVNiHGp/CqDEft8plWYkvmjNZ+zJpV5RN8rNkmTbxo=",
            ),
            (
                "user",
                "rOprNGfwEbeRWgbNEkqO",
                "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
                "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
                "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
            ),
        ];
        for (user, nonce, server_first, client_final, server_final) in cases {
            let mut scram = Scram::new(user, b"pencil", nonce);
            assert_eq!(scram.client_first(), format!("n,,n={user},r={nonce}"));
            assert!(
                scram.verify(server_final.as_bytes()).is_err(),
                "before the exchange"
            );
            assert_eq!(
                scram.respond(server_first.as_bytes()).unwrap(),
                client_final
            );
            assert_eq!(scram.verify(server_final.as_bytes()), Ok(()));
            let other = format!("v={}", BASE64.encode([7; 32]));
            assert_eq!(
                scram.verify(other.as_bytes()).unwrap_err().fault,
                Fault::Mismatch
            );
            assert_eq!(scram.verify(b"v=").unwrap_err().fault, Fault::Mismatch);
            assert_eq!(
                scram.verify(b"e=other-error").unwrap_err().fault,
                Fault::Syntax
            );
        }
    }

    #[test]
    fn a_server_cannot_bend_the_exchange() {
        let faults = |server_first: &str| {
            let error = Scram::new("", b"pencil", "abc").respond(server_first.as_bytes());
            error.map_err(|error| (error.field, error.fault))
        };
        assert_eq!(faults("r=abc,s=QQ==,i=1"), Err(("nonce", Fault::Mismatch)));
        assert_eq!(faults("r=xbcd,s=QQ==,i=1"), Err(("nonce", Fault::Mismatch)));
        assert_eq!(faults("r=abcd,s=,i=1"), Err(("salt", Fault::Syntax)));
        assert_eq!(
            faults("r=abcd,s=QQ==,i=0"),
            Err(("iterations", Fault::Range))
        );
        assert_eq!(
            faults("r=abcd,s=QQ==,i=10000001"),
            Err(("iterations", Fault::Range))
        );
        assert_eq!(
            faults("r=abcd,s=QQ==,i=+1"),
            Err(("iterations", Fault::Syntax))
        );
        assert_eq!(
            faults("m=x,r=abcd,s=QQ==,i=1"),
            Err(("nonce", Fault::Syntax))
        );
        assert!(faults("r=abcd,s=QQ==,i=1,x=y").is_ok());
    }
}
