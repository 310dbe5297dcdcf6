//! Frames: `Int32 size | header | body`, split off a stream and put together.
//!
//! ```text
//! request  v1   api_key i16 | version i16 | correlation i32 | client_id i16-length string or null
//!          v2   the same | tagged fields                            flexible versions
//! response v0   correlation i32                                     and every ApiVersions
//!          v1   correlation i32 | tagged fields                     flexible versions
//! ```
//!
//! The client id is never compact. Source: Kafka protocol guide, "Headers"; KIP-482; KIP-511.

use crate::error::{Error, Fault};
use crate::message::{ApiKey, Field, Form, Message, Request, Response, take_tags};
use crate::read::Reader;
use crate::write::{SizePrefix, put_i16, put_i32, put_uvarint};

/// What a Java broker accepts unless told otherwise (`socket.request.max.bytes`).
pub const REQUEST_BYTES_MAX: usize = 104_857_600;

/// The next whole frame at the front of `bytes`: what the size counts, and how many bytes to
/// consume; `None` when more must arrive.
///
/// Errors: `Malformed` with `Length` for a size that is negative or above `size_max`.
pub fn split(bytes: &[u8], size_max: usize) -> Result<Option<(&[u8], usize)>, Error> {
    let mut reader = Reader::new("frame", bytes);
    let fault = reader.malformed("size", Fault::Length);
    let Ok(size) = reader.take_i32("size") else {
        return Ok(None);
    };
    let size = usize::try_from(size).map_err(|_| fault)?;
    if size > size_max {
        return Err(fault);
    }
    Ok(reader
        .take_slice("frame", size)
        .ok()
        .map(|body| (body, reader.position())))
}

/// What precedes a request's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestHeader<'b> {
    /// What is asked.
    pub api: ApiKey,
    /// In which form.
    pub version: i16,
    /// Comes back with the response.
    pub correlation: i32,
    /// Who asks, for logs and quotas.
    pub client_id: Option<&'b str>,
}

impl<'b> RequestHeader<'b> {
    /// Appends the header.
    pub fn put(&self, out: &mut Vec<u8>) {
        put_i16(out, self.api.0);
        put_i16(out, self.version);
        put_i32(out, self.correlation);
        // Never compact, so always in the form of an inflexible version.
        self.client_id.put(CLIENT_ID, out);
        if self.flexible() {
            put_uvarint(out, 0);
        }
    }

    /// Splits a request's frame into header and body. Of an API that this crate does not know the
    /// body is everything behind the client id.
    ///
    /// Errors: `Malformed` when the frame is no request.
    pub fn split(frame: &'b [u8]) -> Result<(Self, &'b [u8]), Error> {
        let mut reader = Reader::new("request header", frame);
        let header = Self {
            api: ApiKey(reader.take_i16("api_key")?),
            version: reader.take_i16("version")?,
            correlation: reader.take_i32("correlation")?,
            client_id: Field::take(&mut reader, "client_id", CLIENT_ID)?,
        };
        if header.flexible() {
            take_tags(&mut reader, |_, _| Ok(false))?;
        }
        Ok((header, reader.rest()))
    }

    fn flexible(&self) -> bool {
        self.api
            .flexible_from()
            .is_some_and(|from| self.version >= from)
    }
}

/// A nullable string with an Int16 length, whatever the version.
const CLIENT_ID: Form = Form::inflexible_nullable();

/// Appends a whole request: size, header, body.
pub fn put_request<'b, R: Request<'b>>(
    request: &R,
    version: i16,
    correlation: i32,
    client_id: &str,
    out: &mut Vec<u8>,
) {
    let mut size = SizePrefix::open(out);
    let header = RequestHeader {
        api: R::API,
        version,
        correlation,
        client_id: Some(client_id),
    };
    header.put(size.buffer());
    request.encode(version, size.buffer());
    size.finish(0);
}

/// Appends a whole response: size, header, body.
pub fn put_response<'b, R: Response<'b>>(
    response: &R,
    version: i16,
    correlation: i32,
    out: &mut Vec<u8>,
) {
    let mut size = SizePrefix::open(out);
    put_i32(size.buffer(), correlation);
    if response_has_tags(R::API, version) {
        put_uvarint(size.buffer(), 0);
    }
    response.encode(version, size.buffer());
    size.finish(0);
}

/// The correlation id at the front of a response's frame, which says what the rest of it is.
///
/// Errors: `Malformed` when the frame is shorter than that.
pub fn correlation(frame: &[u8]) -> Result<i32, Error> {
    Reader::new(RESPONSE, frame).take_i32("correlation")
}

/// The body of a response whose request was for `api` at `version`.
///
/// Errors: `Malformed` when the frame's header is broken.
pub fn response_body(frame: &[u8], api: ApiKey, version: i16) -> Result<&[u8], Error> {
    let mut reader = Reader::new(RESPONSE, frame);
    reader.take_i32("correlation")?;
    if response_has_tags(api, version) {
        take_tags(&mut reader, |_, _| Ok(false))?;
    }
    Ok(reader.rest())
}

const RESPONSE: &str = "response header";

/// ApiVersions keeps the old header in every version: who asks does not know yet what is spoken.
fn response_has_tags(api: ApiKey, version: i16) -> bool {
    api != ApiKey::API_VERSIONS && api.flexible_from().is_some_and(|from| version >= from)
}

/// Reads a response as one of its API at `version`, its frame without the size.
///
/// Errors: `Malformed`.
pub fn decode_response<'b, R: Message<'b>>(frame: &'b [u8], version: i16) -> Result<R, Error> {
    R::decode(version, response_body(frame, R::API, version)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::api_versions::*;
    use crate::message::end_txn::*;
    use crate::message::fetch::*;
    use crate::message::find_coordinator::*;
    use crate::message::init_producer_id::*;
    use crate::message::list_offsets::*;
    use crate::message::metadata::*;
    use crate::message::produce::{
        LeaderIdAndEpoch, NodeEndpoint, PartitionProduceData, PartitionProduceResponse,
        ProduceRequest, ProduceResponse, TopicProduceData, TopicProduceResponse,
    };
    use crate::message::sasl_authenticate::*;
    use crate::message::sasl_handshake::*;
    use std::fmt::Debug;

    fn bytes(hex: &str) -> &'static [u8] {
        let digits: Vec<_> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16);
        digits
            .chunks(2)
            .map(|pair| byte(pair).unwrap())
            .collect::<Vec<u8>>()
            .leak()
    }

    /// The frame, which an independent implementation wrote, is what we write and reads as given.
    fn check_request<'b, R>(version: i16, request: &R, hex: &str)
    where
        R: Request<'b> + PartialEq + Debug,
    {
        let golden = bytes(hex);
        let mut out = Vec::new();
        put_request(request, version, 1, "ex", &mut out);
        assert_eq!(out, golden, "{} v{version}", R::NAME);
        let (frame, consumed) = split(golden, REQUEST_BYTES_MAX).unwrap().unwrap();
        assert_eq!(consumed, golden.len());
        let (header, body) = RequestHeader::split(frame).unwrap();
        let client_id = Some("ex");
        assert_eq!(
            header,
            RequestHeader {
                api: R::API,
                version,
                correlation: 1,
                client_id
            }
        );
        assert_eq!(&R::decode(version, body).unwrap(), request);
    }

    fn check_response<'b, R>(version: i16, response: &R, hex: &str)
    where
        R: Response<'b> + PartialEq + Debug,
    {
        let golden = bytes(hex);
        let mut out = Vec::new();
        put_response(response, version, 1, &mut out);
        assert_eq!(out, golden, "{} v{version}", R::NAME);
        let (frame, _) = split(golden, REQUEST_BYTES_MAX).unwrap().unwrap();
        assert_eq!(correlation(frame), Ok(1));
        assert_eq!(&decode_response::<R>(frame, version).unwrap(), response);
    }

    /// Three records of producer 4000/3 from sequence 7, as the Java client wrote them.
    pub(crate) const BATCH: &str = "000000000000000000000053ffffffff021fa4ea580010000000020000018bcf\
        e568000000018bcfe568050000000000000fa00003000000070000000322000000046b310476310402680278026e\
        010c000a0201010010001304046b330000";

    #[test]
    fn api_versions() {
        let default = ApiVersionsRequest::default();
        check_request(0, &default, "0000000c001200000000000100026578");
        let request = ApiVersionsRequest {
            client_software_name: "cdc".to_owned(),
            client_software_version: "0.1".to_owned(),
            ..default
        };
        let golden = "00000016001200030000000100026578000463646304302e3100";
        check_request(3, &request, golden);
        let response = ApiVersionsResponse {
            api_keys: vec![ApiVersion {
                api_key: 18,
                min_version: 0,
                max_version: 4,
            }],
            finalized_features_epoch: 7,
            finalized_features: vec![FinalizedFeatureKey {
                name: "transaction.version".to_owned(),
                max_version_level: 2,
                min_version_level: 2,
            }],
            ..ApiVersionsResponse::default()
        };
        let golden =
            "00000039 00000001 0000 02 0012 0000 0004 00 00000000 02 01 08 0000000000000007
            02 1a 02 14 7472616e73616374696f6e2e76657273696f6e 0002 0002 00";
        check_response(3, &response, golden);
        let response = ApiVersionsResponse {
            error_code: crate::ErrorCode::UNSUPPORTED_VERSION,
            api_keys: vec![ApiVersion {
                api_key: 18,
                min_version: 0,
                max_version: 2,
            }],
            ..ApiVersionsResponse::default()
        };
        check_response(0, &response, "0000001000000001002300000001001200000002");
    }

    #[test]
    fn metadata() {
        let topic = MetadataRequestTopic {
            name: Some("t".to_owned()),
            ..MetadataRequestTopic::default()
        };
        let request = MetadataRequest {
            topics: Some(vec![topic]),
            allow_auto_topic_creation: false,
            ..MetadataRequest::default()
        };
        let golden = "000000140003000400000001000265780000000100017400";
        check_request(4, &request, golden);
        let golden = "000000240003000c00000001000265780002000000000000000000000000000000000274000000\
            00";
        check_request(12, &request, golden);
        let all = MetadataRequest {
            topics: None,
            ..request
        };
        check_request(12, &all, "000000110003000c00000001000265780000000000");
    }

    #[test]
    fn produce() {
        let partition = PartitionProduceData {
            index: 0,
            records: Some(bytes(BATCH)),
        };
        let topic = TopicProduceData {
            name: "t",
            partition_data: vec![partition],
            ..TopicProduceData::default()
        };
        let request = ProduceRequest {
            acks: -1,
            timeout_ms: 30000,
            topic_data: vec![topic],
            ..ProduceRequest::default()
        };
        let head = "00000086 0000 0007 00000001 0002 6578 ffff ffff 00007530 00000001 0001 74
            00000001 00000000 0000005f";
        check_request(7, &request, &format!("{head}{BATCH}"));
        let request = ProduceRequest {
            transactional_id: Some("tx"),
            ..request
        };
        let head = "00000081 0000 0009 00000001 0002 6578 00 03 7478 ffff 00007530 02 02 74 02
            00000000 60";
        check_request(9, &request, &format!("{head}{BATCH}000000"));
        let partition = PartitionProduceResponse {
            error_code: crate::ErrorCode::NOT_LEADER_OR_FOLLOWER,
            base_offset: -1,
            current_leader: LeaderIdAndEpoch {
                leader_id: 2,
                leader_epoch: 5,
            },
            ..PartitionProduceResponse::default()
        };
        let topic = TopicProduceResponse {
            name: "t",
            partition_responses: vec![partition],
            ..TopicProduceResponse::default()
        };
        let response = ProduceResponse {
            responses: vec![topic],
            node_endpoints: vec![NodeEndpoint {
                node_id: 2,
                host: "b2",
                port: 9092,
                rack: None,
            }],
            ..ProduceResponse::default()
        };
        let golden = "0000004b000000010002027402000000000006ffffffffffffffffffffffffffffffffffffffff\
            ffffffff0100010009000000020000000500000000000001000e0200000002036232000023840000";
        check_response(10, &response, golden);
    }

    #[test]
    fn coordinators_and_identities() {
        let request = FindCoordinatorRequest {
            key: "tx".to_owned(),
            key_type: 1,
            ..FindCoordinatorRequest::default()
        };
        check_request(1, &request, "00000011000a000100000001000265780002747801");
        let request = FindCoordinatorRequest {
            key_type: 1,
            coordinator_keys: vec!["tx".to_owned()],
            ..FindCoordinatorRequest::default()
        };
        check_request(
            4,
            &request,
            "00000013000a0004000000010002657800010203747800",
        );
        let request = InitProducerIdRequest {
            transactional_id: None,
            transaction_timeout_ms: i32::MAX,
            ..InitProducerIdRequest::default()
        };
        check_request(1, &request, "00000012001600010000000100026578ffff7fffffff");
        let request = InitProducerIdRequest {
            transactional_id: Some("tx".to_owned()),
            transaction_timeout_ms: 60000,
            ..request
        };
        let golden = "0000001f001600040000000100026578000374780000ea60ffffffffffffffffffff00";
        check_request(4, &request, golden);
        let request = EndTxnRequest {
            transactional_id: "tx".to_owned(),
            producer_id: 4000,
            producer_epoch: 3,
            committed: true,
        };
        let golden = "0000001c001a00050000000100026578000374780000000000000fa000030100";
        check_request(5, &request, golden);
    }

    #[test]
    fn sasl() {
        let request = SaslHandshakeRequest {
            mechanism: "PLAIN".to_owned(),
        };
        check_request(
            1,
            &request,
            "000000130011000100000001000265780005504c41494e",
        );
        let request = SaslAuthenticateRequest {
            auth_bytes: b"\0alice\0secret".to_vec(),
        };
        let golden = "0000001d0024000100000001000265780000000d00616c69636500736563726574";
        check_request(1, &request, golden);
        let golden = "0000001c002400020000000100026578000e00616c6963650073656372657400";
        check_request(2, &request, golden);
    }

    #[test]
    fn reading() {
        let partition = FetchPartition {
            partition_max_bytes: 1 << 20,
            ..Default::default()
        };
        let topic = FetchTopic {
            topic: "t".to_owned(),
            partitions: vec![partition],
            ..FetchTopic::default()
        };
        let request = FetchRequest {
            max_wait_ms: 500,
            min_bytes: 1,
            max_bytes: 52_428_800,
            isolation_level: 1,
            topics: vec![topic],
            ..FetchRequest::default()
        };
        let golden = "00000038000100040000000100026578ffffffff000001f4000000010320000001000000010001\
            740000000100000000000000000000000000100000";
        check_request(4, &request, golden);
        let partition = ListOffsetsPartition {
            timestamp: -1,
            ..Default::default()
        };
        let topic = ListOffsetsTopic {
            name: "t".to_owned(),
            partitions: vec![partition],
        };
        let request = ListOffsetsRequest {
            replica_id: -1,
            isolation_level: 1,
            topics: vec![topic],
            ..ListOffsetsRequest::default()
        };
        let golden = "00000028000200020000000100026578ffffffff01000000010001740000000100000000ffffff\
            ffffffffff";
        check_request(2, &request, golden);
    }

    #[test]
    fn a_frame_waits_for_its_last_byte() {
        let stream = [0, 0, 0, 2, 7, 8, 0];
        for cut in 0..6 {
            assert_eq!(split(&stream[..cut], 10), Ok(None));
        }
        assert_eq!(split(&stream, 10), Ok(Some((&[7, 8][..], 6))));
        assert!(split(&stream, 1).is_err());
        assert!(split(&[0xff; 4], 10).is_err());
    }

    #[test]
    fn a_request_of_an_unknown_api_still_has_a_header() {
        let frame = [0x7f, 0xff, 0, 9, 0, 0, 0, 5, 0xff, 0xff, 1, 2];
        let (header, body) = RequestHeader::split(&frame).unwrap();
        assert_eq!(
            (header.api, header.version, header.correlation),
            (ApiKey(32767), 9, 5)
        );
        assert_eq!((header.client_id, body), (None, &[1, 2][..]));
        assert_eq!(header.api.to_string(), "API 32767");
    }
}
