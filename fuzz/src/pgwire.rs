//! PostgreSQL's side: whatever a server, or something that passes for one, may send.

use ::pgwire::auth::{Scram, ServerFirst};
use ::pgwire::backend::Event;
use ::pgwire::copy::{BinaryRow, TextRow, split_binary_header, split_binary_row, unescape_row};
use ::pgwire::frame;
use ::pgwire::head::{Head, What};
use ::pgwire::pgoutput::{Message, Old};
use ::pgwire::replication::{Replication, StandbyStatusUpdate, timeline_switches};
use ::pgwire::session::{Session, Startup};
use ::pgwire::tuple::{Tuple, TupleCell, TupleSpan};
use ::pgwire::value::{Numeric, Timestamp, binary, text};
use ::pgwire::write::Length;

/// Claims: a frame is the bytes it was split off, written again; it is the same however much
/// follows; and no shorter input has it.
pub fn frames(data: &[u8]) {
    const MAX: usize = 1 << 16;
    let mut rest = data;
    while let Ok(Some((found, consumed))) = frame::split(rest, MAX) {
        let mut written = Vec::new();
        let mut message = Length::open(&mut written, found.tag.0);
        message.body().extend_from_slice(found.body);
        message.seal();
        assert_eq!(written, rest[..consumed]);
        assert_eq!(
            frame::split(&rest[..consumed], MAX),
            Ok(Some((found, consumed)))
        );
        assert_eq!(frame::split(&rest[..consumed - 1], MAX), Ok(None));
        rest = &rest[consumed..];
    }
}

/// Runs a session over `input`, of which `step` more bytes arrive at a time: the events, what was
/// answered, and whether it ended in an error. A query is put whenever one may be.
fn run(input: &[u8], step: usize) -> (Vec<String>, Vec<u8>, Option<String>) {
    let mut out = Vec::new();
    let startup = Startup {
        user: "user",
        password: Some("pencil"),
        ..Startup::default()
    };
    let mut session = Session::new(&startup);
    session.start(&mut out).expect("the first start");
    let (mut events, mut head, mut tail) = (Vec::new(), 0, 0);
    while tail < input.len() {
        tail = input.len().min(tail + step);
        loop {
            match session.next(&input[head..tail], &mut out) {
                Ok(Some((event, consumed))) => {
                    assert!(consumed >= frame::HEADER_BYTES);
                    events.push(format!("{event:?}"));
                    if let Event::ServerError(error) = event {
                        let _ = (error.to_string(), error.detail(), error.position());
                    }
                    head += consumed;
                }
                Ok(None) => break,
                Err(error) => return (events, out, Some(error.to_string())),
            }
            if session.ready() {
                session
                    .query(&mut out, "SELECT 1")
                    .expect("a session that is ready");
            }
        }
    }
    (events, out, None)
}

/// Claims: however the bytes are cut, the session gives the events of the whole, answers the same
/// and fails the same.
pub fn session(data: &[u8]) {
    // Hashing as often as a server asks for takes longer than there is to learn from it.
    let dear =
        |window: &[u8]| window.starts_with(b"i=") && window[2..].iter().all(u8::is_ascii_digit);
    if data.windows(7).any(dear) {
        return;
    }
    let Some((&step, input)) = data.split_first() else {
        return;
    };
    let whole = run(input, usize::MAX / 2);
    assert_eq!(run(input, usize::from(step) + 1), whole);
    assert_eq!(run(input, 1), whole);
}

fn put_tuple(out: &mut Vec<u8>, tuple: Tuple<'_>) {
    out.extend_from_slice(
        &u16::try_from(tuple.len())
            .expect("a count of two bytes")
            .to_be_bytes(),
    );
    for cell in tuple.cells() {
        let (kind, bytes) = match cell {
            TupleCell::Null => (b'n', None),
            TupleCell::Unchanged => (b'u', None),
            TupleCell::Text(bytes) => (b't', Some(bytes)),
            TupleCell::Binary(bytes) => (b'b', Some(bytes)),
        };
        out.push(kind);
        if let Some(bytes) = bytes {
            out.extend_from_slice(
                &u32::try_from(bytes.len())
                    .expect("a length of four")
                    .to_be_bytes(),
            );
            out.extend_from_slice(bytes);
        }
    }
}

fn check_spans(body: &[u8], tuple: Tuple<'_>) {
    let base = tuple.offset() as usize;
    assert!(body[base..].starts_with(tuple.bytes()));
    assert_eq!(tuple.spans().count(), tuple.len());
    for (span, cell) in tuple.spans().zip(tuple.cells()) {
        match (span, cell) {
            (TupleSpan::Null, TupleCell::Null) | (TupleSpan::Unchanged, TupleCell::Unchanged) => {}
            (TupleSpan::Text { start, end }, TupleCell::Text(bytes))
            | (TupleSpan::Binary { start, end }, TupleCell::Binary(bytes)) => {
                assert_eq!(&body[base + start as usize..base + end as usize], bytes);
            }
            other => panic!("{other:?}"),
        }
    }
}

/// Claims: a row's message is what it was parsed of, written again; spans are where the cells are;
/// lists are as long as they say; no message is the beginning of a longer one, but an abort of the
/// long form; and however little of a row has arrived, its head says what the whole says.
pub fn pgoutput(data: &[u8]) {
    let Some((&flags, body)) = data.split_first() else {
        return;
    };
    let in_stream = flags & 1 != 0;
    let _ = Head::parse(data);
    let Ok(message) = Message::parse(body, in_stream) else {
        return;
    };
    if !in_stream {
        check_heads(body, message);
    }
    let head = |xid: Option<u32>, relation: u32| {
        let mut out = vec![body[0]];
        out.extend(xid.iter().flat_map(|xid| xid.to_be_bytes()));
        out.extend_from_slice(&relation.to_be_bytes());
        out
    };
    let put_old = |out: &mut Vec<u8>, old: Old<'_>| {
        out.push(if matches!(old, Old::Key(_)) {
            b'K'
        } else {
            b'O'
        });
        put_tuple(out, old.tuple());
        check_spans(body, old.tuple());
    };
    match message {
        Message::Insert(insert) => {
            let mut out = head(insert.xid, insert.relation);
            out.push(b'N');
            put_tuple(&mut out, insert.new);
            check_spans(body, insert.new);
            assert_eq!(out, body);
        }
        Message::Update(update) => {
            let mut out = head(update.xid, update.relation);
            if let Some(old) = update.old {
                put_old(&mut out, old);
            }
            out.push(b'N');
            put_tuple(&mut out, update.new);
            check_spans(body, update.new);
            assert_eq!(out, body);
        }
        Message::Delete(delete) => {
            let mut out = head(delete.xid, delete.relation);
            put_old(&mut out, delete.old);
            assert_eq!(out, body);
        }
        Message::Relation(relation) => {
            assert_eq!(relation.columns().count(), relation.column_count());
            assert!(!relation.schema().is_empty());
        }
        Message::Truncate(truncate) => {
            let xid = if in_stream { 4 } else { 0 };
            assert_eq!(body.len(), 6 + xid + 4 * truncate.relations().len());
        }
        _ => {}
    }
    if body.len() < 256 {
        for cut in 0..body.len() {
            let short_abort = body[0] == b'A' && cut == 9;
            assert!(short_abort || Message::parse(&body[..cut], in_stream).is_err());
        }
    }
    let _ = format!("{message:?}");
}

/// What every beginning of a message says, held against the whole.
fn check_heads(body: &[u8], message: Message<'_>) {
    let (relation, first) = match message {
        Message::Insert(insert) => (insert.relation, insert.new),
        Message::Update(update) => {
            let old = update.old.map(|old| old.tuple());
            (update.relation, old.unwrap_or(update.new))
        }
        Message::Delete(delete) => (delete.relation, delete.old.tuple()),
        _ => return,
    };
    let mut bytes = vec![0; 30];
    bytes[5] = b'w';
    bytes[0] = b'd';
    let length = u32::try_from(body.len() + 29).expect("a short input");
    bytes[1..5].copy_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(body);
    for cut in (0..bytes.len()).step_by(1 + bytes.len() / 64) {
        let Some(head) = Head::parse(&bytes[..cut]).expect("the whole parses") else {
            continue;
        };
        let What::Row(row) = head.what else {
            panic!("a row: {head:?}");
        };
        assert_eq!(
            (head.bytes, row.kind, row.relation),
            (bytes.len(), body[0], relation)
        );
        assert!(
            row.cells()
                .zip(first.cells())
                .all(|(head, whole)| head == whole)
        );
        assert!(row.cells().count() <= first.len());
    }
}

/// Claims: an XLogData's body is its tail; a status update that parses is written as it came; a
/// history has no more switches than lines.
pub fn replication(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    assert!(timeline_switches(&text).count() <= text.lines().count());
    if let Ok(Replication::XLogData(found)) = Replication::parse(data) {
        assert_eq!(data[25..], *found.body);
    }
    if let Ok(update) = StandbyStatusUpdate::parse(data) {
        let mut out = Vec::new();
        update.put(&mut out);
        // Any number but zero asks for a reply; we say 1.
        assert_eq!(out[5..38], data[..33]);
        assert_eq!(StandbyStatusUpdate::parse(&out[5..]), Ok(update));
    }
}

/// Claims: a line has the same columns where it stands and copied out; they never grow.
pub fn copy_text(data: &[u8]) {
    let copied = TextRow::new(data).columns().map(|column| {
        column.map(|column| {
            let mut out = Vec::new();
            column.unescape_into(&mut out);
            if let (Some(plain), Some(range)) = (column.plain(), column.plain_range()) {
                assert_eq!(plain, out);
                assert_eq!(plain, &data[range.start as usize..range.end as usize]);
            }
            out
        })
    });
    let mut line = data.to_vec();
    let mut ranges = Vec::new();
    unescape_row(&mut line, |range| ranges.push(range));
    let in_place = ranges
        .into_iter()
        .map(|range| range.map(|range| line[range.start as usize..range.end as usize].to_vec()));
    assert!(copied.eq(in_place));
}

/// Claims: a row is the same however much follows it, and no shorter input has it.
pub fn copy_binary(data: &[u8]) {
    let _ = split_binary_header(data);
    let mut rest = data;
    while let Ok(Some((BinaryRow::Row(row), consumed))) = split_binary_row(rest) {
        assert_eq!(row.values().count(), row.len());
        assert_eq!(
            split_binary_row(&rest[..consumed]),
            Ok(Some((BinaryRow::Row(row), consumed)))
        );
        assert_eq!(split_binary_row(&rest[..consumed - 1]), Ok(None));
        for (range, value) in row.ranges().zip(row.values()) {
            let found = range.map(|range| &row.bytes()[range.start as usize..range.end as usize]);
            assert_eq!(found, value);
        }
        rest = &rest[consumed..];
    }
}

/// Claims: what reads as a number, a time or bytes, written as PostgreSQL writes it, reads as the
/// same again; an array's braces balance around its elements.
pub fn values_text(data: &[u8]) {
    if let Ok(value) = text::int8(data) {
        assert_eq!(text::int8(value.to_string().as_bytes()), Ok(value));
        assert_eq!(text::int4(data).ok(), i32::try_from(value).ok());
        assert_eq!(text::int2(data).ok(), i16::try_from(value).ok());
        assert_eq!(text::oid(data).ok(), u32::try_from(value).ok());
        assert!(matches!(text::numeric(data), Ok(Numeric::Finite(_))));
    }
    if let Ok(Numeric::Finite(decimal)) = text::numeric(data) {
        let mut written = if decimal.negative {
            b"-".to_vec()
        } else {
            vec![]
        };
        written.extend_from_slice(decimal.integer);
        if !decimal.fraction.is_empty() {
            written.push(b'.');
            written.extend_from_slice(decimal.fraction);
        }
        assert_eq!(written, data);
        assert!(text::float8(data).is_ok());
    }
    if let Ok(value) = text::timestamp(data)
        && value.is_finite()
    {
        assert!((Timestamp::MIN..=Timestamp::MAX).contains(&value));
        let (date, time) = value.split();
        let (year, month, day) = date.civil();
        let (year, era) = if year > 0 {
            (year, "")
        } else {
            (1 - year, " BC")
        };
        let (seconds, micros) = (time.0 / 1_000_000, time.0 % 1_000_000);
        let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        let date_text = format!("{year:04}-{month:02}-{day:02}");
        let time_text = format!("{hours:02}:{minutes:02}:{seconds:02}.{micros:06}");
        let written = format!("{date_text} {time_text}{era}");
        assert_eq!(text::timestamp(written.as_bytes()), Ok(value));
        let zoned = format!("{date_text} {time_text}+00{era}");
        assert_eq!(text::timestamptz(zoned.as_bytes()), Ok(value));
        assert_eq!(text::date(format!("{date_text}{era}").as_bytes()), Ok(date));
        assert_eq!(text::time(time_text.as_bytes()), Ok(time));
    }
    if let Ok(bytea) = text::bytea(data) {
        let mut bytes = Vec::new();
        bytea.decode_into(&mut bytes);
        assert_eq!(
            (bytes.len(), bytes.is_empty()),
            (bytea.len(), bytea.is_empty())
        );
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let written = format!("\\x{hex}");
        let again = text::bytea(written.as_bytes()).expect("hex is bytea");
        assert!(again.bytes().eq(bytes));
    }
    if let Ok(bytes) = text::uuid(data) {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let plain: String = data
            .iter()
            .map(|&b| char::from(b))
            .filter(|&c| c != '-')
            .collect();
        assert_eq!(hex, plain.to_ascii_lowercase());
    }
    if let Ok(value) = text::interval(data)
        && value.is_finite()
    {
        let (hours, micros) = (value.micros / 3_600_000_000, value.micros % 3_600_000_000);
        let sign = if value.micros < 0 { "-" } else { "" };
        let (hours, micros) = (hours.unsigned_abs(), micros.unsigned_abs());
        let (minutes, micros) = (micros / 60_000_000, micros % 60_000_000);
        let (seconds, micros) = (micros / 1_000_000, micros % 1_000_000);
        let clock = format!("{sign}{hours:02}:{minutes:02}:{seconds:02}.{micros:06}");
        let written = format!("{} mons {} days {clock}", value.months, value.days);
        assert_eq!(text::interval(written.as_bytes()), Ok(value));
    }
    let _ = (text::bool(data), text::float4(data), text::timetz(data));
    for delimiter in [b',', b';'] {
        let Ok(array) = text::array(data, delimiter) else {
            continue;
        };
        let (mut depth, mut elements) = (0usize, 0);
        for token in array.tokens() {
            match token {
                text::ArrayToken::Open => depth += 1,
                text::ArrayToken::Close => depth -= 1,
                text::ArrayToken::Null => elements += 1,
                text::ArrayToken::Element(element) => {
                    elements += 1;
                    let mut out = Vec::new();
                    element.unescape_into(&mut out);
                    assert_eq!(out, *element.text());
                    assert_eq!(depth, array.dimensions());
                }
            }
        }
        assert_eq!((depth, elements), (0, array.elements().count()));
        assert_eq!(elements == 0, array.dimensions() == 0);
        assert!(array.bounds().count() <= text::DIMENSIONS_MAX);
    }
}

/// Claims: an array has as many elements as its dimensions say; a decimal's digits are digits.
pub fn values_binary(data: &[u8]) {
    if let Ok(array) = binary::array(data) {
        let product: i64 = array
            .dimensions()
            .map(|(length, _)| i64::from(length))
            .product();
        let expected = if array.dimensions().len() == 0 {
            0
        } else {
            product
        };
        assert_eq!(i64::try_from(array.elements().count()), Ok(expected));
    }
    if let Ok(Numeric::Finite(decimal)) = binary::numeric(data) {
        assert_eq!(8 + 2 * decimal.digits().len(), data.len());
        assert!(decimal.digits().all(|digit| digit < 10_000));
    }
    assert_eq!(binary::int8(data).is_ok(), data.len() == 8);
    assert_eq!(binary::interval(data).is_ok(), data.len() == 16);
    assert_eq!(binary::uuid(data).is_ok(), data.len() == 16);
    assert_eq!(binary::timetz(data).is_ok(), data.len() == 12);
    assert_eq!(binary::date(data).is_ok(), data.len() == 4);
    assert_eq!(binary::bool(data).is_ok(), data.len() == 1);
}

/// Claims: a proof is given only over a nonce that begins with ours and goes on; and who does not
/// know the password cannot be believed.
pub fn scram(data: &[u8]) {
    let (first, last) = data
        .iter()
        .position(|&byte| byte == 0)
        .map_or((data, &[][..]), |end| (&data[..end], &data[end + 1..]));
    let Ok(parsed) = ServerFirst::parse(first) else {
        assert!(Scram::new("", b"pencil", "nonce").respond(first).is_err());
        return;
    };
    if parsed.iterations > 64 {
        return;
    }
    let mut scram = Scram::new("", b"pencil", "nonce");
    assert!(scram.verify(last).is_err());
    match scram.respond(first) {
        Ok(proof) => {
            assert!(parsed.nonce.starts_with("nonce") && parsed.nonce.len() > 5);
            assert!(proof.starts_with("c=biws,r=nonce"));
            assert!(scram.verify(last).is_err(), "nobody signs by chance");
        }
        Err(_) => assert!(!parsed.nonce.starts_with("nonce") || parsed.nonce.len() == 5),
    }
}
