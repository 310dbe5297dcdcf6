insert into inv.a values (3,'t3','y',3,null); update inv.a set dest='t4' where id=3; update inv.a set v=null where id=2; update inv.a set id=10 where id=1; delete from inv.a where id=2;
insert into inv.nokey values ('k1',2);
insert into inv.f values (2,'f1','x'); update inv.f set dest='f2',v=null where id=1; update inv.f set id=5 where id=1; delete from inv.f where id=5;
truncate inv.nokey;
select pg_logical_emit_message(true,'pre','con');
