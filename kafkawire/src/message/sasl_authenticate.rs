//! SaslAuthenticate (36): the tokens of a SASL mechanism, one exchange each.

use crate::error_code::ErrorCode;

messages! {
    /// What the mechanism says.
    request SaslAuthenticateRequest: SASL_AUTHENTICATE 0..=2 flexible 2 {
        auth_bytes: Vec<u8> [0..],
    }

    /// What the mechanism answers; a lifetime above 0 ms ends the connection after it.
    response SaslAuthenticateResponse: SASL_AUTHENTICATE 0..=2 flexible 2 {
        error_code: ErrorCode [0..],
        error_message: Option<String> [0..],
        auth_bytes: Vec<u8> [0..],
        session_lifetime_ms: i64 [1..],
    }
}
