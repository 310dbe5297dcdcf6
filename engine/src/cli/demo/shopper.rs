//! Who keeps the bike store busy: a seeded source of SQL, one transaction at a time.
//!
//! A statement finds its rows by itself (the seventh open order, a product 41 % of the way down the
//! list), so that the shopper needs to know nothing about the store but its schema, and goes on
//! whatever others do to the rows. In an empty store a statement changes nothing.

/// One thing that happens in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Act {
    /// A customer orders one to three products.
    PlaceOrder,
    /// A product gets cheaper or dearer.
    ChangePrice,
    /// An open order moves on: processing, shipped, completed, now and then rejected.
    MoveOrder,
    /// Somebody opens an account.
    SignUp,
    /// An account is deleted, and with it its orders and their items.
    DeleteCustomer,
}

/// What a run begins with, so that the first seconds show every kind of change.
const OPENING: [Act; 6] = [
    Act::PlaceOrder,
    Act::ChangePrice,
    Act::MoveOrder,
    Act::SignUp,
    Act::PlaceOrder,
    Act::DeleteCustomer,
];

/// How often each happens after the opening, in percent.
const HABITS: [(Act, u64); 5] = [
    (Act::PlaceOrder, 28),
    (Act::MoveOrder, 44),
    (Act::ChangePrice, 15),
    (Act::SignUp, 8),
    (Act::DeleteCustomer, 5),
];

const FIRST_NAMES: [&str; 16] = [
    "Ada",
    "Aziz",
    "Clara",
    "Dinis",
    "Esperança",
    "Fadma",
    "Freya",
    "Hedy",
    "Jürgen",
    "Keiko",
    "Lourdes",
    "Mateus",
    "Nadia",
    "Oluwaseun",
    "Siobhán",
    "Tomasz",
];
const LAST_NAMES: [&str; 16] = [
    "Almeida",
    "Bakker",
    "Castellanos",
    "D'Angelo",
    "Eriksson",
    "Ferreira",
    "García",
    "Haddad",
    "Ivanova",
    "Lindqvist",
    "Müller",
    "Ngata",
    "Okafor",
    "Pereira",
    "Sato",
    "Villeneuve",
];
const CITIES: [&str; 8] = [
    "Lisboa",
    "Coimbra",
    "Utrecht",
    "Gent",
    "København",
    "Freiburg",
    "Bordeaux",
    "Davis",
];
const STREETS: [&str; 6] = [
    "Rua do Moinho",
    "Canal Road",
    "Station Lane",
    "Mill Hill",
    "Church Walk",
    "Orchard Way",
];
const NOTES: [&str; 4] = [
    "ring the bell twice",
    "gift — no invoice, please 🎁",
    "leave it with the neighbour",
    "call before delivery",
];
const DISCOUNTS: [&str; 5] = ["0", "0", "0.05", "0.10", "0.20"];

/// The shopper: the same seed does the same things in the same order.
#[derive(Debug, Clone)]
pub struct Shopper {
    random: u64,
    done: usize,
}

impl Shopper {
    /// A shopper with the habits of `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            random: seed,
            done: 0,
        }
    }

    /// The next transaction: what it is, and one SQL statement that does it.
    pub fn next_act(&mut self) -> (Act, String) {
        let act = match OPENING.get(self.done) {
            Some(act) => *act,
            None => self.habit(),
        };
        self.done += 1;
        let sql = match act {
            Act::PlaceOrder => self.place_order(),
            Act::ChangePrice => self.change_price(),
            Act::MoveOrder => self.move_order(),
            Act::SignUp => self.sign_up(),
            Act::DeleteCustomer => self.delete_customer(),
        };
        (act, sql)
    }

    /// How long the shopper thinks before the next act: 0 to 1, of what there is time for.
    pub fn hesitation(&mut self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "at most 1000")]
        let thousandths = self.below(1_000) as f64;
        thousandths / 1_000.0
    }

    fn habit(&mut self) -> Act {
        let mut point = self.below(HABITS.iter().map(|(_, share)| share).sum());
        for (act, share) in HABITS {
            if point < share {
                return act;
            }
            point -= share;
        }
        unreachable!("the point lies below the sum of the shares")
    }

    fn place_order(&mut self) -> String {
        let customer = self.nth("store.customers", "");
        let days = 1 + self.below(5);
        let note = match self.below(8) {
            0 => literal(self.one_of(&NOTES)),
            _ => "NULL".to_owned(),
        };
        let items: Vec<String> = (1..=1 + self.below(3))
            .map(|number| {
                let product = self.fraction();
                let (quantity, discount) = (1 + self.below(2), self.one_of(&DISCOUNTS));
                format!("({number}, {product}, {quantity}, {discount})")
            })
            .collect();
        // One statement, since a transaction block would need currval(), which fails where the
        // store has no customer to order. The order is inserted before its items: they read it.
        format!(
            "WITH placed AS (\
             INSERT INTO store.orders (customer_id, order_date, required_date, note) \
             SELECT customer_id, current_date, current_date + {days}, {note} \
             FROM store.customers ORDER BY customer_id {customer} \
             RETURNING order_id) \
             INSERT INTO store.order_items \
             (order_id, item_no, product_id, quantity, list_price, discount) \
             SELECT placed.order_id, item.no, product.product_id, item.quantity, \
             product.list_price, item.discount \
             FROM placed \
             CROSS JOIN (VALUES {}) AS item (no, place, quantity, discount) \
             CROSS JOIN LATERAL (SELECT product_id, list_price FROM store.products \
             WHERE active ORDER BY product_id \
             OFFSET floor(item.place * (SELECT count(*) FROM store.products WHERE active))::bigint \
             LIMIT 1) AS product",
            items.join(", ")
        )
    }

    fn change_price(&mut self) -> String {
        let product = self.nth("store.products", "WHERE active");
        // Around 1, so that prices keep their size however long the shop is open.
        let factor = ["0.85", "0.90", "0.95", "1.05", "1.10", "1.18"][self.index(6)];
        format!(
            "UPDATE store.products \
             SET list_price = least(round(list_price * {factor}, 2), 99999.99), \
             updated_at = localtimestamp \
             WHERE product_id = (SELECT product_id FROM store.products WHERE active \
             ORDER BY product_id {product})"
        )
    }

    fn move_order(&mut self) -> String {
        // Among the newest, so that who watches sees the orders come back that were just placed.
        let place = self.below(9);
        let fallback = if self.below(10) == 0 {
            "rejected"
        } else {
            "processing"
        };
        format!(
            "UPDATE store.orders SET \
             status = (CASE status WHEN 'pending' THEN '{fallback}' \
             WHEN 'processing' THEN 'shipped' ELSE 'completed' END)::store.order_status, \
             shipped_at = CASE status WHEN 'processing' THEN localtimestamp ELSE shipped_at END \
             WHERE order_id = (SELECT order_id FROM store.orders \
             WHERE status IN ('pending', 'processing', 'shipped') \
             ORDER BY order_id DESC OFFSET {place} LIMIT 1)"
        )
    }

    fn sign_up(&mut self) -> String {
        let (first, last) = (self.one_of(&FIRST_NAMES), self.one_of(&LAST_NAMES));
        let mailbox: String = format!("{first}.{last}")
            .chars()
            .filter_map(mailbox_char)
            .collect();
        let street = format!("{} {}", 1 + self.below(990), self.one_of(&STREETS));
        let city = self.one_of(&CITIES);
        let phone = format!("({}) 555-{:04}", 200 + self.below(800), self.below(10_000));
        let zip = self.below(100_000);
        let birth = self.below(18_000);
        let newsletter = self.below(2) == 0;
        // The id is part of the address: no two customers share one.
        format!(
            "INSERT INTO store.customers \
             (customer_id, first_name, last_name, email, phone, street, city, zip_code, \
             birth_date, newsletter) \
             SELECT id, {}, {}, '{mailbox}' || id || '@bikes.example', '{phone}', {}, {}, \
             '{zip:05}', date '1952-01-01' + {birth}, {newsletter} \
             FROM nextval('store.customers_customer_id_seq') AS id",
            literal(first),
            literal(last),
            literal(&street),
            literal(city),
        )
    }

    fn delete_customer(&mut self) -> String {
        let customer = self.nth("store.customers", "");
        format!(
            "DELETE FROM store.customers WHERE customer_id = \
             (SELECT customer_id FROM store.customers ORDER BY customer_id {customer})"
        )
    }

    /// `OFFSET … LIMIT 1`: some row of the table's rows that satisfy `condition`.
    fn nth(&mut self, table: &str, condition: &str) -> String {
        let place = self.fraction();
        let space = if condition.is_empty() { "" } else { " " };
        format!(
            "OFFSET floor({place} * (SELECT count(*) FROM {table}{space}{condition}))::bigint \
             LIMIT 1"
        )
    }

    /// 0.00000 to 0.99999.
    fn fraction(&mut self) -> String {
        format!("0.{:05}", self.below(100_000))
    }

    fn one_of(&mut self, choices: &[&'static str]) -> &'static str {
        choices[self.index(choices.len())]
    }

    fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap_or(0)
    }

    /// 0 to `bound` - 1.
    fn below(&mut self, bound: u64) -> u64 {
        // SplitMix64: every seed is a good one.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// `text` as an SQL string literal.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// What is left of a name's letter in a mail address.
fn mailbox_char(letter: char) -> Option<char> {
    Some(match letter {
        'a'..='z' | '.' => letter,
        'A'..='Z' => letter.to_ascii_lowercase(),
        'á' | 'ã' => 'a',
        'ç' => 'c',
        'é' | 'ë' => 'e',
        'í' => 'i',
        'ó' | 'ö' | 'ø' => 'o',
        'ü' => 'u',
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn the_same_seed_does_the_same() {
        let acts = |seed| {
            let mut shopper = Shopper::new(seed);
            (0..50).map(|_| shopper.next_act()).collect::<Vec<_>>()
        };
        assert_eq!(acts(7), acts(7));
        assert_ne!(acts(7), acts(8));
    }

    #[test]
    fn the_opening_shows_every_kind() {
        let mut shopper = Shopper::new(1);
        let seen: std::collections::BTreeSet<_> =
            (0..OPENING.len()).map(|_| shopper.next_act().0).collect();
        assert_eq!(seen.len(), HABITS.len());
    }

    #[test]
    fn habits_are_kept() {
        let mut shopper = Shopper::new(42);
        let mut counts = BTreeMap::new();
        for _ in 0..10_000 {
            *counts.entry(shopper.next_act().0).or_insert(0u64) += 1;
        }
        for (act, share) in HABITS {
            let percent = counts[&act] / 100;
            assert!(
                percent.abs_diff(share) <= 2,
                "{act:?}: {percent} %, not {share} %"
            );
        }
    }

    #[test]
    fn statements_are_single_and_stay_in_the_store() {
        let mut shopper = Shopper::new(3);
        for _ in 0..2_000 {
            let (act, sql) = shopper.next_act();
            assert_eq!(sql.matches('\'').count() % 2, 0, "{sql}");
            assert_eq!(sql.matches('(').count(), sql.matches(')').count(), "{sql}");
            assert!(!sql.contains(';') && !sql.contains("  "), "{sql}");
            let verb = match act {
                Act::PlaceOrder => "WITH placed AS (INSERT INTO store.orders ",
                Act::ChangePrice => "UPDATE store.products ",
                Act::MoveOrder => "UPDATE store.orders ",
                Act::SignUp => "INSERT INTO store.customers ",
                Act::DeleteCustomer => "DELETE FROM store.customers ",
            };
            assert!(sql.starts_with(verb), "{sql}");
        }
    }

    #[test]
    fn names_with_quotes_and_accents_are_written_right() {
        assert_eq!(literal("D'Angelo"), "'D''Angelo'");
        let mailbox: String = "Siobhán.D'Angelo"
            .chars()
            .filter_map(mailbox_char)
            .collect();
        assert_eq!(mailbox, "siobhan.dangelo");
        for name in FIRST_NAMES.iter().chain(&LAST_NAMES) {
            let kept = name.chars().filter_map(mailbox_char).count();
            assert!(
                kept + usize::from(name.contains('\'')) == name.chars().count(),
                "{name}"
            );
        }
    }
}
