insert into inv.orders_1 values (2,'c'); update inv.orders_1 set v='cc' where id=2; update inv.orders_1 set id=3 where id=2; delete from inv.orders_1 where id=3;
insert into inv.orders_2 values (2,'c'); insert into inv.nokey values (2); update inv.full_ri set v='ff',x=null; delete from inv.full_ri;
select pg_logical_emit_message(true,'pfx','hello');
truncate inv.nokey;
