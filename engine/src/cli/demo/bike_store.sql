-- The bike store: customers order bicycles. A few thousand rows, the same ones every time: each value is
-- arithmetic on the row's number, none is drawn. Runs on PostgreSQL 12 and later, in an empty database.

CREATE SCHEMA store;

CREATE TYPE store.order_status AS ENUM ('pending', 'processing', 'shipped', 'completed', 'rejected');
CREATE TYPE store.category AS ENUM ('city', 'cruiser', 'cyclocross', 'electric', 'kids', 'mountain', 'road');

CREATE TABLE store.customers (
    customer_id serial PRIMARY KEY,
    first_name  varchar(50)  NOT NULL,
    last_name   varchar(50)  NOT NULL,
    email       varchar(120) NOT NULL UNIQUE,
    phone       varchar(25),
    street      varchar(80),
    city        varchar(50),
    zip_code    varchar(8),
    birth_date  date,
    newsletter  boolean      NOT NULL DEFAULT false,
    credit      numeric(10,2) NOT NULL DEFAULT 0.00,
    created_at  timestamptz  NOT NULL DEFAULT now()
);

CREATE TABLE store.products (
    product_id  serial PRIMARY KEY,
    name        varchar(120)   NOT NULL,
    category    store.category NOT NULL,
    model_year  smallint       NOT NULL,
    list_price  numeric(10,2)  NOT NULL CHECK (list_price >= 0),
    active      boolean        NOT NULL DEFAULT true,
    updated_at  timestamp      NOT NULL DEFAULT '2024-01-01 00:00:00'
);

CREATE TABLE store.orders (
    order_id      serial PRIMARY KEY,
    customer_id   integer NOT NULL REFERENCES store.customers ON DELETE CASCADE,
    status        store.order_status NOT NULL DEFAULT 'pending',
    order_date    date NOT NULL,
    required_date date NOT NULL,
    shipped_at    timestamp,
    placed_at     timestamptz NOT NULL DEFAULT now(),
    note          varchar(200)
);
CREATE INDEX ON store.orders (customer_id);

CREATE TABLE store.order_items (
    order_id   integer NOT NULL REFERENCES store.orders ON DELETE CASCADE,
    item_no    smallint NOT NULL,
    product_id integer NOT NULL REFERENCES store.products,
    quantity   integer NOT NULL CHECK (quantity > 0),
    list_price numeric(10,2) NOT NULL,
    discount   numeric(4,2) NOT NULL DEFAULT 0,
    PRIMARY KEY (order_id, item_no)
);
CREATE INDEX ON store.order_items (product_id);

INSERT INTO store.customers
       (first_name, last_name, email, phone, street, city, zip_code, birth_date, newsletter, credit, created_at)
SELECT first, last,
       translate(lower(first || '.' || last), 'áéíóúçãõüöêëø ''', 'aeioucaouoeeo') || g || '@bikes.example',
       CASE WHEN g % 9 > 0 THEN '(' || 200 + g * 37 % 800 || ') 555-' || lpad((g * 7919 % 10000)::text, 4, '0') END,
       g * 53 % 989 + 1 || ' ' || (ARRAY['Main Street', 'Rua do Moinho', 'Canal Road', 'Station Lane', 'Mill Hill',
           'Avenida da Liberdade', 'Church Walk', 'Hafenstraße', 'Orchard Way'])[g * 31 % 9 + 1],
       (ARRAY['Lisboa', 'Porto', 'Braga', 'Utrecht', 'Gent', 'København', 'Freiburg', 'Portland', 'Davis', 'Boulder',
           'Bordeaux'])[g * 17 % 11 + 1],
       lpad((g * 6151 % 100000)::text, 5, '0'),
       CASE WHEN g % 5 > 0 THEN date '1950-01-01' + g * 487 % 20000 END,
       g % 3 = 0,
       CASE WHEN g % 20 = 0 THEN g * 83 % 50000 / 100.0 ELSE 0 END,
       timestamptz '2022-01-01 08:00:00+00' + g * interval '11 hours 7 minutes 13.000417 seconds'
FROM (SELECT g,
        (ARRAY['Ana', 'Debra', 'Kasha', 'Tameka', 'Daryl', 'Charolette', 'Lyndsey', 'Latasha', 'Jacquline', 'Genoveva',
            'João', 'Zoë', 'Inês', 'Müge', 'Björn', 'Rui', 'Sofia', 'Noor', 'Femke', 'Théo', 'Aroha', 'Wanjiru',
            'Ravi'])[g * 13 % 23 + 1] AS first,
        (ARRAY['Burks', 'Todd', 'Fisher', 'Spence', 'Rice', 'Bean', 'Hays', 'Duncan', 'Baldwin', 'O''Neill', 'Silva',
            'Jiménez', 'Gonçalves', 'de Vries', 'Sørensen', 'Marques', 'Kowalska', 'Adeyemi', 'Nakamura'])[g * 29 % 19 + 1]
            AS last
      FROM generate_series(1, 1200) AS g) AS people;

INSERT INTO store.products (name, category, model_year, list_price, active, updated_at)
SELECT (ARRAY['Trek', 'Electra', 'Haro', 'Heller', 'Pure Cycles', 'Ritchey', 'Strider', 'Sun Bicycles', 'Surly',
           'Órbita'])[g * 7 % 10 + 1] || ' '
       || (ARRAY['Townie', 'Shagamaw', 'Timberwolf', 'Straggler', 'Wednesday', 'Slash', 'Domane', 'Lowrider', 'Moonlight',
           'Savannah', 'Verve', 'Boone', 'Fuel'])[g * 5 % 13 + 1] || ' ' || g,
       (enum_range(NULL::store.category))[g * 3 % 7 + 1],
       2016 + g % 9,
       99 + g * 7717 % 600000 / 100.0 + 0.99,
       g % 13 > 0,
       timestamp '2024-01-01 00:00:00' + g * interval '5 hours 3 minutes 59.123456 seconds'
FROM generate_series(1, 240) AS g;

INSERT INTO store.orders (customer_id, status, order_date, required_date, shipped_at, placed_at, note)
SELECT g * 619 % 1200 + 1,
       (enum_range(NULL::store.order_status))[g * 7 % 5 + 1],
       date '2023-01-01' + g / 3,
       date '2023-01-01' + g / 3 + 1 + g % 5,
       CASE WHEN g * 7 % 5 IN (2, 3) THEN timestamp '2023-01-01 16:30:00' + g / 3 * interval '1 day' + g % 90 * interval '1 minute' END,
       timestamptz '2023-01-01 09:00:00+00' + g * interval '7 hours 59 minutes 58.5 seconds',
       CASE g % 17 WHEN 0 THEN 'ring the bell twice' WHEN 5 THEN 'gift — no invoice, please 🎁' END
FROM generate_series(1, 2000) AS g;

INSERT INTO store.order_items (order_id, item_no, product_id, quantity, list_price, discount)
SELECT o.order_id, n, p.product_id, 1 + (o.order_id + n) % 2, p.list_price,
       (ARRAY[0, 0.05, 0.07, 0.10, 0.20])[(o.order_id * 3 + n) % 5 + 1]
FROM store.orders AS o
CROSS JOIN LATERAL generate_series(1, 1 + o.order_id * 11 % 4) AS n
JOIN store.products AS p ON p.product_id = (o.order_id * 97 + n * 61) % 240 + 1;

ANALYZE store.customers, store.products, store.orders, store.order_items;
