//! Claims about Kafka's frames, messages and connections, for bytes that nobody vouches for.

use kafkawire::connection::{Connection, Event};
use kafkawire::error::Error;
use kafkawire::frame::{self, RequestHeader};
use kafkawire::message::metadata::{MetadataRequest, MetadataResponse};
use kafkawire::message::{ApiKey, Role, transcode};
use kafkawire::sasl::{Credentials, Exchange, Mechanism};

/// A message that was read writes the same bytes whenever it is read again; and what is read is
/// never much larger than what was there to read.
///
/// Input: `api u8 | version u8 | body ..`.
pub fn message(data: &[u8]) {
    let [api, version, body @ ..] = data else {
        return;
    };
    let Some(&api) = ApiKey::ALL.get(usize::from(*api) % ApiKey::ALL.len()) else {
        return;
    };
    let (low, high) = api.versions().unwrap_or_default();
    let version = low + i16::from(*version) % (high - low + 1);
    for role in [Role::Request, Role::Response] {
        match transcode(api, role, version, body) {
            Ok(ours) => {
                assert!(
                    ours.len() <= body.len(),
                    "{api} v{version}: our own way is the shortest"
                );
                assert_eq!(
                    transcode(api, role, version, &ours),
                    Ok(ours),
                    "{api} v{version}"
                );
            }
            Err(Error::Malformed { at, .. }) => assert!(at <= body.len(), "{api} v{version}"),
            Err(error) => panic!("{api} v{version}: {error}"),
        }
    }
}

/// Frames cut the stream without loss; a header that is read is written back as it was.
pub fn frames(data: &[u8]) {
    const SIZE_MAX: usize = 1 << 16;
    let mut rest = data;
    while let Ok(Some((body, consumed))) = frame::split(rest, SIZE_MAX) {
        assert_eq!(consumed, body.len() + 4);
        assert!(body.len() <= SIZE_MAX);
        if let Ok((header, left)) = RequestHeader::split(body) {
            let mut again = Vec::new();
            header.put(&mut again);
            again.extend_from_slice(left);
            let (header_again, left_again) = RequestHeader::split(&again).expect("our own header");
            assert_eq!((header_again, left_again), (header, left));
        }
        rest = &rest[consumed..];
    }
}

/// A broker that says anything at all: the connection never consumes what is not there, never
/// answers a request that was not made, and is ready only after versions and authentication.
///
/// Input: `mechanism u8 | what the broker sends ..`.
pub fn connection(data: &[u8]) {
    let Some((mechanism, mut sent)) = data.split_first() else {
        return;
    };
    let mechanism = match mechanism % 4 {
        0 => None,
        1 => Some(Mechanism::Plain),
        2 => Some(Mechanism::ScramSha256),
        _ => Some(Mechanism::ScramSha512),
    };
    if mechanism.is_some() && is_laborious(data) {
        return;
    }
    let (user, password) = ("user".to_owned(), "pencil".to_owned());
    let credentials = mechanism.map(|mechanism| Credentials {
        mechanism,
        user,
        password,
    });
    let mut connection = Connection::new("fuzz", credentials, "nonce".to_owned());
    let mut out = Vec::new();
    connection.start(&mut out);
    let (mut asked, mut answered, mut ready) = (0, 0, false);
    while let Ok(Some((event, consumed))) = connection.next(sent, &mut out) {
        assert!(consumed >= 4 && consumed <= sent.len());
        sent = &sent[consumed..];
        match event {
            Event::Progress => assert!(!ready && !connection.is_ready()),
            Event::Ready => {
                assert!(!ready && connection.is_ready());
                ready = true;
            }
            Event::Answer(answer) => {
                answered += 1;
                assert!(ready && answered <= asked);
                let _ = answer.decode::<MetadataResponse>();
            }
        }
        if ready
            && connection
                .send(&MetadataRequest::default(), &mut out)
                .is_ok()
        {
            asked += 1;
        }
    }
}

/// Whether a server asks for so many rounds that a test would notice; a real one asks for 4096.
fn is_laborious(data: &[u8]) -> bool {
    let rounds = data.windows(7).filter(|window| window.starts_with(b"i="));
    rounds
        .into_iter()
        .any(|window| window[2..].iter().all(u8::is_ascii_digit))
}

/// A server that says anything at all never talks SCRAM into accepting it.
///
/// Input: `mechanism u8 | the server's first message`.
pub fn scram(data: &[u8]) {
    let Some((mechanism, message)) = data.split_first() else {
        return;
    };
    if is_laborious(message) {
        return;
    }
    let mechanism = if mechanism % 2 == 0 {
        Mechanism::ScramSha256
    } else {
        Mechanism::ScramSha512
    };
    let (user, password) = ("user".to_owned(), "pencil".to_owned());
    let credentials = Credentials {
        mechanism,
        user,
        password,
    };
    let mut exchange = Exchange::new(credentials, "fyko+d2lbbFgONRv9qkxdawL".to_owned());
    if let Ok(proof) = exchange.answer(message) {
        assert!(proof.is_some(), "the first answer is a proof");
        assert!(
            exchange.answer(message).is_err(),
            "a challenge is not a signature"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cheap bytes with structure: small numbers, so that lengths and counts are often possible.
    fn noise(seed: u64, length: usize) -> Vec<u8> {
        let mut state = seed;
        let mut byte = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let high = state.to_be_bytes();
            if high[1] < 200 { high[0] % 4 } else { high[2] }
        };
        (0..length).map(|_| byte()).collect()
    }

    #[test]
    fn noise_is_survived() {
        for seed in 0..6000 {
            let length = usize::try_from(seed % 90).unwrap();
            let data = noise(seed, length);
            message(&data);
            frames(&data);
            connection(&data);
        }
        scram(b"\0r=fyko+d2lbbFgONRv9qkxdawL3,s=QSXCR+Q6sek8bf92,i=4096");
    }
}
