create schema inv;
create table inv.a (id int primary key, dest text, v text default 'dv', n int not null default 3, big text);
insert into inv.a values (1,'t1','x',1,null),(2,'t2',null,2,null);
create table inv.nokey (dest text, v int); insert into inv.nokey values ('k1',1);
create table inv.f (id int primary key, dest varchar(5), v text default 'fv'); alter table inv.f replica identity full; insert into inv.f values (1,'f1','x');
