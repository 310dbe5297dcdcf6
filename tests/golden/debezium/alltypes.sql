create extension hstore;
create schema store;
create type store.mood as enum('sad','ok','happy');
create domain store.amount as numeric(12,3);
create table store.alltypes(
 id bigserial primary key,
 c_bool boolean, c_i2 smallint, c_i4 integer default 7, c_i8 bigint not null, c_oid oid,
 c_r real, c_d double precision, c_n numeric(10,2) default 1.50, c_n0 numeric(5), c_nv numeric, c_m money,
 c_ch char(3), c_vc varchar(10) not null default 'x', c_t text, c_by bytea, c_b1 bit(1), c_b10 bit(10), c_vb varbit(12),
 c_da date, c_t3 time(3), c_t6 time, c_ts3 timestamp(3), c_ts6 timestamp default now(), c_tz timestamptz default now(), c_tz0 timestamptz(0), c_ttz timetz, c_iv interval,
 c_u uuid, c_j json, c_jb jsonb default '{}', c_x xml, c_inet inet, c_cidr cidr, c_mac macaddr, c_r4 int4range, c_rtz tstzrange,
 c_e store.mood default 'ok', c_dom store.amount, c_h hstore, c_p point, c_tsv tsvector,
 c_ai int[], c_at text[], c_an numeric(5,2)[], c_atz timestamptz[], c_ae store.mood[]
);
create table store.customers(id int primary key, name varchar(50) not null, balance numeric(10,2) default 0.00, created_at timestamptz not null, note text default 'hi');
insert into store.alltypes values(1,true,-2,3,4000000000,4294967295,1.1,1e10,12.34,12345,123.4500,'$1,234.56','ab','v é😀',E'line\nq"','\x00ff10',B'1',B'1010000011',B'101','2020-02-29','12:34:56.789','12:34:56.789012','2020-02-29 12:34:56.123','2020-02-29 12:34:56.123456','2020-02-29 12:34:56.1+02','2020-02-29 12:34:56+02','12:34:56.789012+02','1 year 2 mons 3 days 04:05:06.789012','A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11','{"a" : 1}','{"b":2,"a":1}','<a/>','10.0.0.1/24','10.0.0.0/8','08:00:2b:01:02:03','[1,5]','[2020-01-01 00:00+02,)','happy',1.5,'a=>1,b=>NULL','(1.5,-2)','fat cat','{1,NULL,3}','{a,NULL,"c d"}','{1.5,2}','{2020-01-01 00:00+02}','{sad,happy}');
insert into store.alltypes(id,c_i8) values(2,5);
