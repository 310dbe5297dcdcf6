#!/usr/bin/env python3
"""Writes tuples.json: what PostgreSQL itself says for types.sql (read by COPY) and stream.sql (read by pgoutput), beside
the catalogue's word on each table. PGHOST, PGPORT, PGUSER, PGPASSWORD as psql reads them; database "golden" is made anew.
    tuples.py types.sql stream.sql inv > tuples.json"""
import json, os, re, struct, subprocess, sys

def psql(sql, db="golden", file=None):
    args = ["psql", "-X", "-q", "-At", "-v", "ON_ERROR_STOP=1", "-d", db]
    args += ["-f", file] if file else ["-c", sql]
    return subprocess.run(args, check=True, stdout=subprocess.PIPE, env={**os.environ, "PGOPTIONS": "-c client_min_messages=warning -c timezone=UTC"}).stdout.decode()

def rows(sql): return json.loads(psql(f"select coalesce(json_agg(t), '[]') from ({sql}) t"))

def unescape(text):
    if text == "\\N": return None
    return re.sub(r"\\(.)", lambda m: {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "v": "\v"}.get(m[1], m[1]), text)

psql("drop database if exists golden", "postgres"); psql("create database golden", "postgres")
psql(None, file=sys.argv[1])

types = {}
def type_of(oid):
    if str(oid) not in types:
        t = rows(f"select t.oid::int8, nspname, typname, typtype, typelem::int8, typbasetype::int8, typtypmod, typcategory from pg_type t join pg_namespace n on n.oid=typnamespace where t.oid={oid}")[0]
        types[str(oid)] = entry = {"schema": t["nspname"], "name": t["typname"], "kind": t["typtype"]}
        if t["typtype"] == "e":
            entry["labels"] = [r["enumlabel"] for r in rows(f"select enumlabel from pg_enum where enumtypid={oid} order by enumsortorder")]
        if t["typtype"] == "d":
            entry["base"] = t["typbasetype"]; entry["typmod"] = t["typtypmod"]; type_of(t["typbasetype"])
        if t["typcategory"] == "A" and t["typelem"]:
            entry["kind"] = "a"; entry["element"] = t["typelem"]; type_of(t["typelem"])
    return oid

def catalogue(oid):
    columns = rows(f"""select attname, atttypid::int8, atttypmod, attnotnull, case when attgenerated='' and attidentity='' then pg_get_expr(adbin, adrelid) end as def
        from pg_attribute left join pg_attrdef on adrelid=attrelid and adnum=attnum where attrelid={oid} and attnum>0 and not attisdropped order by attnum""")
    key = rows(f"select attname from pg_index i, unnest(indkey) with ordinality k(n,o) join pg_attribute a on a.attnum=k.n where i.indrelid={oid} and a.attrelid={oid} and indisprimary order by o")
    return columns, [k["attname"] for k in key]

def column(c): return {"name": c["attname"], "type": type_of(c["atttypid"]), "typmod": c["atttypmod"], "not_null": c["attnotnull"], "default": c["def"]}

tables, events = [], []
for t in rows("select c.oid::int8, relname, relreplident from pg_class c where relnamespace='" + sys.argv[3] + "'::regnamespace and relkind in ('r','p') order by relname collate \"C\""):
    columns, key = catalogue(t["oid"])
    names = [c["attname"] for c in columns]
    tables.append({"schema": sys.argv[3], "name": t["relname"], "oid": t["oid"], "identity": t["relreplident"], "columns": [column(c) for c in columns], "key": [names.index(k) for k in key]})
    listed = ", ".join('"%s"' % n for n in names)
    for line in psql(f'copy (select {listed} from {sys.argv[3]}."{t["relname"]}") to stdout').splitlines():
        events.append({"table": len(tables) - 1, "op": "r", "new": [unescape(cell) for cell in line.split("\t")]})

psql("create publication golden for all tables"); psql("select pg_create_logical_replication_slot('golden', 'pgoutput')")
psql(None, file=sys.argv[2])
relations = {}
for line in psql("select data from pg_logical_slot_get_binary_changes('golden', null, null, 'proto_version', '1', 'publication_names', 'golden', 'messages', 'true')").split():
    data = bytes.fromhex(line[2:]); at = 1
    def take(fmt):
        global at
        value = struct.unpack_from(">" + fmt, data, at)[0]; at += struct.calcsize(fmt); return value
    def string():
        global at
        end = data.index(0, at); value = data[at:end].decode(); at = end + 1; return value
    def tup():
        global at
        cells = []
        for _ in range(take("H")):
            kind = chr(take("B"))
            if kind == "t":
                n = take("I"); cells.append(data[at:at+n].decode()); at += n
            else: cells.append(None if kind == "n" else False)
        return cells
    kind = chr(data[0])
    if kind == "R":
        oid = take("I"); schema, name, ident = string(), string(), chr(take("B"))
        live, key = catalogue(oid); live = {c["attname"]: c for c in live}; cols = []
        for _ in range(take("H")):
            flags, cname, ty, mod = take("B"), string(), take("I"), take("i")
            cols.append({"name": cname, "type": type_of(ty), "typmod": mod, "not_null": live[cname]["attnotnull"], "default": live[cname]["def"]})
        names = [c["name"] for c in cols]
        table = {"schema": schema, "name": name, "oid": oid, "identity": ident, "columns": cols, "key": [names.index(k) for k in key]}
        if table not in tables: tables.append(table)
        relations[oid] = tables.index(table)
    elif kind in "IUD":
        event = {"table": relations[take("I")], "op": {"I": "c", "U": "u", "D": "d"}[kind]}
        while at < len(data):
            part = chr(take("B"))
            if part == "N": event["new"] = tup()
            else: event["old_kind"] = part; event["old"] = tup()
        events.append(event)
    elif kind == "T":
        n, _ = take("I"), take("B")
        for _ in range(n): events.append({"table": relations[take("I")], "op": "t"})
    elif kind == "M":
        flags, lsn, prefix, n = take("B"), take("Q"), string(), take("I")
        events.append({"op": "m", "prefix": prefix, "transactional": flags == 1, "content": data[at:at+n].hex()})
psql("select pg_drop_replication_slot('golden')")
print('{"types": ' + json.dumps(types, ensure_ascii=False) + ',\n"tables": [\n' + ",\n".join(json.dumps(t, ensure_ascii=False) for t in tables)
      + '],\n"events": [\n' + ",\n".join(json.dumps(e, ensure_ascii=False) for e in events) + "]}")
