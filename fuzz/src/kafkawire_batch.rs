//! Record batches: what a fetch answer may hold, and what a builder makes of any records.

use kafkawire::batch::{BatchBuilder, BatchView, Batches, HEADER_BYTES, ProducerStamp, place};
use kafkawire::compress::{Codec, Compressor, decompress};

/// Claims: the batches found are the bytes given, without gap or overlap; an error ends the
/// iteration; a batch found parses alone, and still does once a broker has placed it; records never
/// take more memory than allowed.
pub fn batches(data: &[u8]) {
    const PLAIN_MAX: usize = 1 << 16;
    let mut iter = Batches::new(data);
    let mut at = 0;
    let mut plain = Vec::new();
    while let Some(found) = iter.next() {
        let Ok(view) = found else {
            assert!(iter.next().is_none(), "nothing follows an error");
            return;
        };
        assert!(data[at..].starts_with(view.bytes()));
        at += view.bytes().len();

        let mut placed = view.bytes().to_vec();
        place(&mut placed, 7, 9);
        let placed = BatchView::parse(&placed).expect("what was split off parses alone");
        assert_eq!(
            (placed.header().base_offset, placed.header().leader_epoch),
            (7, 9)
        );
        assert_eq!(placed.header().record_count, view.header().record_count);

        // A control batch is one that says so, whatever it says.
        assert!(
            view.control().is_err()
                || view.control() == Ok(None)
                || view.header().attributes.control()
        );
        if let Ok(records) = view.records(&mut plain, PLAIN_MAX) {
            let mut errors = 0;
            let mut whole = 0;
            for record in records {
                match record {
                    Ok(record) => {
                        whole += 1;
                        assert_eq!(record.headers.len(), record.headers.clone().count());
                    }
                    Err(_) => errors += 1,
                }
            }
            assert!(errors <= 1);
            assert!(errors == 1 || whole == view.header().record_count);
        }
        assert!(plain.len() <= PLAIN_MAX);
    }
    assert_eq!(iter.rest(), &data[at..]);
}

/// As [`batches`], with the header made right over the given records section, so that the bytes
/// reach the records and the codecs.
pub fn records(data: &[u8]) {
    let [codec, count, body @ ..] = data else {
        return;
    };
    let mut open = BatchBuilder::new(1 << 20);
    for _ in 0..=*count % 4 {
        open.append(0).finish().expect("an empty record fits");
    }
    let mut bytes = open
        .seal(ProducerStamp::NONE, &mut Compressor::none())
        .bytes()
        .to_vec();
    bytes.truncate(HEADER_BYTES);
    bytes.extend_from_slice(body);
    let length = u32::try_from(bytes.len() - 12).expect("fuzz inputs are short");
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    bytes[22] = codec & 7;
    let crc = crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    BatchView::parse(&bytes).expect("header and CRC are right");
    batches(&bytes);
}

/// Claims: records cut out of `data` come back from the sealed batch with every codec, and each
/// record dropped unfinished leaves the batch as if it had never begun.
pub fn build(data: &[u8]) {
    let [codec, data @ ..] = data else { return };
    let mut compressor = Compressor::new(Codec(codec % 5), None).expect("0 to 4 are codecs");
    let mut open = BatchBuilder::new(1 << 20);
    let mut expected: Vec<(Option<&[u8]>, &[u8])> = Vec::new();
    let mut rest = data;
    while let [shape, length, tail @ ..] = rest {
        let (part, tail) = tail.split_at(tail.len().min(usize::from(*length)));
        rest = tail;
        let key = (shape & 1 == 1).then_some(part);
        let before = open.byte_count();
        let mut record = open.append(i64::from(*length));
        record.key(key);
        record.value_with(|out| {
            for _ in 0..=shape >> 2 {
                out.extend_from_slice(part);
            }
        });
        if shape & 2 == 2 {
            drop(record);
            assert_eq!(open.byte_count(), before);
        } else {
            record.finish().expect("fuzz inputs are short");
            expected.push((key, part));
        }
    }
    if expected.is_empty() {
        return;
    }
    let batch = open.seal(ProducerStamp::NONE, &mut compressor);
    let view = BatchView::parse(batch.bytes()).expect("a sealed batch parses");
    let mut plain = Vec::new();
    let found = view
        .records(&mut plain, 1 << 20)
        .expect("a sealed batch decompresses");
    let found: Vec<_> = found
        .map(|record| record.expect("a sealed record parses"))
        .collect();
    assert_eq!(found.len(), expected.len());
    for (record, (key, part)) in found.iter().zip(expected) {
        let value = record.value.expect("a value was written");
        assert_eq!(record.key, key);
        assert!(part.is_empty() || value.chunks(part.len()).all(|chunk| chunk == part));
    }
}

/// Claims: no codec yields more than allowed, and a refusal leaves the buffer as it was.
pub fn decompressed(data: &[u8]) {
    const MAX: usize = 1 << 16;
    let [codec, data @ ..] = data else { return };
    let mut out = b"before".to_vec();
    let done = decompress(Codec(codec & 7), data, &mut out, MAX);
    assert!(out.starts_with(b"before") && out.len() <= MAX + 6);
    assert!(done.is_ok() || out == b"before");
}

/// CRC-32C, bit by bit: the plain twin of the one under test.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc: u32, _| {
            (crc >> 1) ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 }
        })
    })
}
