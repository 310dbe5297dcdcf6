create schema inv;
create table inv.a (id int primary key, v bit varying(1), w bit varying(1) default '1');
insert into inv.a values (1,'','');insert into inv.a values (2,'1',null);
