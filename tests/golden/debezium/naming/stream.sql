update inv.orders_1 set id=2; delete from inv.orders_2; insert into inv.other values ('x'); delete from inv."T 1é"; select pg_logical_emit_message(true,'p','c');
