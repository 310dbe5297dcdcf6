//! What the demo's screen makes of strangers' records and brokers.

use engine::cli::demo::change::{Decoder, Row};
use engine::cli::demo::follow::Follower;
use engine::cli::demo::screen::{Look, Sighting};

/// A schema, a zero byte, a datum. Claims: a row has a word for each column, none of which could
/// move a terminal's cursor; a change is a line that is no wider than the terminal, with colours
/// and without.
pub fn change(data: &[u8]) {
    let Some(zero) = data.iter().position(|byte| *byte == 0) else {
        return;
    };
    let (text, datum) = (&data[..zero], &data[zero + 1..]);
    let Some(schema) = str::from_utf8(text).ok().and_then(|text| text.parse().ok()) else {
        return;
    };
    let decoder = Decoder::new(schema);
    let row = decoder.row(datum).ok();
    row.iter().for_each(check_row);
    let Ok(change) = decoder.change(datum) else {
        return;
    };
    change
        .before
        .iter()
        .chain(&change.after)
        .for_each(check_row);
    for width in [0, 40, 80, 200] {
        let sighting = Sighting {
            change: &change,
            key: row.as_ref(),
            earlier: change.before.as_ref(),
            seen_us: change.committed_us.unwrap_or(0),
            latency: None,
        };
        for color in [false, true] {
            let look = Look {
                width: Some(width),
                color,
            };
            let line = look.change(&sighting);
            assert!(
                console::measure_text_width(&line) <= width,
                "{width}: {line}"
            );
            assert!(color || !line.contains('\x1b'), "{line:?}");
        }
    }
}

fn check_row(row: &Row) {
    for (_, word) in row.cells() {
        assert!(
            !word.unwrap_or_default().contains(char::is_control),
            "{word:?}"
        );
    }
}

/// What a broker may say, cut where the first byte says. Claims: no more is consumed than there is,
/// and what is taken out of pieces is what is taken out of the whole.
pub fn follow(data: &[u8]) {
    let Some((&cut, stream)) = data.split_first() else {
        return;
    };
    let whole = followed(&[stream]);
    let (head, tail) = stream.split_at(usize::from(cut).min(stream.len()));
    let pieces = followed(&[head, tail]);
    assert_eq!(whole, pieces);
}

/// The records that a follower takes out of a stream, until its end or the first error.
fn followed(pieces: &[&[u8]]) -> Vec<(usize, i64)> {
    let mut follower = Follower::new(["a".to_owned(), "b".to_owned()]);
    let mut out = Vec::new();
    follower.start(&mut out);
    let mut seen = Vec::new();
    let mut received = Vec::new();
    for piece in pieces {
        received.extend_from_slice(piece);
        let taken = follower.receive(&received, &mut out, |topic, record| {
            seen.push((topic, record.offset));
        });
        let Ok(consumed) = taken else { break };
        assert!(consumed <= received.len());
        received.drain(..consumed);
    }
    seen
}
