//! Requests and responses: one table of fields per message, read in both directions.
//!
//! A table states, per field and in the order of the wire, its type, the versions that have it, the
//! versions that may say null, its tag and its default:
//!
//! ```text
//! request MetadataRequest: METADATA 0..=13 flexible 9 {
//!     topics: Option<Vec<MetadataRequestTopic>> [0..] null [1..],
//!     allow_auto_topic_creation: bool [4..] = true,
//!     finalized_features: Vec<FinalizedFeatureKey> [3..] tag 2,
//! }
//! ```
//!
//! From it come the struct, its `Default`, [`Message::encode`] and [`Message::decode`]. A field
//! that a version does not have is left out when written and has its default when read; `None` in a
//! version without null is written as empty. Field names are Kafka's, so its own documentation
//! explains them. Source: Apache Kafka 4.4, `clients/src/main/resources/common/message`.
#![allow(
    missing_docs,
    reason = "the fields and modules carry Kafka's own names"
)]

use std::fmt;
use std::ops::RangeBounds;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::error::{Error, Fault};
use crate::error_code::ErrorCode;
use crate::read::Reader;
use crate::write::{put_bool, put_i8, put_i16, put_i32, put_i64, put_uvarint};

/// A request or a response, at any of its versions.
pub trait Message<'b>: Sized {
    /// The API that it belongs to.
    const API: ApiKey;
    /// Its name: `MetadataRequest`.
    const NAME: &'static str;
    /// The lowest and the highest version that it can be written and read at.
    const VERSIONS: (i16, i16);
    /// The first version with compact lengths and tagged fields; `i16::MAX`: none.
    const FLEXIBLE: i16;

    /// Appends the body, without size and header, as `version` has it.
    fn encode(&self, version: i16, out: &mut Vec<u8>);

    /// Reads a body that takes up the whole of `bytes`.
    ///
    /// Errors: `Malformed` when the bytes are not such a message, or go on behind it.
    fn decode(version: i16, bytes: &'b [u8]) -> Result<Self, Error>;
}

/// A [`Message`] that asks.
pub trait Request<'b>: Message<'b> {}

/// A [`Message`] that answers.
pub trait Response<'b>: Message<'b> {}

/// Which API a request is for. Numbers that this crate does not know survive.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApiKey(pub i16);

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "API {}", self.0),
        }
    }
}

/// The id of a topic: 16 bytes, all zero for none. Printed as Kafka's tools do, in URL-safe base64.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Uuid(pub [u8; 16]);

impl Uuid {
    /// No id.
    pub const ZERO: Self = Self([0; 16]);
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

/// How a field is written: all that the version decides.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Form {
    version: i16,
    flexible: bool,
    nullable: bool,
}

impl Form {
    pub(crate) fn new(version: i16, flexible_from: i16) -> Self {
        Self {
            version,
            flexible: version >= flexible_from,
            nullable: false,
        }
    }

    pub(crate) const fn inflexible_nullable() -> Self {
        Self {
            version: 0,
            flexible: false,
            nullable: true,
        }
    }

    fn nullable(self, nullable: bool) -> Self {
        Self { nullable, ..self }
    }
}

/// A type that a field can have.
pub(crate) trait Field<'b>: Sized {
    fn put(&self, form: Form, out: &mut Vec<u8>);
    fn take(reader: &mut Reader<'b>, field: &'static str, form: Form) -> Result<Self, Error>;

    /// Any value that `form` can carry.
    #[cfg(test)]
    fn sample(random: &mut tests::Random, form: Form) -> Self;
}

macro_rules! integers {
    ($($type:ty, $put:ident, $take:ident;)*) => {$(
        impl<'b> Field<'b> for $type {
            #[inline]
            fn put(&self, _: Form, out: &mut Vec<u8>) {
                $put(out, *self);
            }

            #[inline]
            fn take(reader: &mut Reader<'b>, field: &'static str, _: Form) -> Result<Self, Error> {
                reader.$take(field)
            }

            #[cfg(test)]
            fn sample(random: &mut tests::Random, _: Form) -> Self {
                Self::from_be_bytes(random.array())
            }
        }
    )*};
}

integers! {
    i8, put_i8, take_i8;
    i16, put_i16, take_i16;
    i32, put_i32, take_i32;
    i64, put_i64, take_i64;
}

impl<'b> Field<'b> for bool {
    fn put(&self, _: Form, out: &mut Vec<u8>) {
        put_bool(out, *self);
    }

    fn take(reader: &mut Reader<'b>, field: &'static str, _: Form) -> Result<Self, Error> {
        reader.take_bool(field)
    }

    #[cfg(test)]
    fn sample(random: &mut tests::Random, _: Form) -> Self {
        random.below(2) == 1
    }
}

impl<'b> Field<'b> for ErrorCode {
    fn put(&self, _: Form, out: &mut Vec<u8>) {
        put_i16(out, self.0);
    }

    fn take(reader: &mut Reader<'b>, field: &'static str, _: Form) -> Result<Self, Error> {
        reader.take_i16(field).map(Self)
    }

    #[cfg(test)]
    fn sample(random: &mut tests::Random, form: Form) -> Self {
        Self(i16::sample(random, form))
    }
}

impl<'b> Field<'b> for Uuid {
    fn put(&self, _: Form, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0);
    }

    fn take(reader: &mut Reader<'b>, field: &'static str, _: Form) -> Result<Self, Error> {
        reader.take_array(field).map(Self)
    }

    #[cfg(test)]
    fn sample(random: &mut tests::Random, _: Form) -> Self {
        Self(random.array())
    }
}

/// Strings and byte sequences: a length, then so many bytes.
impl<'b> Field<'b> for &'b str {
    fn put(&self, form: Form, out: &mut Vec<u8>) {
        // Int16 is all the room that older versions have. Names are far shorter; the text of an
        // error may be cut.
        let text = if form.flexible {
            self
        } else {
            self.get(..self.floor_char_boundary(STRING_BYTES_MAX))
                .unwrap_or_default()
        };
        put_string_length(out, form, Some(text.len()));
        out.extend_from_slice(text.as_bytes());
    }

    fn take(reader: &mut Reader<'b>, field: &'static str, form: Form) -> Result<Self, Error> {
        let null = reader.malformed(field, Fault::Null);
        let length = take_string_length(reader, field, form)?.ok_or(null)?;
        reader.take_str(field, length)
    }

    #[cfg(test)]
    fn sample(random: &mut tests::Random, _: Form) -> Self {
        random.text()
    }
}

impl<'b> Field<'b> for String {
    fn put(&self, form: Form, out: &mut Vec<u8>) {
        self.as_str().put(form, out);
    }

    fn take(reader: &mut Reader<'b>, field: &'static str, form: Form) -> Result<Self, Error> {
        <&str>::take(reader, field, form).map(str::to_owned)
    }

    #[cfg(test)]
    fn sample(random: &mut tests::Random, _: Form) -> Self {
        random.text().to_owned()
    }
}

impl<'b> Field<'b> for &'b [u8] {
    fn put(&self, form: Form, out: &mut Vec<u8>) {
        put_length(out, form, Some(self.len()));
        out.extend_from_slice(self);
    }

    fn take(reader: &mut Reader<'b>, field: &'static str, form: Form) -> Result<Self, Error> {
        let null = reader.malformed(field, Fault::Null);
        let length = take_length(reader, field, form)?.ok_or(null)?;
        reader.take_slice(field, length)
    }

    #[cfg(test)]
    fn sample(random: &mut tests::Random, _: Form) -> Self {
        random.text().as_bytes()
    }
}

impl<'b> Field<'b> for Vec<u8> {
    fn put(&self, form: Form, out: &mut Vec<u8>) {
        self.as_slice().put(form, out);
    }

    fn take(reader: &mut Reader<'b>, field: &'static str, form: Form) -> Result<Self, Error> {
        <&[u8]>::take(reader, field, form).map(<[u8]>::to_vec)
    }

    #[cfg(test)]
    fn sample(random: &mut tests::Random, _: Form) -> Self {
        random.text().as_bytes().to_vec()
    }
}

/// An array: a count, then so many elements. Nothing is reserved for a count that the bytes left
/// could not hold: every element takes at least one.
impl<'b, T: Field<'b>> Field<'b> for Vec<T> {
    fn put(&self, form: Form, out: &mut Vec<u8>) {
        put_length(out, form, Some(self.len()));
        let form = form.nullable(false);
        for element in self {
            element.put(form, out);
        }
    }

    fn take(reader: &mut Reader<'b>, field: &'static str, form: Form) -> Result<Self, Error> {
        let null = reader.malformed(field, Fault::Null);
        let count = take_length(reader, field, form)?.ok_or(null)?;
        let form = form.nullable(false);
        let mut elements = Self::with_capacity(count.min(RESERVED_ELEMENTS_MAX));
        for _ in 0..count {
            elements.push(T::take(reader, field, form)?);
        }
        Ok(elements)
    }

    #[cfg(test)]
    fn sample(random: &mut tests::Random, form: Form) -> Self {
        (0..random.below(3))
            .map(|_| T::sample(random, form.nullable(false)))
            .collect()
    }
}

/// Something that may be null: the same, with a length that says so.
impl<'b, T: Field<'b> + Nullable + Default> Field<'b> for Option<T> {
    fn put(&self, form: Form, out: &mut Vec<u8>) {
        match self {
            Some(value) => value.put(form, out),
            None if form.nullable => T::put_null(form, out),
            None => T::default().put(form, out),
        }
    }

    fn take(reader: &mut Reader<'b>, field: &'static str, form: Form) -> Result<Self, Error> {
        let mut ahead = reader.clone();
        if form.nullable && T::take_any_length(&mut ahead, field, form)?.is_none() {
            *reader = ahead;
            return Ok(None);
        }
        T::take(reader, field, form).map(Some)
    }

    #[cfg(test)]
    fn sample(random: &mut tests::Random, form: Form) -> Self {
        (!form.nullable || random.below(2) == 1).then(|| T::sample(random, form))
    }
}

/// A type whose length has a value for null.
pub(crate) trait Nullable {
    /// Whether older versions state the length as an Int16.
    const SHORT: bool;

    fn put_null(form: Form, out: &mut Vec<u8>) {
        if Self::SHORT {
            put_string_length(out, form, None)
        } else {
            put_length(out, form, None)
        }
    }

    fn take_any_length(
        reader: &mut Reader<'_>,
        field: &'static str,
        form: Form,
    ) -> Result<Option<usize>, Error> {
        if Self::SHORT {
            take_string_length(reader, field, form)
        } else {
            take_length(reader, field, form)
        }
    }
}

impl Nullable for &str {
    const SHORT: bool = true;
}

impl Nullable for String {
    const SHORT: bool = true;
}

impl Nullable for &[u8] {
    const SHORT: bool = false;
}

impl<T> Nullable for Vec<T> {
    const SHORT: bool = false;
}

/// The longest string that an Int16 length can state.
const STRING_BYTES_MAX: usize = 32767;
/// Room for so many elements is made at once; more of them grow the array as they arrive.
const RESERVED_ELEMENTS_MAX: usize = 256;

/// Int32, -1 for null; flexible: uvarint of the length plus one, 0 for null.
pub(crate) fn put_length(out: &mut Vec<u8>, form: Form, length: Option<usize>) {
    if form.flexible {
        put_uvarint(
            out,
            length.map_or(0, |length| u32::try_from(length + 1).unwrap_or(u32::MAX)),
        );
    } else {
        put_i32(
            out,
            length.map_or(-1, |length| i32::try_from(length).unwrap_or(i32::MAX)),
        );
    }
}

/// The tag section of a struct that has nothing to say in it.
fn put_no_tags(out: &mut Vec<u8>, form: Form) {
    if form.flexible {
        put_uvarint(out, 0);
    }
}

/// Int16, -1 for null; flexible: as every other length.
fn put_string_length(out: &mut Vec<u8>, form: Form, length: Option<usize>) {
    if form.flexible {
        put_length(out, form, length);
    } else {
        put_i16(
            out,
            length.map_or(-1, |length| i16::try_from(length).unwrap_or(i16::MAX)),
        );
    }
}

fn take_length(
    reader: &mut Reader<'_>,
    field: &'static str,
    form: Form,
) -> Result<Option<usize>, Error> {
    let stated = if form.flexible {
        i64::from(reader.take_uvarint(field)?) - 1
    } else {
        i64::from(reader.take_i32(field)?)
    };
    reader.check_length(field, stated)
}

fn take_string_length(
    reader: &mut Reader<'_>,
    field: &'static str,
    form: Form,
) -> Result<Option<usize>, Error> {
    if form.flexible {
        return take_length(reader, field, form);
    }
    let stated = reader.take_i16(field)?;
    reader.check_length(field, i64::from(stated))
}

/// One tagged field: tag, size, value.
pub(crate) fn put_tagged<'b>(
    tag: u32,
    value: &impl Field<'b>,
    form: Form,
    scratch: &mut Vec<u8>,
    out: &mut Vec<u8>,
) {
    scratch.clear();
    value.put(form, scratch);
    put_uvarint(out, tag);
    put_uvarint(out, u32::try_from(scratch.len()).unwrap_or(u32::MAX));
    out.extend_from_slice(scratch);
}

/// Walks a tag section. `known` reads the value of a tag that it knows and says so; the values of
/// others are skipped.
///
/// Errors: `Malformed` with `Tag` when tags do not ascend, or a value is not as long as stated.
pub(crate) fn take_tags<'b>(
    reader: &mut Reader<'b>,
    mut known: impl FnMut(u32, &mut Reader<'b>) -> Result<bool, Error>,
) -> Result<(), Error> {
    const FIELD: &str = "tagged fields";
    let count = reader.take_uvarint(FIELD)?;
    let mut next = 0;
    for _ in 0..count {
        let fault = reader.malformed(FIELD, Fault::Tag);
        let tag = reader.take_uvarint(FIELD)?;
        if tag < next {
            return Err(fault);
        }
        next = tag.saturating_add(1);
        let size = i64::from(reader.take_uvarint(FIELD)?);
        let size = reader.check_length(FIELD, size)?.unwrap_or_default();
        let end = reader.position() + size;
        if !known(tag, reader)? {
            reader.take_slice(FIELD, size)?;
        }
        if reader.position() != end {
            return Err(fault);
        }
    }
    Ok(())
}

/// Makes structs, defaults and both directions out of tables of fields; see the module.
macro_rules! messages {
    ($(
        $(#[$meta:meta])*
        $kind:ident $name:ident $(<$lifetime:lifetime>)?
        $(: $api:ident $low:literal ..= $high:literal flexible $flexible:tt)?
        { $($fields:tt)* }
    )*) => {$(
        messages!(@struct [$(#[$meta])*] $name [$(<$lifetime>)?] { $($fields)* });
        messages!(@field $name [$($lifetime)?] { $($fields)* });
        messages!(
            @$kind $name [$($lifetime)?] $($api, $low, $high, $flexible)?
        );
    )*};

    (@struct [$($meta:tt)*] $name:ident [$($generics:tt)*] {$(
        $field:ident : $type:ty [$versions:expr]
        $(null [$null:expr])? $(tag $tag:literal)? $(= $default:expr)?,
    )*}) => {
        $($meta)*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name $($generics)* {
            $(pub $field: $type,)*
        }

        impl $($generics)* Default for $name $($generics)* {
            fn default() -> Self {
                Self { $($field: messages!(@default $($default)?),)* }
            }
        }
    };

    (@field $name:ident [] $fields:tt) => {
        messages!(@impl 'b [$name] $fields);
    };
    (@field $name:ident [$lifetime:lifetime] $fields:tt) => {
        messages!(@impl $lifetime [$name<$lifetime>] $fields);
    };

    (@impl $lifetime:lifetime [$name:ty] {$(
        $field:ident : $type:ty [$versions:expr]
        $(null [$null:expr])? $(tag $tag:literal)? $(= $default:expr)?,
    )*}) => {
        impl<$lifetime> $crate::message::Field<$lifetime> for $name {
            fn put(&self, form: $crate::message::Form, out: &mut Vec<u8>) {
                use $crate::message::has;
                $(messages!(@plain [$($tag)?] {
                    if has($versions, form) {
                        self.$field.put(messages!(@form form [$($null)?]), out);
                    }
                });)*
                if form.flexible {
                    #[allow(unused_variables, reason = "few structs have tagged fields")]
                    let default = Self::default();
                    let tags: u32 = 0 $(+ messages!(@tagged [$($tag)?] 0 {
                        u32::from(has($versions, form) && self.$field != default.$field)
                    }))*;
                    $crate::write::put_uvarint(out, tags);
                    if tags > 0 {
                        #[allow(unused_variables, unused_mut, reason = "as above")]
                        let mut scratch: Vec<u8> = Vec::new();
                        $(messages!(@tagged [$($tag)?] () {
                            if has($versions, form) && self.$field != default.$field {
                                let form = messages!(@form form [$($null)?]);
                                let (value, scratch) = (&self.$field, &mut scratch);
                                $crate::message::put_tagged($($tag)?, value, form, scratch, out);
                            }
                        });)*
                    }
                }
            }

            fn take(
                reader: &mut $crate::read::Reader<$lifetime>,
                _: &'static str,
                form: $crate::message::Form,
            ) -> Result<Self, $crate::error::Error> {
                use $crate::message::{Field, has, take_tags};
                let mut message = Self::default();
                $(messages!(@plain [$($tag)?] {
                    if has($versions, form) {
                        let form = messages!(@form form [$($null)?]);
                        message.$field = Field::take(reader, stringify!($field), form)?;
                    }
                });)*
                if form.flexible {
                    #[allow(unused_variables, reason = "few structs have tagged fields")]
                    take_tags(reader, |tag, reader| {
                        $(messages!(@tagged [$($tag)?] () {
                            if tag == $($tag)? && has($versions, form) {
                                let form = messages!(@form form [$($null)?]);
                                message.$field = Field::take(reader, stringify!($field), form)?;
                                return Ok(true);
                            }
                        });)*
                        Ok(false)
                    })?;
                }
                Ok(message)
            }

            #[cfg(test)]
            fn sample(
                random: &mut $crate::message::tests::Random,
                form: $crate::message::Form,
            ) -> Self {
                use $crate::message::{Field, has};
                let mut message = Self::default();
                $(if has($versions, form) {
                    let form = messages!(@form form [$($null)?]);
                    message.$field = Field::sample(random, form);
                })*
                message
            }
        }
    };

    (@default) => { Default::default() };
    (@default $default:expr) => { $default };
    (@plain [] { $($code:tt)* }) => { $($code)* };
    (@plain [$tag:literal] { $($code:tt)* }) => {};
    (@tagged [] $else:tt { $($code:tt)* }) => { $else };
    (@tagged [$tag:literal] $else:tt { $($code:tt)* }) => {{ $($code)* }};
    (@form $form:ident []) => { $form.nullable(true) };
    (@form $form:ident [$null:expr]) => { $form.nullable(has($null, $form)) };

    (@part $($rest:tt)*) => {};
    (@request $name:ident [$($lifetime:lifetime)?] $($rest:tt)*) => {
        messages!(@message Request $name [$($lifetime)?] $($rest)*);
    };
    (@response $name:ident [$($lifetime:lifetime)?] $($rest:tt)*) => {
        messages!(@message Response $name [$($lifetime)?] $($rest)*);
    };
    (@message $role:ident $name:ident [] $($rest:tt)*) => {
        messages!(@top $role 'b $name [$name] $($rest)*);
    };
    (@message $role:ident $name:ident [$lifetime:lifetime] $($rest:tt)*) => {
        messages!(@top $role $lifetime $name [$name<$lifetime>] $($rest)*);
    };
    (@top $role:ident $lifetime:lifetime $short:ident [$name:ty]
        $api:ident, $low:literal, $high:literal, $flexible:tt
    ) => {
        impl<$lifetime> $crate::message::Message<$lifetime> for $name {
            const API: $crate::message::ApiKey = $crate::message::ApiKey::$api;
            const NAME: &'static str = stringify!($short);
            const VERSIONS: (i16, i16) = ($low, $high);
            const FLEXIBLE: i16 = $flexible;

            fn encode(&self, version: i16, out: &mut Vec<u8>) {
                let form = $crate::message::Form::new(version, Self::FLEXIBLE);
                $crate::message::Field::put(self, form, out);
            }

            fn decode(
                version: i16,
                bytes: &$lifetime [u8],
            ) -> Result<Self, $crate::error::Error> {
                let form = $crate::message::Form::new(version, Self::FLEXIBLE);
                let mut reader = $crate::read::Reader::new(Self::NAME, bytes);
                let message = $crate::message::Field::take(&mut reader, Self::NAME, form)?;
                reader.finish("end")?;
                Ok(message)
            }
        }

        impl<$lifetime> $crate::message::$role<$lifetime> for $name {}
    };
}

/// Whether a version is among those that a table states.
#[inline]
pub(crate) fn has(versions: impl RangeBounds<i16>, form: Form) -> bool {
    versions.contains(&form.version)
}

/// The one table of APIs: number, name, and where its messages are.
macro_rules! apis {
    ($(
        $constant:ident = $key:literal, $name:ident, $module:ident, $request:ty, $response:ty;
    )*) => {
        $(pub mod $module;)*

        impl ApiKey {
            $(
                #[doc = concat!("`", stringify!($name), "`")]
                pub const $constant: Self = Self($key);
            )*

            /// Every API of this crate, by number.
            pub const ALL: &[Self] = &[$(Self::$constant),*];

            /// Kafka's name, when this crate knows the number.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self {
                    $(Self::$constant => Some(stringify!($name)),)*
                    _ => None,
                }
            }

            /// The lowest and the highest version of this crate's messages.
            #[must_use]
            pub const fn versions(self) -> Option<(i16, i16)> {
                match self {
                    $(Self::$constant => Some(<$request as Message<'_>>::VERSIONS),)*
                    _ => None,
                }
            }

            /// The first version with compact lengths and tagged fields.
            #[must_use]
            pub const fn flexible_from(self) -> Option<i16> {
                match self {
                    $(Self::$constant => Some(<$request as Message<'_>>::FLEXIBLE),)*
                    _ => None,
                }
            }
        }

        /// Reads a body and writes it again, in our own way: without unknown tags, with no defaults
        /// among the tagged fields. For whoever stands between two peers, and for tests.
        ///
        /// Errors: `Malformed`; `Unsupported` for an API or a version that is not here.
        pub fn transcode(
            api: ApiKey,
            role: Role,
            version: i16,
            body: &[u8],
        ) -> Result<Vec<u8>, Error> {
            match (api, role) {
                $(
                    (ApiKey::$constant, Role::Request) => again::<$request>(version, body),
                    (ApiKey::$constant, Role::Response) => again::<$response>(version, body),
                )*
                _ => Err(Error::Unsupported { api: "API", ours: (0, 0), theirs: None }),
            }
        }

        #[cfg(test)]
        fn for_every_message(claim: &mut impl tests::Claim) {
            $(
                claim.check::<$request>();
                claim.check::<$response>();
            )*
        }
    };
}

/// Which of the two messages of an API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Client to broker.
    Request,
    /// Broker to client.
    Response,
}

fn again<'b, M: Message<'b>>(version: i16, body: &'b [u8]) -> Result<Vec<u8>, Error> {
    let ours = M::VERSIONS;
    if !(ours.0..=ours.1).contains(&version) {
        return Err(Error::Unsupported {
            api: M::NAME,
            ours,
            theirs: Some((version, version)),
        });
    }
    let mut out = Vec::new();
    M::decode(version, body)?.encode(version, &mut out);
    Ok(out)
}

apis! {
    PRODUCE = 0, Produce, produce,
        produce::ProduceRequest<'_>, produce::ProduceResponse<'_>;
    FETCH = 1, Fetch, fetch,
        fetch::FetchRequest, fetch::FetchResponse<'_>;
    LIST_OFFSETS = 2, ListOffsets, list_offsets,
        list_offsets::ListOffsetsRequest, list_offsets::ListOffsetsResponse;
    METADATA = 3, Metadata, metadata,
        metadata::MetadataRequest, metadata::MetadataResponse;
    OFFSET_COMMIT = 8, OffsetCommit, offset_commit,
        offset_commit::OffsetCommitRequest, offset_commit::OffsetCommitResponse;
    OFFSET_FETCH = 9, OffsetFetch, offset_fetch,
        offset_fetch::OffsetFetchRequest, offset_fetch::OffsetFetchResponse;
    FIND_COORDINATOR = 10, FindCoordinator, find_coordinator,
        find_coordinator::FindCoordinatorRequest, find_coordinator::FindCoordinatorResponse;
    JOIN_GROUP = 11, JoinGroup, join_group,
        join_group::JoinGroupRequest, join_group::JoinGroupResponse;
    HEARTBEAT = 12, Heartbeat, heartbeat,
        heartbeat::HeartbeatRequest, heartbeat::HeartbeatResponse;
    LEAVE_GROUP = 13, LeaveGroup, leave_group,
        leave_group::LeaveGroupRequest, leave_group::LeaveGroupResponse;
    SYNC_GROUP = 14, SyncGroup, sync_group,
        sync_group::SyncGroupRequest, sync_group::SyncGroupResponse;
    DESCRIBE_GROUPS = 15, DescribeGroups, describe_groups,
        describe_groups::DescribeGroupsRequest, describe_groups::DescribeGroupsResponse;
    LIST_GROUPS = 16, ListGroups, list_groups,
        list_groups::ListGroupsRequest, list_groups::ListGroupsResponse;
    SASL_HANDSHAKE = 17, SaslHandshake, sasl_handshake,
        sasl_handshake::SaslHandshakeRequest, sasl_handshake::SaslHandshakeResponse;
    API_VERSIONS = 18, ApiVersions, api_versions,
        api_versions::ApiVersionsRequest, api_versions::ApiVersionsResponse;
    CREATE_TOPICS = 19, CreateTopics, create_topics,
        create_topics::CreateTopicsRequest, create_topics::CreateTopicsResponse;
    DELETE_TOPICS = 20, DeleteTopics, delete_topics,
        delete_topics::DeleteTopicsRequest, delete_topics::DeleteTopicsResponse;
    INIT_PRODUCER_ID = 22, InitProducerId, init_producer_id,
        init_producer_id::InitProducerIdRequest, init_producer_id::InitProducerIdResponse;
    OFFSET_FOR_LEADER_EPOCH = 23, OffsetForLeaderEpoch, offset_for_leader_epoch,
        offset_for_leader_epoch::OffsetForLeaderEpochRequest,
        offset_for_leader_epoch::OffsetForLeaderEpochResponse;
    ADD_PARTITIONS_TO_TXN = 24, AddPartitionsToTxn, add_partitions_to_txn,
        add_partitions_to_txn::AddPartitionsToTxnRequest,
        add_partitions_to_txn::AddPartitionsToTxnResponse;
    ADD_OFFSETS_TO_TXN = 25, AddOffsetsToTxn, add_offsets_to_txn,
        add_offsets_to_txn::AddOffsetsToTxnRequest, add_offsets_to_txn::AddOffsetsToTxnResponse;
    END_TXN = 26, EndTxn, end_txn,
        end_txn::EndTxnRequest, end_txn::EndTxnResponse;
    TXN_OFFSET_COMMIT = 28, TxnOffsetCommit, txn_offset_commit,
        txn_offset_commit::TxnOffsetCommitRequest, txn_offset_commit::TxnOffsetCommitResponse;
    DESCRIBE_CONFIGS = 32, DescribeConfigs, describe_configs,
        describe_configs::DescribeConfigsRequest, describe_configs::DescribeConfigsResponse;
    SASL_AUTHENTICATE = 36, SaslAuthenticate, sasl_authenticate,
        sasl_authenticate::SaslAuthenticateRequest, sasl_authenticate::SaslAuthenticateResponse;
    CREATE_PARTITIONS = 37, CreatePartitions, create_partitions,
        create_partitions::CreatePartitionsRequest, create_partitions::CreatePartitionsResponse;
    DELETE_GROUPS = 42, DeleteGroups, delete_groups,
        delete_groups::DeleteGroupsRequest, delete_groups::DeleteGroupsResponse;
    DESCRIBE_CLUSTER = 60, DescribeCluster, describe_cluster,
        describe_cluster::DescribeClusterRequest, describe_cluster::DescribeClusterResponse;
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A small generator: what it gives depends on its seed alone.
    #[derive(Debug)]
    pub(crate) struct Random(pub(crate) u64);

    impl Random {
        fn next(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = self.0;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ (mixed >> 31)
        }

        pub(crate) fn below(&mut self, bound: u64) -> u64 {
            self.next() % bound
        }

        pub(crate) fn array<const N: usize>(&mut self) -> [u8; N] {
            std::array::from_fn(|_| self.next().to_be_bytes()[0])
        }

        pub(crate) fn text(&mut self) -> &'static str {
            [
                "",
                "t",
                "käse",
                "a-topic.name",
                "0123456789abcdef0123456789abcdef",
            ][usize::try_from(self.below(5)).unwrap()]
        }
    }

    /// Something that holds for every message.
    pub(crate) trait Claim {
        fn check<'b, M: Message<'b> + Field<'b> + fmt::Debug + PartialEq>(&mut self);
    }

    fn leak(bytes: Vec<u8>) -> &'static [u8] {
        bytes.leak()
    }

    /// What is written reads back; a cut of it never reads as whole.
    struct Survives(Random);

    impl Claim for Survives {
        fn check<'b, M: Message<'b> + Field<'b> + fmt::Debug + PartialEq>(&mut self) {
            for version in M::VERSIONS.0..=M::VERSIONS.1 {
                let form = Form::new(version, M::FLEXIBLE);
                let message = M::sample(&mut self.0, form);
                let mut bytes = Vec::new();
                message.encode(version, &mut bytes);
                let bytes = leak(bytes);
                assert_eq!(
                    M::decode(version, bytes).as_ref(),
                    Ok(&message),
                    "{}",
                    M::NAME
                );
                for cut in 0..bytes.len() {
                    let cut = M::decode(version, &bytes[..cut]);
                    assert!(
                        matches!(cut, Err(Error::Malformed { .. })),
                        "{} {cut:?}",
                        M::NAME
                    );
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn every_message_survives_at_every_version(seed: u64) {
            for_every_message(&mut Survives(Random(seed)));
        }
    }

    #[test]
    fn an_unknown_tag_is_skipped() {
        let bytes = [0, 0, 1, 0, 0, 0, 0, 1, 9, 2, 0xff, 0xff];
        let read = api_versions::ApiVersionsResponse::decode(3, &bytes).unwrap();
        assert_eq!(read, api_versions::ApiVersionsResponse::default());
        let out_of_order = [0, 0, 1, 0, 0, 0, 0, 2, 9, 0, 9, 0];
        assert!(api_versions::ApiVersionsResponse::decode(3, &out_of_order).is_err());
    }

    #[test]
    fn a_count_reserves_nothing() {
        let bytes = [0, 0, 0x7f, 0xff, 0xff, 0xff];
        let error = api_versions::ApiVersionsResponse::decode(0, &bytes).unwrap_err();
        assert!(
            matches!(
                error,
                Error::Malformed {
                    field: "api_keys",
                    at: 6,
                    ..
                }
            ),
            "{error}"
        );
    }

    #[test]
    fn a_topic_id_prints_as_the_tools_print_it() {
        assert_eq!(Uuid([0xfb; 16]).to_string(), "-_v7-_v7-_v7-_v7-_v7-w");
    }
}
