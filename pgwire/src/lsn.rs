//! [`Lsn`]: a position in the WAL.

use std::fmt;
use std::str::FromStr;

use crate::error::{Fault, Malformed};

/// A position in the WAL, in bytes since its beginning.
///
/// Printed as PostgreSQL prints it: high and low half in upper-case hex, `16/B374D848`. Parsing
/// also takes lower case and padding (newer servers pad the low half to eight digits).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Lsn(pub u64);

impl Lsn {
    /// `0/0`: no position. As a start it means "from where the slot stands".
    pub const ZERO: Self = Self(0);
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xffff_ffff)
    }
}

impl fmt::Debug for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Lsn {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let fault = |at, fault| Malformed {
            message: "pg_lsn",
            field: "text",
            at,
            fault,
        };
        let Some((high, low)) = text.split_once('/') else {
            return Err(fault(text.len(), Fault::Syntax));
        };
        let half = |part: &str, at: usize| {
            let hex = (1..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_hexdigit());
            if !hex {
                return Err(fault(at, Fault::Syntax));
            }
            u64::from_str_radix(part, 16).map_err(|_| fault(at, Fault::Syntax))
        };
        Ok(Self(half(high, 0)? << 32 | half(low, high.len() + 1)?))
    }
}

impl From<Lsn> for u64 {
    fn from(lsn: Lsn) -> Self {
        lsn.0
    }
}

impl From<u64> for Lsn {
    fn from(value: u64) -> Self {
        Self(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn prints_as_postgresql_does() {
        assert_eq!(Lsn(0x16_B374_D848).to_string(), "16/B374D848");
        assert_eq!(Lsn::ZERO.to_string(), "0/0");
        assert_eq!("16/b374d848".parse(), Ok(Lsn(0x16_B374_D848)));
        assert_eq!("0/0000ABCD".parse(), Ok(Lsn(0xABCD)));
        for bad in [
            "",
            "/",
            "1/",
            "/1",
            "1/2/3",
            "+1/2",
            "1/123456789",
            "g/1",
            " 1/2",
        ] {
            assert!(bad.parse::<Lsn>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn text_is_identity(value: u64) {
            prop_assert_eq!(Lsn(value).to_string().parse(), Ok(Lsn(value)));
        }
    }
}
