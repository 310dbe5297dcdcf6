create schema inv;
create table inv.orders_1 (id int primary key, v text); insert into inv.orders_1 values (1,'a');
create table inv.orders_2 (id int primary key, v text); insert into inv.orders_2 values (1,'b');
create table inv.other (v text); insert into inv.other values ('c');
create table inv."T 1é" (id int primary key, "ü b" text); insert into inv."T 1é" values (1,'d');
