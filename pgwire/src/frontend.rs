//! What we say: one appending function per message.
//!
//! Text ends at its first zero byte: the protocol cannot carry one.
//!
//! Source: PostgreSQL documentation, "Message Formats".

use crate::write::{Length, put_cstr, put_i16, put_i32, put_u32};

/// Protocol 3.0. Newer ones bring us nothing, and some poolers break on them.
pub const PROTOCOL: u32 = 196_608;

/// Asks for TLS: the answer is a single byte, `S` or `N`, which whoever owns the socket reads,
/// and nothing more than it, before the handshake.
pub fn ssl_request(out: &mut Vec<u8>) {
    out.extend_from_slice(&[0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f]);
}

/// The first message of a session: names and values.
pub fn startup<'a>(out: &mut Vec<u8>, parameters: impl IntoIterator<Item = (&'a str, &'a str)>) {
    let mut message = Length::open_untagged(out);
    put_u32(message.body(), PROTOCOL);
    for (name, value) in parameters {
        put_cstr(message.body(), name.as_bytes());
        put_cstr(message.body(), value.as_bytes());
    }
    message.body().push(0);
    message.seal();
}

/// Cancels what a session is doing, from another connection; there is no answer.
pub fn cancel_request(out: &mut Vec<u8>, pid: u32, key: &[u8]) {
    let mut message = Length::open_untagged(out);
    put_u32(message.body(), 80_877_102);
    put_u32(message.body(), pid);
    message.body().extend_from_slice(key);
    message.seal();
}

/// `p`: a password, in clear or hashed.
pub fn password(out: &mut Vec<u8>, password: &[u8]) {
    let mut message = Length::open(out, b'p');
    put_cstr(message.body(), password);
    message.seal();
}

/// `p`: a SASL mechanism and our first message in it.
pub fn sasl_initial_response(out: &mut Vec<u8>, mechanism: &str, response: &[u8]) {
    let mut message = Length::open(out, b'p');
    put_cstr(message.body(), mechanism.as_bytes());
    put_i32(message.body(), i32::try_from(response.len()).unwrap_or(-1));
    message.body().extend_from_slice(response);
    message.seal();
}

/// `p`: our next message in a SASL mechanism.
pub fn sasl_response(out: &mut Vec<u8>, response: &[u8]) {
    put_bytes(out, b'p', response);
}

/// `Q`: a simple query; the answer ends with ReadyForQuery.
pub fn query(out: &mut Vec<u8>, sql: &str) {
    let mut message = Length::open(out, b'Q');
    put_cstr(message.body(), sql.as_bytes());
    message.seal();
}

/// `P`: prepares `sql` under `statement` (empty: the unnamed one); oids of parameters, 0 for the
/// server's choice.
pub fn parse(out: &mut Vec<u8>, statement: &str, sql: &str, parameter_oids: &[u32]) {
    let mut message = Length::open(out, b'P');
    let body = message.body();
    put_cstr(body, statement.as_bytes());
    put_cstr(body, sql.as_bytes());
    put_count(body, parameter_oids.len());
    for &oid in parameter_oids {
        put_u32(body, oid);
    }
    message.seal();
}

/// `B`: binds parameters to a statement, making a portal. Formats: 0 text, 1 binary; an empty list
/// is all text, a list of one stands for all.
pub fn bind(
    out: &mut Vec<u8>,
    portal: &str,
    statement: &str,
    parameter_formats: &[i16],
    parameters: &[Option<&[u8]>],
    result_formats: &[i16],
) {
    let put = |index: usize, out: &mut Vec<u8>| {
        let parameter = parameters.get(index).copied().flatten();
        parameter.is_some_and(|bytes| {
            out.extend_from_slice(bytes);
            true
        })
    };
    let count = parameters.len();
    bind_with(
        out,
        portal,
        statement,
        parameter_formats,
        (count, put),
        result_formats,
    );
}

/// As [`bind`], for parameters that are written where they go: how many there are, and what
/// appends one by its index, or says `false` for NULL.
pub fn bind_with(
    out: &mut Vec<u8>,
    portal: &str,
    statement: &str,
    parameter_formats: &[i16],
    (count, mut put): (usize, impl FnMut(usize, &mut Vec<u8>) -> bool),
    result_formats: &[i16],
) {
    let mut message = Length::open(out, b'B');
    let body = message.body();
    put_cstr(body, portal.as_bytes());
    put_cstr(body, statement.as_bytes());
    put_count(body, parameter_formats.len());
    for &format in parameter_formats {
        put_i16(body, format);
    }
    put_count(body, count);
    for index in 0..count {
        let at = body.len();
        put_i32(body, -1);
        let length = match put(index, body) {
            true => i32::try_from(body.len() - at - 4).ok(),
            false => None,
        };
        match (length, body.get_mut(at..at + 4)) {
            (Some(length), Some(place)) => place.copy_from_slice(&length.to_be_bytes()),
            // NULL, and what no message can hold.
            _ => body.truncate(at + 4),
        }
    }
    put_count(body, result_formats.len());
    for &format in result_formats {
        put_i16(body, format);
    }
    message.seal();
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    let count = u16::try_from(count);
    assert!(
        count.is_ok(),
        "a message of ours has more than 65535 parameters"
    );
    out.extend_from_slice(&count.unwrap_or_default().to_be_bytes());
}

/// `D`: describes the statement of that name.
pub fn describe_statement(out: &mut Vec<u8>, statement: &str) {
    let mut message = Length::open(out, b'D');
    message.body().push(b'S');
    put_cstr(message.body(), statement.as_bytes());
    message.seal();
}

/// `E`: runs a portal, to at most `rows_max` rows; 0 for all.
pub fn execute(out: &mut Vec<u8>, portal: &str, rows_max: i32) {
    let mut message = Length::open(out, b'E');
    put_cstr(message.body(), portal.as_bytes());
    put_i32(message.body(), rows_max);
    message.seal();
}

/// `C`: forgets the statement of that name.
pub fn close_statement(out: &mut Vec<u8>, statement: &str) {
    let mut message = Length::open(out, b'C');
    message.body().push(b'S');
    put_cstr(message.body(), statement.as_bytes());
    message.seal();
}

/// `S`: ends a run of extended messages; the server answers ReadyForQuery.
pub fn sync(out: &mut Vec<u8>) {
    put_bytes(out, b'S', &[]);
}

/// `H`: asks for what is ready of the answers, without ending the run.
pub fn flush(out: &mut Vec<u8>) {
    put_bytes(out, b'H', &[]);
}

/// `d`: bytes of a COPY.
pub fn copy_data(out: &mut Vec<u8>, bytes: &[u8]) {
    put_bytes(out, b'd', bytes);
}

/// `c`: our COPY is complete.
pub fn copy_done(out: &mut Vec<u8>) {
    put_bytes(out, b'c', &[]);
}

/// `f`: our COPY failed; the server will say so in its error.
pub fn copy_fail(out: &mut Vec<u8>, reason: &str) {
    let mut message = Length::open(out, b'f');
    put_cstr(message.body(), reason.as_bytes());
    message.seal();
}

/// `X`: we leave.
pub fn terminate(out: &mut Vec<u8>) {
    put_bytes(out, b'X', &[]);
}

fn put_bytes(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    let mut message = Length::open(out, tag);
    message.body().extend_from_slice(bytes);
    message.seal();
}
