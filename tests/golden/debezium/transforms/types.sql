create schema inv;
create table inv.orders_1 (id int primary key, v text, n numeric(5,2) default 1.5, d text default 'dd');
create table inv.orders_2 (id int primary key, v text, n numeric(5,2) default 1.5, d text default 'dd');
create table inv.nokey (a int);
create table inv.full_ri (id int primary key, v text, x int); alter table inv.full_ri replica identity full;
insert into inv.orders_1 values (1,'a',2); insert into inv.orders_2 values (1,'b',null); insert into inv.nokey values (1); insert into inv.full_ri values (1,'f',5);
