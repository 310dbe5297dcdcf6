create schema inv; create type inv.mood as enum ('sad','ok'); create type inv."Od d" as enum ('it''s','a,b');
create table inv.e (id int primary key, m inv.mood default 'ok', o inv."Od d" default 'it''s', a inv.mood[] default '{ok}'); insert into inv.e values (1);
create table inv.r (id int primary key, m inv.mood default 'sad', k inv.mood not null default 'ok'); insert into inv.r values (1);
