create schema inv; create table inv.a (id int primary key, v text); create table inv.b (id int primary key, v text); create table inv.c (id int primary key, v text not null, w text default 'dw', x int); create table inv.d (id int primary key, v text); alter table inv.d replica identity full;
insert into inv.a values (1,'a'); insert into inv.b values (1,'b'); insert into inv.c values (1,'c','w',1),(2,'c2',null,2); insert into inv.d values (1,'d');
create publication mine for table inv.a, inv.c (id, v), inv.d where (id > 1);
