//! A row where it arrived: an index of where each column's bytes are, built in one pass.

/// One column of a row, still in the receive buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cell<'b> {
    /// NULL; in a key-only old tuple also every column outside the key.
    Null,
    /// A TOAST value that did not change and was not sent.
    Unchanged,
    /// The type's text form, in UTF-8.
    Text(&'b [u8]),
    /// The type's binary form, as its send function writes it.
    Binary(&'b [u8]),
}

/// A row: cells that borrow one buffer, addressed by the column's position.
#[derive(Debug, Clone, Copy)]
pub struct Row<'b> {
    bytes: &'b [u8],
    spans: &'b [Span],
}

/// Where one cell is.
#[derive(Debug, Clone, Copy)]
struct Span {
    kind: Kind,
    start: u32,
    end: u32,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Null,
    Unchanged,
    Text,
    Binary,
}

impl<'b> Row<'b> {
    /// The cell at `column`; a column that the tuple does not have reads as NULL.
    #[inline]
    #[must_use]
    pub fn cell(&self, column: usize) -> Cell<'b> {
        let Some(span) = self.spans.get(column) else {
            return Cell::Null;
        };
        let bytes = || {
            self.bytes
                .get(span.start as usize..span.end as usize)
                .unwrap_or(&[])
        };
        match span.kind {
            Kind::Null => Cell::Null,
            Kind::Unchanged => Cell::Unchanged,
            Kind::Text => Cell::Text(bytes()),
            Kind::Binary => Cell::Binary(bytes()),
        }
    }

    /// Whether a value is missing since it did not change.
    #[must_use]
    pub fn lacks(&self) -> bool {
        let mut spans = self.spans.iter();
        spans.any(|span| matches!(span.kind, Kind::Unchanged))
    }

    /// The bytes of the message that it lies in, what else is in it included.
    #[inline]
    #[must_use]
    pub fn message_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// How many cells the tuple carries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether the tuple carries no cell at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }
}

/// The spans of one row, kept from row to row so that indexing allocates nothing after warm-up.
#[derive(Debug, Default, Clone)]
pub struct RowIndex {
    spans: Vec<Span>,
}

impl RowIndex {
    /// Forgets the row before; the spans that follow refer to a new buffer.
    #[inline]
    pub fn clear(&mut self) {
        self.spans.clear();
    }

    /// The next cell is NULL.
    #[inline]
    pub fn push_null(&mut self) {
        self.spans.push(Span {
            kind: Kind::Null,
            start: 0,
            end: 0,
        });
    }

    /// The next cell is an unchanged TOAST value.
    #[inline]
    pub fn push_unchanged(&mut self) {
        self.spans.push(Span {
            kind: Kind::Unchanged,
            start: 0,
            end: 0,
        });
    }

    /// The next cell is the text at `start..end` of the row's buffer.
    #[inline]
    pub fn push_text(&mut self, start: u32, end: u32) {
        self.spans.push(Span {
            kind: Kind::Text,
            start,
            end,
        });
    }

    /// The next cell is the binary form at `start..end` of the row's buffer.
    #[inline]
    pub fn push_binary(&mut self, start: u32, end: u32) {
        self.spans.push(Span {
            kind: Kind::Binary,
            start,
            end,
        });
    }

    /// The row whose cells were pushed, over the buffer they refer to.
    #[inline]
    #[must_use]
    pub fn row<'b>(&'b self, bytes: &'b [u8]) -> Row<'b> {
        Row {
            bytes,
            spans: &self.spans,
        }
    }
}
