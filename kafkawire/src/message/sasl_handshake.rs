//! SaslHandshake (17): which mechanism the connection authenticates by.

use crate::error_code::ErrorCode;

messages! {
    /// The mechanism that the client wants.
    request SaslHandshakeRequest: SASL_HANDSHAKE 0..=1 flexible (i16::MAX) {
        mechanism: String [0..],
    }

    /// Error 33 comes with the mechanisms that are enabled.
    response SaslHandshakeResponse: SASL_HANDSHAKE 0..=1 flexible (i16::MAX) {
        error_code: ErrorCode [0..],
        mechanisms: Vec<String> [0..],
    }
}
