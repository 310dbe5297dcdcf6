-- A load with a history: every change of a captured table is written down by a trigger, in the
-- transaction of the change. Rows are locked until their transaction ends, so the history has the
-- changes of one key in the order of their commits.
CREATE SCHEMA load;
CREATE SEQUENCE load.ver;

-- `note` may be moved out of the row (TOAST), uncompressed.
CREATE TABLE load.keyed (id int PRIMARY KEY, ver bigint NOT NULL DEFAULT nextval('load.ver'), note text);
CREATE TABLE load.pair (a int, b text, ver bigint NOT NULL DEFAULT nextval('load.ver'), note text,
                        PRIMARY KEY (a, b));
CREATE TABLE load.whole (id int PRIMARY KEY, ver bigint NOT NULL DEFAULT nextval('load.ver'), note text);
CREATE TABLE load.nokey (a int, ver bigint NOT NULL DEFAULT nextval('load.ver'), note text);
CREATE TABLE load.noise (id int);
ALTER TABLE load.keyed ALTER note SET STORAGE EXTERNAL;
ALTER TABLE load.pair ALTER note SET STORAGE EXTERNAL;
ALTER TABLE load.whole REPLICA IDENTITY FULL;
ALTER TABLE load.nokey REPLICA IDENTITY FULL;
CREATE INDEX ON load.nokey (a);

CREATE TABLE load.history (
    seq bigserial PRIMARY KEY, tbl text, op text, old jsonb, new jsonb,
    lsn pg_lsn DEFAULT pg_current_wal_insert_lsn());

CREATE FUNCTION load.told(tbl text, line jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT jsonb_build_object('ver', line -> 'ver', 'sum', md5(line ->> 'note'), 'k', CASE tbl
        WHEN 'nokey' THEN NULL
        WHEN 'pair' THEN jsonb_build_object('a', line -> 'a', 'b', line -> 'b')
        ELSE jsonb_build_object('id', line -> 'id') END)
$$;

CREATE FUNCTION load.remember() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO load.history (tbl, op, old, new) VALUES (
        TG_TABLE_NAME,
        CASE TG_OP WHEN 'INSERT' THEN 'c' WHEN 'UPDATE' THEN 'u' ELSE 'd' END,
        CASE WHEN TG_OP <> 'INSERT' THEN load.told(TG_TABLE_NAME, to_jsonb(OLD)) END,
        CASE WHEN TG_OP <> 'DELETE' THEN load.told(TG_TABLE_NAME, to_jsonb(NEW)) END);
    RETURN NULL;
END $$;
CREATE TRIGGER remember AFTER INSERT OR UPDATE OR DELETE ON load.keyed
    FOR EACH ROW EXECUTE FUNCTION load.remember();
CREATE TRIGGER remember AFTER INSERT OR UPDATE OR DELETE ON load.pair
    FOR EACH ROW EXECUTE FUNCTION load.remember();
CREATE TRIGGER remember AFTER INSERT OR UPDATE OR DELETE ON load.whole
    FOR EACH ROW EXECUTE FUNCTION load.remember();
CREATE TRIGGER remember AFTER INSERT OR UPDATE OR DELETE ON load.nokey
    FOR EACH ROW EXECUTE FUNCTION load.remember();

CREATE FUNCTION load.text() RETURNS text LANGUAGE sql AS $$
    SELECT CASE WHEN dice < 0.1 THEN NULL WHEN dice < 0.9 THEN md5(dice::text)
                ELSE repeat(md5(dice::text), 100 + (dice * 300)::int) END
      FROM (SELECT random() AS dice) AS thrown
$$;

-- One change, of a table and a row by chance.
CREATE PROCEDURE load.change() LANGUAGE plpgsql AS $$
DECLARE
    dice float := random() * 100;
    pick int := 1 + (random() * 300)::int;
BEGIN
    IF dice < 25 THEN
        INSERT INTO load.keyed (id, note) VALUES (pick, load.text())
            ON CONFLICT (id) DO UPDATE SET ver = nextval('load.ver'), note = excluded.note;
    ELSIF dice < 40 THEN
        UPDATE load.keyed SET ver = nextval('load.ver') WHERE id = pick;
    ELSIF dice < 48 THEN
        DELETE FROM load.keyed WHERE id = pick;
    ELSIF dice < 56 THEN
        UPDATE load.keyed SET id = (id + 1000) % 2000, ver = nextval('load.ver') WHERE id = pick;
    ELSIF dice < 64 THEN
        INSERT INTO load.pair (a, b, note) VALUES (pick % 20, 'b' || pick % 7, load.text())
            ON CONFLICT (a, b) DO UPDATE SET ver = nextval('load.ver');
    ELSIF dice < 68 THEN
        UPDATE load.pair SET b = b || 'x', ver = nextval('load.ver') WHERE a = pick % 20;
    ELSIF dice < 72 THEN
        DELETE FROM load.pair WHERE a = pick % 20;
    ELSIF dice < 80 THEN
        INSERT INTO load.whole (id, note) VALUES (pick, load.text())
            ON CONFLICT (id) DO UPDATE SET ver = nextval('load.ver');
    ELSIF dice < 84 THEN
        DELETE FROM load.whole WHERE id = pick;
    ELSIF dice < 92 THEN
        INSERT INTO load.nokey (a, note) VALUES (pick, load.text());
    ELSIF dice < 96 THEN
        UPDATE load.nokey SET ver = nextval('load.ver') WHERE a = pick;
    ELSIF dice < 98 THEN
        DELETE FROM load.nokey WHERE a = pick;
    ELSE
        INSERT INTO load.noise VALUES (pick);
    END IF;
END $$;

-- Transactions of one change and of many, some rolled back, with parts that are.
CREATE PROCEDURE load.work(steps int, pause float) LANGUAGE plpgsql AS $$
DECLARE
    dice float;
    changes int;
BEGIN
    FOR step IN 1 .. steps LOOP
        dice := random() * 100;
        changes := CASE WHEN dice < 70 THEN 1 WHEN dice < 98 THEN 1 + (random() * 20)::int ELSE 100 END;
        FOR turn IN 1 .. changes LOOP
            BEGIN
                CALL load.change();
                IF random() < 0.05 THEN RAISE EXCEPTION 'rolled back'; END IF;
            EXCEPTION WHEN raise_exception OR unique_violation OR deadlock_detected THEN
                NULL;
            END;
        END LOOP;
        IF dice < 0.5 THEN
            INSERT INTO load.keyed SELECT g, nextval('load.ver'), NULL FROM generate_series(2001, 5000) AS g
                ON CONFLICT (id) DO UPDATE SET ver = nextval('load.ver');
        END IF;
        IF random() < 0.1 THEN ROLLBACK; ELSE COMMIT; END IF;
        PERFORM pg_sleep(pause * random());
    END LOOP;
END $$;

-- Whoever reads it is no superuser.
CREATE ROLE pipe LOGIN REPLICATION PASSWORD 'pipe';
GRANT USAGE ON SCHEMA load TO pipe;
GRANT SELECT ON ALL TABLES IN SCHEMA load TO pipe;
CREATE PUBLICATION dbz_publication FOR TABLE load.keyed, load.pair, load.whole, load.nokey;
