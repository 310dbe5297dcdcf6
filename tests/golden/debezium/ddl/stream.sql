begin; insert into inv.added values (2,'b'); alter table inv.added add column b text default 'bb'; insert into inv.added values (3,'c','x'); alter table inv.added add column c int not null default 7; insert into inv.added values (4,'d','y',8); update inv.added set a='aa' where id=1; delete from inv.added where id=2; commit;
begin; insert into inv.dropped values (2,'b',2); alter table inv.dropped drop column b; insert into inv.dropped values (3,'c'); alter table inv.dropped drop column a; insert into inv.dropped values (4); commit;
begin; insert into inv.renamed values (2,'b'); alter table inv.renamed rename column a to "B b"; insert into inv.renamed values (3,'c'); commit;
begin; insert into inv.retyped values (2,2,'b','2'); alter table inv.retyped alter a type bigint; insert into inv.retyped values (3,3000000000,'b','2'); alter table inv.retyped alter b type varchar(50), alter c type numeric(6,2) using c::numeric; insert into inv.retyped values (4,4,'longer than five',2.5); commit;
begin; insert into inv.defaulted values (2); alter table inv.defaulted alter a set default 5, alter b set default 'bb'; update inv.defaulted set b='q'; alter table inv.defaulted alter b set not null; commit;
insert into inv.defaulted values (3);
begin; update inv.rekeyed set v='w' where id=1; alter table inv.rekeyed drop constraint rekeyed_pkey; alter table inv.rekeyed add primary key (other); insert into inv.rekeyed values (2,20,'x'); update inv.rekeyed set other=30 where other=20; delete from inv.rekeyed where other=30; commit;
begin; insert into inv.unkeyed values (2,'w'); alter table inv.unkeyed drop constraint unkeyed_pkey; insert into inv.unkeyed values (2,'w'); update inv.unkeyed set v='u' where id=1; delete from inv.unkeyed where id=2; commit;
begin; update inv.identified set v='w'; alter table inv.identified replica identity full; update inv.identified set v='x'; delete from inv.identified; commit;
begin; insert into inv.moved values (2,'w'); alter table inv.moved rename to moved_away; insert into inv.moved_away values (3,'x'); update inv.moved_away set v='y' where id=1; commit;
begin; insert into inv.reborn values (2,'w'); drop table inv.reborn; create table inv.reborn (key text primary key, n int not null default 3); insert into inv.reborn values ('k'); commit;
insert into inv.parted values (2,15,'q'); update inv.parted set d=16 where id=1; 
begin; create table inv.parted_c partition of inv.parted for values from (20) to (30); insert into inv.parted values (3,25,'r'); alter table inv.parted detach partition inv.parted_b; insert into inv.parted_b values (4,17,'s'); commit;
insert into inv.parent values (2,'p'); update inv.parent set v='pp'; delete from inv.child;
update inv.head set id=10 where id=1; delete from inv.head where id=10;
begin; insert into inv.saved values (1,'a'); savepoint s; insert into inv.saved values (2,'b'); rollback to s; insert into inv.saved values (3,'c'); savepoint t; update inv.saved set v='cc' where id=3; release t; commit;
begin; insert into inv.saved values (9,'never'); rollback;
copy inv.copied from stdin;
1	one	1.5
2	\N	\N
3	tab\there	-2
\.
update inv.toast_default set n=2; update inv.toast_full set n=2; delete from inv.toast_full; 
insert into inv.toast_key values (repeat('k',2500),1); update inv.toast_key set n=2; delete from inv.toast_key;
create table inv.later (id int primary key, v text); insert into inv.later values (1,'new table'); 
truncate inv.head, inv.tail;
